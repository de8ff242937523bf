"""What the stream benchmarks say: the picture and the table of their cells."""

from collections.abc import Mapping, Sequence
from statistics import mean

from common import markdown, pyplot, save_figure

__all__ = ["NAMES", "at_end", "beside", "costs", "draw", "table"]

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
LABELS = {name: text.replace("`", "").replace("*", "") for name, text in NAMES.items()}
WITHOUT_MEMORY = ("naive", "joint")


def table(cells: Sequence[dict]) -> str:
    """Accuracy at the end over all classes, mean of the seeds, by method and raw images' bytes, as Markdown."""
    sizes = sorted({cell["images"] for cell in cells if cell["method"] not in WITHOUT_MEMORY})
    rows = []
    for method in _methods(cells):
        own = [cell for cell in cells if cell["method"] == method]
        fitting = [own if method in WITHOUT_MEMORY else [c for c in own if c["images"] == size] for size in sizes]
        rows.append([NAMES[method], *map(at_end, fitting)])
    return markdown(["in the bytes of", *(f"{size} images" for size in sizes)], rows)


def beside(columns: Mapping[str, Sequence[dict]], least: int = 1) -> str:
    """Accuracy at the end by method, of several protocols; methods that at least so many of them have."""
    rows = []
    for method in NAMES:
        found = [at_end([cell for cell in cells if cell["method"] == method]) for cells in columns.values()]
        if sum(map(bool, found)) >= least:
            rows.append([NAMES[method], *found])
    return markdown(["", *columns], rows)


def costs(cells: Sequence[dict], images: int) -> str:
    """At one size: the bytes that are held, seconds for making the memories and seconds of training."""
    cells = [cell for cell in cells if cell["images"] == images]
    rows = []
    for method in _methods(cells):
        own = [cell for cell in cells if cell["method"] == method]
        made, trained = mean(sum(c["condensing_seconds"]) for c in own), mean(c["training_seconds"] for c in own)
        rows.append([NAMES[method], f"{max(own[0]['bytes']):,}", f"{made:.0f}", f"{trained:.0f}"])
    return markdown(["", "bytes", "seconds for the memory", "seconds of training"], rows)


def at_end(cells: Sequence[dict]) -> str:
    """Accuracy at the end, and of several seeds their range."""
    found = [100 * cell["AverageAccuracy"] for cell in cells]
    if not found:
        return ""
    return f"{mean(found):.1f}" + (f" ({min(found):.1f} to {max(found):.1f})" if len(found) > 1 else "")


def _methods(cells: Sequence[dict]) -> list[str]:
    present = {cell["method"] for cell in cells}
    return [method for method in NAMES if method in present]


def draw(name: str, cells: Sequence[dict]) -> None:
    """Accuracy over experiences at the size that most cells have, and at the end over bytes, where there are several.

    The latter for each network, the one with most cells first.
    """
    of_cells = [cell["settings"]["network"] for cell in cells]
    first, *others = sorted(set(of_cells), key=of_cells.count, reverse=True)
    networks = [first, *(name for name in others if len({c["images"] for c in _of_network(cells, name)}) > 1)]
    wide = 1.6 + 3.8 * (1 + len(networks))
    figure, (over_time, *over_bytes) = pyplot().subplots(
        1, 1 + len(networks), figsize=(wide, 3.8), layout="constrained"
    )
    for axes, network in zip(over_bytes, networks, strict=True):
        axes.sharey(over_bytes[0])
        _over_bytes(axes, network, _of_network(cells, network))
    _over_time(over_time, _of_network(cells, networks[0]))
    drawn = {label: line for axes in over_bytes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(drawn.values(), drawn, loc="outside right center", frameon=False, fontsize=8)
    save_figure(figure, name)


def _of_network(cells: Sequence[dict], network: str) -> list[dict]:
    return [cell for cell in cells if cell["settings"]["network"] == network]


def _over_time(axes, cells: list[dict]) -> None:
    sizes = [cell["images"] for cell in cells]
    usual = max(sorted(set(sizes)), key=sizes.count)
    for method in _methods(cells):
        fitting = [cell for cell in cells if cell["images"] == usual or method in WITHOUT_MEMORY]
        _curve(axes, method, [cell for cell in fitting if cell["method"] == method])
    axes.set(xlabel="experiences", ylabel="accuracy on the classes so far, %", title=f"{usual} images' bytes")


def _over_bytes(axes, network: str, cells: list[dict]) -> None:
    sizes = sorted({cell["images"] for cell in cells})
    for method in _methods(cells):
        _ends(axes, method, [cell for cell in cells if cell["method"] == method], sizes)
    axes.set(xlabel="raw images' bytes", ylabel="at the end, %", xscale="log", title=network)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()


def _curve(axes, method: str, cells: list[dict]) -> None:
    curves = [_seen_so_far(cell) for cell in cells]
    if curves and len({len(curve) for curve in curves}) == 1 and len(curves[0]) > 1:
        axes.plot(
            range(1, len(curves[0]) + 1), [mean(values) for values in zip(*curves, strict=True)], **_style(method)
        )


def _ends(axes, method: str, cells: list[dict], sizes: list[int]) -> None:
    found = {size: [100 * cell["AverageAccuracy"] for cell in cells if cell["images"] == size] for size in sizes}
    points = {size: mean(values) for size, values in found.items() if values}
    if method in WITHOUT_MEMORY:
        points = dict.fromkeys(sizes, mean(points.values()))
    axes.plot(list(points), list(points.values()), **_style(method))


def _style(method: str) -> dict:
    line = ":" if method.startswith("gdumb") else "-"
    color = COLORS.get(method.removeprefix("gdumb "))
    return {"label": LABELS[method], "color": color, "marker": "o", "markersize": 3, "linestyle": line}


def _seen_so_far(cell: dict) -> list[float]:
    return [100 * sum(row[: number + 1]) / (number + 1) for number, row in enumerate(cell["matrix"])]
