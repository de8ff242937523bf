"""Tables and pictures of memories in streams, from the result files of streams.py."""

from collections.abc import Iterable, Sequence
from functools import partial
from statistics import mean

import pandas as pd

from .labels import colors_of, labels_of
from .results import draw_panels, pivoted, read, select
from .stream_data import ONLINE
from .targets import published

__all__ = ["DRAWN", "LONGER", "NAMES", "REPORTED", "TABLES", "split"]

WITHOUT_MEMORY = ["naive", "joint"]
NAMES, ORDINARY, STREAMS = labels_of("memory"), labels_of("ordinary"), labels_of("stream")
PROTOCOL = {"dataset": "cifar100", "experiences": 10, "network": "convnet:width=64", "epochs": 1, "batch": 64}
PROTOCOL |= {"replay": 192, "lr": 0.03, "momentum": 0.9}
LONGER = {"network": "convnet:width=32", "epochs": 4}
SECONDS = 10.0
RESNET = "resnet18:width=20,norm=batch"


def split(resolution: float | None = 0.0, **others) -> pd.DataFrame:
    """The rows of the usual protocol but for ``others``.

    Args:
        resolution: ``match_resolution`` of the plugin's memories that can have it; None: any.
    """
    frame = select(read("split"), **(PROTOCOL | others))
    frame = frame[frame.seconds_allowed.isin([SECONDS]) | frame.seconds_allowed.isna()]
    fits = frame.match_resolution.isin([resolution]) | ~_ours(frame) if resolution is not None else frame.method.notna()
    return frame[fits]


def _ours(frame: pd.DataFrame) -> pd.Series:
    """Which rows are of memories of ours whose resolution current images can be brought to."""
    return frame.method.str.contains("/") & ~frame.method.str.contains("/webp") & ~frame.method.str.startswith("gdumb")


def by_size(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy at the end over all classes, mean and range of the seeds, by method and raw images' bytes."""
    sizes = sorted(frame.images.dropna().unique())
    table = _named(pivoted(frame.fillna({"images": sizes[0]}), ["method"], "images", at_end), "in the bytes of")
    for method in frame.method[frame.images.isna()].unique():
        table.loc[NAMES[method]] = at_end(select(frame, method=method))
    return table[sizes].rename(columns="{} images".format)


def beside(columns: dict[str, pd.DataFrame], least: int = 1) -> pd.DataFrame:
    """Accuracy at the end by method, of several protocols; methods that at least so many of them have."""
    frame = pd.concat([own.assign(protocol=title) for title, own in columns.items()], ignore_index=True)
    table = _named(pivoted(frame, ["method"], "protocol", at_end))[[*columns]]
    return table[(table != "").sum(axis=1) >= least]


def costs(images: int) -> pd.DataFrame:
    """At one size: the bytes that are held, seconds for making the memories and seconds of training."""
    frame = split()
    groups = frame[frame.images.isin([images]) | frame.images.isna()].groupby("method")
    table = pd.DataFrame(
        {
            "bytes": groups.bytes.first().map("{:,}".format),
            "seconds for the memory": groups.memory_seconds.agg(lambda own: f"{mean(map(sum, own)):.0f}"),
            "seconds of training": groups.seconds.agg(lambda own: f"{mean(own):.0f}"),
        }
    )
    return _named(table)


def at_end(own: pd.DataFrame) -> str:
    """Accuracy at the end, and of several seeds their range."""
    found = list(own.accuracy)
    return f"{mean(found):.1f}" + (f" ({min(found):.1f} to {max(found):.1f})" if len(found) > 1 else "")


def resolutions(images: int) -> pd.DataFrame:
    """What match_resolution does for the two normalizations, of memories in the bytes of so many images."""
    columns = {}
    for norm, network in (("InstanceNorm", "convnet:width=64"), ("BatchNorm", "convnet:width=64,norm=batch")):
        frame = split(None, network=network, images=images)
        columns[f"{norm}, current images as they are"] = select(frame, match_resolution=0.0)
        columns[f"{norm}, half of them at the memory's resolution"] = select(frame, match_resolution=0.5)
    return beside(columns, least=2)


def _usual_steps(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[~frame.method.str.contains("/dct-")]


def steps_of_codes(frame: pd.DataFrame) -> pd.DataFrame:
    """Herded images by `Dct` of any step, and all old images."""
    return frame[frame.method.str.contains("herding/dct|oracle")]


def roughness(images: int) -> pd.DataFrame:
    """What the step of a memory does where each experience is trained on for long, and current images as rough."""
    frame = split(None, **LONGER, images=images)
    frame = frame[frame.method.str.contains("/dct|/code")]
    columns = {"current images as they are": 0.0, "half of them as rough as the memory's": 0.5, "all of them": 1.0}
    found = {title: select(frame, match_resolution=part) for title, part in columns.items()}
    return beside({title: own for title, own in found.items() if len(own)})


def other_data() -> pd.DataFrame:
    """The same on other datasets, each at one size; at 64 pixels also with half of the current images resampled."""
    tiny = {"dataset": "tinyimagenet", "network": "convnet:width=64,depth=4"}
    few, many = [100, float("nan")], [1000, float("nan")]
    frames = {
        "Split-CIFAR10, 5 experiences, 100 images": (split(dataset="cifar10", experiences=5), few),
        "Split-TinyImageNet, 10 experiences, 1000 images": (split(**tiny), many),
        "the same, `match_resolution=0.5`": (split(0.5, **tiny), many),
    }
    return beside({title: frame[frame.images.isin(sizes)] for title, (frame, sizes) in frames.items()})


def online(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy at the end by method, network and raw images' bytes, with what others published."""
    order = {"last": frame.network == RESNET, "place": frame.method.map(_in_order(frame.method).index)}
    frame = frame.assign(**order).sort_values(["last", "network", "match_resolution", "place"])
    norms = ["BatchNorm" if "norm=batch" in network else "InstanceNorm" for network in frame.network]
    parts = [
        f", {100 * part:g} % of current images at the memory's resolution" if part else ""
        for part in frame.match_resolution
    ]
    titles = [f"{NAMES.get(m, m)}; {norm}{part}" for m, norm, part in zip(frame.method, norms, parts, strict=True)]
    theirs = published("online")
    theirs = theirs.assign(title="*" + theirs["method"] + ", published*", images=theirs.ipc)
    table = pivoted(theirs, ["title"], "images", lambda own: own.text.iloc[0])
    ours = pivoted(frame.assign(title=titles), ["title"], "images", at_end)
    table = pd.concat([ours, table]).fillna("")
    return table[sorted(table.columns)].rename(columns="{} images".format).rename_axis("in the bytes of")


def ordinary(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy at the end, mean and deviation over the seeds, of each stream and memory."""
    titles = [
        STREAMS[row.stream] + (f", {row.images} images" if row.stream in ONLINE else "") for row in frame.itertuples()
    ]
    names = (frame.method + ", " + frame.augment).map(ORDINARY.get)
    table = pivoted(frame.assign(title=titles, name=names).dropna(subset="name"), ["title"], "name")
    return table.reindex(columns=[name for name in ORDINARY.values() if name in table]).rename_axis("")


def _named(table: pd.DataFrame, head: str = "") -> pd.DataFrame:
    """A table by methods in their order, with their names."""
    return table.loc[_in_order(table.index)].rename(index=NAMES).rename_axis(head)


def draw(frame: pd.DataFrame) -> None:
    """Accuracy over experiences at the size that most rows have, and over bytes for each network with several sizes.

    The stream is that of the last row, trained as usual. Current images are as they are; for BatchNorm half of them are
    at the memory's resolution. Networks with most rows come first.
    """
    last = frame.iloc[-1]
    same = {name: value for name, value in PROTOCOL.items() if name != "network"}
    frame = select(frame, **same | {name: last[name] for name in ("dataset", "experiences")})
    matched = 0.5 * frame.network.str.contains("norm=batch")
    frame = frame[(frame.match_resolution == matched) | ~_ours(frame)]
    if frame.empty:
        return
    networks = list(frame.network.value_counts().index)
    sizes = {network: sorted(select(frame, network=network).images.dropna().unique()) for network in networks}
    drawn = [network for network in networks if network == networks[0] or len(sizes[network]) > 1]
    usual = select(frame, network=networks[0]).images.value_counts().idxmax()
    own = select(frame, network=networks[0])
    panels = [(f"{usual} images' bytes", _over_time(own[own.images.isin([usual]) | own.images.isna()]))]
    panels += [(network, _over_bytes(select(frame, network=network), sizes[network])) for network in drawn]
    colors = {_plain(label): color for label, color in colors_of("memory").items()}
    draw_panels(f"split_{last.dataset}", panels, "accuracy, %", colors, log="raw images' bytes")


def _over_time(frame: pd.DataFrame) -> pd.DataFrame:
    """The mean curve of each method: accuracy on the classes so far after each experience."""
    found = {}
    for method in _in_order(frame.method):
        curves = [_seen_so_far(matrix) for matrix in select(frame, method=method).matrix]
        if len(set(map(len, curves))) == 1 and len(curves[0]) > 1:
            means = [mean(values) for values in zip(*curves, strict=True)]
            found[_plain(method)] = pd.Series(means, range(1, 1 + len(means)))
    return pd.DataFrame(found).rename_axis("experiences")


def _over_bytes(frame: pd.DataFrame, sizes: Sequence[int]) -> pd.DataFrame:
    """Accuracy at the end of each method by the raw images whose bytes it has."""
    found = {}
    for method in _in_order(frame.method):
        own = select(frame, method=method)
        means = own.groupby("images").accuracy.agg(lambda a: mean(a))
        found[_plain(method)] = means if method not in WITHOUT_MEMORY else mean(own.accuracy)
    return pd.DataFrame(found, index=pd.Index(sizes, name="raw images' bytes"), dtype=float)


def _in_order(methods: Iterable[str]) -> list[str]:
    """Methods, each once, those that have names first."""
    return sorted(dict.fromkeys(methods), key=lambda method: [*NAMES, method].index(method))


def _plain(method: str) -> str:
    return NAMES.get(method, method).replace("`", "").replace("*", "")


def _seen_so_far(matrix: Sequence[Sequence[float]]) -> list[float]:
    return [sum(row[: number + 1]) / (number + 1) for number, row in enumerate(matrix)]


TABLES = {"split": lambda frame: by_size(split(**_last(frame))), "online": online, "ordinary": ordinary}
DRAWN = {"split": draw}


def _last(frame: pd.DataFrame) -> dict:
    """The protocol that was measured last, with any resolution."""
    return {"resolution": None} | {name: frame.iloc[-1][name] for name in PROTOCOL}


REPORTED = {
    "streams": lambda: by_size(split()),
    "streams-longer": lambda: by_size(_usual_steps(split(**LONGER))),
    "streams-matched": lambda: by_size(_usual_steps(split(0.5, **LONGER))),
    "streams-rough": partial(roughness, 50),
    "streams-steps": lambda: by_size(steps_of_codes(split(0.5, **LONGER))),
    "streams-resnet": lambda: by_size(split(0.5, network=RESNET)),
    "streams-others": other_data,
    "ordinary-streams": lambda: ordinary(read("ordinary")),
    "resampling": partial(resolutions, 200),
    "stream-costs": partial(costs, 200),
    "online": lambda: online(read("online")),
}
