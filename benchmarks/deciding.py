"""The table by which a reader decides: stock, herded and condensed memories of the same bytes, with and without current
images beside them."""

import pandas as pd

from .results import read, select
from .stream_tables import LONGER, split

__all__ = ["REPORTED"]

COLUMNS = {
    "random whole images (stock replay)": ("stock", "reservoir", "random/whole"),
    "herded whole images": ("herding/whole",),
    "herded mosaics": ("herding/code", "herding/8bit"),
    "condensed mosaics": ("fast/code", "fast/8bit"),
    "herded, by `Dct`": ("herding/dct",),
    "condensed, by `Dct`": ("fast/dct",),
}


def decided() -> pd.DataFrame:
    """Accuracy by what a memory holds, in eight uses of it, and what condensing gains over herding."""
    alone = read("equal_bytes", network="convnet", steps=400)
    alone = alone[alone.learned.isna() | alone.seconds_allowed.isin([180.0]) | alone.iterations.isin([300])]
    alone = alone[alone.learned.isna() | alone.learned.isin(["convnet"])]
    blurry = read("ordinary", stream="blurry")
    frames = {
        "replay, Split-CIFAR100, four epochs each, 50 images": split(0.5, images=50, **LONGER),
        "the same, 200 images": split(0.5, images=200, **LONGER),
        "the same, 1,000 images": split(0.5, images=1000, **LONGER),
        "replay, Split-CIFAR100, one epoch each, 200 images": split(images=200),
        "replay, digits with blurry boundaries, 100 images": blurry[
            blurry.method.eq("reservoir") | blurry.augment.eq("replay")
        ],
        "memory alone, CIFAR-10, 1 image a class": select(alone, dataset="cifar10", ipc=1),
        "memory alone, CIFAR-10, 10 a class": select(alone, dataset="cifar10", ipc=10),
        "memory alone, CIFAR-100, 10 a class": select(alone, dataset="cifar100", ipc=10),
    }
    means = pd.DataFrame(
        [[_mean(frame, methods) for methods in COLUMNS.values()] for frame in frames.values()],
        index=pd.Index(frames, name="in the bytes of"),
        columns=[*COLUMNS],
    )
    table = means.map(lambda value: "" if pd.isna(value) else f"{value:.1f}")
    ways = [[name for name in COLUMNS if name.startswith(way)] for way in ("herded", "condensed")]
    herded, condensed = (means[names].round(1).max(axis=1) for names in ways)
    gains = condensed - herded
    table["condensing gains"] = ["" if pd.isna(gain) else f"{gain:+.1f}" for gain in gains]
    return table


def _mean(frame: pd.DataFrame, methods: tuple[str, ...]) -> float:
    """NaN of none."""
    return float(frame.accuracy[frame.method.isin(methods)].astype(float).mean())


REPORTED = {"decide": decided}
