"""What the stream benchmarks say: the picture and the table of their cells."""

from collections.abc import Sequence
from statistics import mean

from common import RESULTS

from dm_replay.runtime.atomic_files import atomic

__all__ = ["costs", "draw", "markdown", "table"]

COLORS = {"naive": "#9a9a9a", "joint": "#555555", "stock": "#d98c3f", "herding": "#e0b070", "shrunk": "#c06a5a"}
COLORS |= {"webp": "#a0a030", "code": "#3fa38c", "code whole": "#8fcabd", "fast": "#2f6db3", "fast whole": "#9fc0e6"}
COLORS |= {"plus": "#7a3fb3", "mixed": "#1f3f73"}
NAMES = {
    "naive": "no memory",
    "stock": "Avalanche's `ReplayPlugin`: random whole images",
    "herding": "herded whole images",
    "shrunk": "herded, shrunk to 8 × 8",
    "webp": "herded, at half size as WebP",
    "code": "herded, at half size in our code",
    "code whole": "herded, whole in our code",
    "fast": "**condensed, at half size in our code**",
    "fast whole": "condensed, whole in our code",
    "mixed": "half condensed, half herded, likewise",
    "plus": "condensed (`plus`), likewise",
    "joint": "all classes at once",
}
NAMES |= {f"gdumb {name}": f"GDumb, {text}" for name, text in NAMES.items()}
WITHOUT_MEMORY = ("naive", "joint")


def table(results: dict, network: str) -> str:
    """Accuracy at the end over all classes, mean of the seeds, by method and raw images' bytes, as Markdown."""
    cells = [cell for cell in results.values() if cell["settings"]["network"] == network]
    sizes = sorted({cell["images"] for cell in cells if cell["method"] not in WITHOUT_MEMORY})
    rows = []
    for method in _methods(cells):
        own = [cell for cell in cells if cell["method"] == method]
        fitting = [own if method in WITHOUT_MEMORY else [c for c in own if c["images"] == size] for size in sizes]
        rows.append([NAMES[method], *map(at_end, fitting)])
    return markdown(["in the bytes of", *(f"{size} images" for size in sizes)], rows)


def costs(results: dict, network: str, images: int) -> str:
    """At one size: seconds for making memories and for training, and real or synthetic images that are held."""
    cells = [c for c in results.values() if c["settings"]["network"] == network and c["images"] == images]
    rows = []
    for method in _methods(cells):
        own = [cell for cell in cells if cell["method"] == method]
        made, trained = mean(sum(c["condensing_seconds"]) for c in own), mean(c["training_seconds"] for c in own)
        rows.append([NAMES[method], f"{max(own[0]['bytes']):,}", f"{made:.0f}", f"{trained:.0f}"])
    return markdown(["", "bytes", "seconds for the memory", "seconds of training"], rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def at_end(cells: Sequence[dict]) -> str:
    """Accuracy at the end, and of several seeds their range."""
    found = [100 * cell["AverageAccuracy"] for cell in cells]
    if not found:
        return ""
    return f"{mean(found):.1f}" + (f" ({min(found):.1f} to {max(found):.1f})" if len(found) > 1 else "")


def _methods(cells: Sequence[dict]) -> list[str]:
    present = {cell["method"] for cell in cells}
    return [method for method in NAMES if method in present]


def draw(name: str, results: dict) -> None:
    """For each network: accuracy over experiences at the size that most cells have, and at the end over bytes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    networks = list(dict.fromkeys(cell["settings"]["network"] for cell in results.values()))
    figure, rows = pyplot.subplots(
        len(networks), 2, figsize=(9, 3.8 * len(networks)), layout="constrained", squeeze=False
    )
    for network, (over_time, over_bytes) in zip(networks, rows, strict=True):
        cells = [cell for cell in results.values() if cell["settings"]["network"] == network]
        sizes = [cell["images"] for cell in cells]
        usual = max(sorted(set(sizes)), key=sizes.count)
        for method in dict.fromkeys(cell["method"] for cell in cells):
            own = [cell for cell in cells if cell["method"] == method]
            _curve(over_time, method, [cell for cell in own if cell["images"] == usual])
            _over_bytes(over_bytes, method, own, sorted(set(sizes)))
        over_time.set(xlabel="experiences", ylabel="accuracy on the classes so far, %")
        over_time.set_title(f"{network}, {usual} images' bytes", fontsize=10)
        over_bytes.set(xlabel="raw images' bytes", ylabel="at the end, %", xscale="log")
        over_bytes.set_xticks(sorted(set(sizes)), [str(size) for size in sorted(set(sizes))])
        over_bytes.minorticks_off()
        over_bytes.legend(frameon=False, fontsize=7)
        for axes in (over_time, over_bytes):
            axes.spines[["top", "right"]].set_visible(False)
    with atomic(RESULTS / f"{name}.png") as temporary:
        figure.savefig(temporary, dpi=150)
    pyplot.close(figure)


def _curve(axes, method: str, cells: list[dict]) -> None:
    curves = [_seen_so_far(cell) for cell in cells]
    if curves and len({len(curve) for curve in curves}) == 1 and len(curves[0]) > 1:
        axes.plot(
            range(1, len(curves[0]) + 1), [mean(values) for values in zip(*curves, strict=True)], **_style(method)
        )


def _over_bytes(axes, method: str, cells: list[dict], sizes: list[int]) -> None:
    found = {size: [100 * cell["AverageAccuracy"] for cell in cells if cell["images"] == size] for size in sizes}
    points = {size: mean(values) for size, values in found.items() if values}
    if method in WITHOUT_MEMORY:
        points = dict.fromkeys(sizes, mean(points.values()))
    axes.plot(list(points), list(points.values()), **_style(method))


def _style(method: str) -> dict:
    line = ":" if method.startswith("gdumb") else "-"
    color = COLORS.get(method.removeprefix("gdumb "))
    return {"label": method, "color": color, "marker": "o", "markersize": 3, "linestyle": line}


def _seen_so_far(cell: dict) -> list[float]:
    return [100 * sum(row[: number + 1]) / (number + 1) for number, row in enumerate(cell["matrix"])]
