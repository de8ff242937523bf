"""SSD's online protocol: Split-CIFAR100 seen once, ten images at a time, with memories of the same bytes.

    python benchmarks/online_cifar100.py --images 100 500 1000 --seeds 0 1
    python benchmarks/online_cifar100.py --quick                     # the smallest memory, 5 s of condensing

Ten experiences of ten classes, one epoch, mini-batches of 10 current and 100 replayed images, SGD with rate 0.1, the
reduced ResNet-18. What differs from SSD (AAAI 2024): experience replay with the network's own output layer instead of
supervised contrastive replay with the nearest class mean, a memory that is filled after each experience instead of
during it, and half of the current images at the memory's resolution, which a network with BatchNorm needs. Cells are
written to results/online_cifar100.json as they are done and not run again.
"""

import argparse

from common import markdown, parsed, read_results
from split_cifar100 import alike, options_of, run
from stream_report import NAMES, at_end
from targets import targets

METHODS = ["stock", "shrunk", "webp", "code", "fast"]
NETWORK = "resnet18:width=20,norm=batch"
SETTINGS = dict(network=NETWORK, epochs=1, batch=10, replay=100, lr=0.1, momentum=0.0, seconds=10.0)


def main():
    options = parsed(parser_of(), seconds=5.0, images=[100])
    name = f"online_{options.dataset}"
    run(name, options)
    print(table(alike(read_results(name), options, but=["network", "resampled"])))


def parser_of() -> argparse.ArgumentParser:
    parser = options_of(__doc__)
    parser.set_defaults(methods=METHODS, images=[100, 500], **SETTINGS)
    return parser


def table(cells: list[dict]) -> str:
    """Final accuracy by method, network and raw images' bytes, as Markdown, with what others published."""
    theirs = [target for target in targets() if target.table == "online"]
    sizes = sorted({cell["images"] for cell in cells} | {target.ipc for target in theirs})
    rows = []
    for row in sorted(set(map(_row_of, cells)), key=_order):
        by_size = [[cell for cell in cells if (_row_of(cell), cell["images"]) == (row, size)] for size in sizes]
        rows.append([_title(*row), *map(at_end, by_size)])
    for method in dict.fromkeys(target.method for target in theirs):
        by_size = {target.ipc: f"*{target}*" for target in theirs if target.method == method}
        rows.append([f"*{method}, published*", *(by_size.get(size, "") for size in sizes)])
    return markdown(["in the bytes of", *(f"{size} images" for size in sizes)], rows)


def _row_of(cell: dict) -> tuple[str, float, str]:
    settings = cell["settings"]
    return settings["network"], settings.get("resampled", 0.0), cell["method"]


def _order(row: tuple[str, float, str]) -> tuple[bool, str, float, int]:
    """Those of the script's own network last, beside what is compared with them."""
    network, resampled, method = row
    return network == NETWORK, network, resampled, list(NAMES).index(method)


def _title(network: str, resampled: float, method: str) -> str:
    norm = "BatchNorm" if "norm=batch" in network else "InstanceNorm"
    part = f", {100 * resampled:g} % of current images resampled" if resampled else ""
    return f"{NAMES[method]}; {norm}{part}"


if __name__ == "__main__":
    main()
