"""SSD's online protocol: Split-CIFAR100 seen once, ten images at a time, with memories of the same bytes.

    python benchmarks/online_cifar100.py --images 100 500 1000 --seeds 0 1
    python benchmarks/online_cifar100.py --quick                     # the smallest memory, 10 s of condensing

Ten experiences of ten classes, one epoch, mini-batches of 10 current and 100 replayed images, SGD with rate 0.1, the
reduced ResNet-18. What differs from SSD (AAAI 2024): experience replay with the network's own output layer instead of
supervised contrastive replay with the nearest class mean, and a memory that is filled after each experience instead of
during it. Cells are written to results/online_cifar100.json as they are done and not run again.
"""

from split_cifar100 import options_of, run

PUBLISHED = {  # final average accuracy, by raw images: theirs, of 10 runs
    "SCR with nearest class mean (as SSD's authors print it)": {100: 9.0, 500: 20.6, 1000: 26.6},
    "SSD with nearest class mean (its authors)": {100: 12.1, 500: 23.0, 1000: 28.8},
}
METHODS = ["stock", "shrunk", "webp", "code", "fast"]
PROTOCOL = dict(network="resnet18:width=20", epochs=1, batch=10, replay=100, lr=0.1, momentum=0.0, seconds=30.0)


def main():
    parser = options_of(__doc__)
    parser.set_defaults(methods=METHODS, images=[100, 500], **PROTOCOL)
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.images = 10.0, options.images[:1]
    print(table(run("online_cifar100", options)))


def table(results: dict) -> str:
    """Final accuracy by method and raw images' bytes, as Markdown, with what others published."""
    sizes = sorted({cell["images"] for cell in results.values()} | {size for row in PUBLISHED.values() for size in row})
    lines = [
        "| in the bytes of | " + " | ".join(f"{size} images" for size in sizes) + " |",
        "|---" * (len(sizes) + 1) + "|",
    ]
    for method in dict.fromkeys(cell["method"] for cell in results.values()):
        lines.append(f"| {method} | " + " | ".join(mean_of(results, method, size) for size in sizes) + " |")
    for name, row in PUBLISHED.items():
        lines.append(f"| *{name}* | " + " | ".join(f"*{row[size]}*" if size in row else "" for size in sizes) + " |")
    return "\n".join(lines)


def mean_of(results: dict, method: str, size: int) -> str:
    own = [c for c in results.values() if c["method"] == method and c["images"] == size]
    if not own:
        return ""
    mean = sum(100 * cell["AverageAccuracy"] for cell in own) / len(own)
    return f"{mean:.1f} ({len(own)} seeds)"


if __name__ == "__main__":
    main()
