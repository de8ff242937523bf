"""Tables of what things cost, from the result files of single measurements."""

from functools import partial

import pandas as pd

from .labels import labels_of
from .results import latest, read, select

__all__ = ["REPORTED", "big_data", "current_images", "imagenet_plan", "scaling", "speed"]


def scaling(machine: str) -> pd.DataFrame:
    """Seconds and memory over classes, and at the most classes over real images."""
    frame = latest(read("scaling", machine=machine), "part", "classes", "batch_real")
    rows, fewer = (select(frame, part=part) for part in ("classes", "batch_real"))
    fewer = fewer[fewer.batch_real < frame.batch_real.max()].sort_values("batch_real", ascending=False)
    rows = pd.concat([rows, fewer])
    table = {"s per iteration": rows.seconds, "peak memory, GiB": rows.peak_memory_gib}
    table = pd.DataFrame.from_dict(
        {name: [f"{v:.2f}" for v in values] for name, values in table.items()}, orient="index"
    )
    table.columns = [f"{row.classes} × {row.batch_real}" for row in rows.itertuples()]
    return table.rename_axis("classes × real images each")


def speed(machine: str, unit: str) -> pd.DataFrame:
    """Ours and the official way in turns, and what the machine allows, in seconds or milliseconds."""
    times, rows, parts = {"seconds": 1, "milliseconds": 1000}[unit], {}, labels_of("speed")
    for row in latest(read("speed", machine=machine), "part", "dataset", "classes", "ipc").itertuples():
        ours, official, floor = (times * value for value in (row.ours, row.official, row.floor))
        iteration = row.part == "iteration"
        title = f"an iteration: {row.dataset}, {row.classes} classes, ipc {row.ipc}" if iteration else parts[row.part]
        digits = 1 if official >= 100 and not iteration else 2
        limit = f"{floor:.2f}, {row.floor / row.ours:.0%} reached" if iteration else ""
        rows[title] = [f"{ours:,.{digits}f}", f"{official:,.{digits}f}", f"{row.ratio:.1f}", limit]
    columns = ["ours", "official way", "ratio", "the machine's limit"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis(f"{unit} for")


def big_data(machine: str) -> pd.DataFrame:
    """Seconds an iteration by where the real images lie."""
    frame = _by_part(read("big_data", machine=machine), "pool")
    table = {"s per iteration": frame.seconds, "times that in memory": frame.ratio}
    return pd.DataFrame(table).map("{:.2f}".format).rename_axis("real images")


def imagenet_plan() -> pd.DataFrame:
    """What ImageNet-1K would take, calculated."""
    last = read("imagenet_plan").iloc[-1].dropna().filter(like="imagenet.")
    return (
        last.rename(lambda name: name.removeprefix("imagenet."))
        .map("{:,.1f}".format)
        .to_frame("calculated")
        .rename_axis("ImageNet-1K")
    )


def current_images() -> pd.DataFrame:
    """Milliseconds of a mini-batch before the network sees it."""
    seconds = _by_part(read("fast_path"), "loader").seconds
    return (1000 * seconds).map("{:.0f}".format).to_frame("ms").rename_axis("")


def _by_part(frame: pd.DataFrame, table: str) -> pd.DataFrame:
    """The last row of each part, by its label."""
    labels = labels_of(table)
    own = latest(frame, "part").set_index("part")
    return own.loc[[part for part in labels if part in own.index]].rename(index=labels)


REPORTED = {
    "imagenet-plan": imagenet_plan,
    "scaling": partial(scaling, "CPU"),
    "speed": partial(speed, "bfloat16 cores", "seconds"),
    "speed-gpu": partial(speed, "GPU", "milliseconds"),
    "big-data": partial(big_data, "CPU"),
    "current-images": current_images,
}
