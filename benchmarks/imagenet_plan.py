"""What ImageNet-1K would take on this machine, calculated from a real tree of the same shape.

    python -m benchmarks.imagenet_plan --root DIR/imagenette                 # train/<class>/…, val/<class>/…
    python -m benchmarks.imagenet_plan --root DIR/imagenette --quick         # one iteration of each preset, not four

The tree's pictures are packed anew at ``--size`` pixels; then a process of its own opens the pack, mapped, and
condenses one image a class. ImageNet-1K has 1,281,167 + 50,000 pictures of 1,000
classes, of 469 x 387 pixels on average: packing is counted by the pixels of the pictures, a pack's bytes and its
opening by their number, an iteration by classes (it is linear in them: scaling.py). Condensing may take its memory
budget beyond what an open pack takes. Files are in the system's cache; what comes before the first iteration (herding,
training the networks of ``fast``) is left out.
"""

import argparse
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image

from dm_replay import CondenseConfig, Machine, load_dataset
from dm_replay.data import packing
from dm_replay.data.image_files import imagenet

from .cost_tables import imagenet_plan
from .results import append, markdown
from .timing import seconds_per_iteration

PICTURES, CLASSES, PIXELS = 1_281_167 + 50_000, 1_000, 469 * 387
PRESETS = {"paper": 20_000, "fast": 300}  # iterations that are planned


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="a tree as ImageNet's: train and val of class folders")
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("--iterations", type=int, default=4, help="that are timed, after one that compiles")
    parser.add_argument("--compile", choices=("yes", "no"), default="yes")
    parser.add_argument("--quick", action="store_true", help="one iteration")
    if parser.parse_known_args()[0].quick:
        parser.set_defaults(iterations=1)
    options = parser.parse_args()
    tree = in_a_process(about_tree, options.root)
    packed = in_a_process(pack, options.root, options.size)
    steps = {preset: in_a_process(condensing, options, preset) for preset in PRESETS}
    measured = {"tree": tree, "packing": packed, "condensing": steps}
    append("imagenet_plan", [{"side": options.size, **measured, "imagenet": plan(options.size, **measured)}])
    print(markdown(imagenet_plan()))


def in_a_process(work, *arguments):
    """What ``work`` returns in a fresh process, whose memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def about_tree(root: Path) -> dict:
    train, test, names = imagenet(root)
    pixels = 0
    for file in (*train.files, *test.files):
        with Image.open(file) as picture:
            pixels += picture.width * picture.height
    return {"pictures": len(train.files) + len(test.files), "classes": len(names), "pixels": pixels}


def pack(root: Path, size: int) -> dict:
    """Seconds for decoding and writing, bytes of the pack, and the process's memory."""
    started = time.perf_counter()
    data = load_dataset(f"imagenet:{size}", root, repack=True)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "bytes": (len(data.train) + len(data.test)) * 3 * size**2, "peak_gib": peak_gib()}


def condensing(options: argparse.Namespace, preset: str) -> dict:
    """Seconds to open the pack, which is mapped whatever its size, and for an iteration, and the process's memory."""
    packing.IN_MEMORY = 0
    started = time.perf_counter()
    train = load_dataset(f"imagenet:{options.size}", options.root).train
    opened, memory = time.perf_counter() - started, peak_gib()
    how = {"iterations": options.iterations + 1, "extractor_steps": 1, "compile": options.compile}
    config = CondenseConfig.preset(preset, ipc=1, **how)
    seconds = seconds_per_iteration(train, config)
    return {"opening": opened, "open_gib": memory, "seconds": seconds, "peak_gib": peak_gib()}


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def plan(size: int, tree: dict, packing: dict, condensing: dict) -> dict[str, float]:
    """Bytes, hours and memory of ImageNet-1K."""
    each = {name: row["seconds"] * PRESETS[name] * CLASSES / tree["classes"] for name, row in condensing.items()}
    hours = {f"{name}, {PRESETS[name]} iterations, hours": seconds / 3600 for name, seconds in each.items()}
    opening, memory = (max(row[name] for row in condensing.values()) for name in ("opening", "open_gib"))
    return {
        "pack, GB": PICTURES * 3 * size**2 / 1e9,
        "packing, hours": packing["seconds"] * PICTURES * PIXELS / tree["pixels"] / 3600,
        "opening, seconds": opening * PICTURES / tree["pictures"],
        **hours,
        "memory while packing, GiB": packing["peak_gib"],
        "memory while condensing, GiB": memory + 8 * PICTURES / 2**30 + Machine.memory_budget,
    }


if __name__ == "__main__":
    main()
