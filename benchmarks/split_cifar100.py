"""Where condensed replay pays: memories of the same bytes in a class-incremental stream.

    python benchmarks/split_cifar100.py --quick                         # half an hour on two cores
    python benchmarks/split_cifar100.py --images 100 200 500 1000 2000 5000 --seeds 0 1 2
    python benchmarks/split_cifar100.py --dataset cifar10 --experiences 5 --network resnet18:width=20

An Avalanche ``Naive`` strategy trains a network on experiences of as many classes each, and replays from a memory of
the bytes of ``--images`` raw images (pixels and whatever decoding needs; labels apart). Every mini-batch, current
images and replayed ones alike, is augmented by the strategy, so that memories differ in nothing but what they hold:

- ``naive`` has none, ``joint`` trains on all classes at once;
- ``stock`` is Avalanche's ``ReplayPlugin``, which keeps random whole images; ``herding`` herded ones;
- ``shrunk`` herded images at 8 x 8, ``webp`` at 16 x 16 as WebP, ``code`` in the code of the condensed ones (4 bits,
  color at a lower resolution);
- ``fast`` and ``plus`` condensed images, ``mixed`` half of them herded real ones;
- ``gdumb …`` trains on the memory alone, from scratch after each experience.

What a memory holds depends on the stream alone: it is made once, kept in runs/split and used again with another network
or number of epochs. Cells are written to results/split_<dataset>.json as they are done and not run again. The pictures
show accuracy over experiences and over bytes.
"""

import argparse
import shlex
import sys
import time
import warnings
from pathlib import Path

import torch
from common import RESULTS, read_results, write_result
from torch import Tensor, nn

from dm_replay import CondensedBuffer, DMReplayPlugin, SiameseAugment, TensorPool, build_network, load_dataset
from dm_replay import stream_metrics as metrics_of_streams
from dm_replay.data.registry import Dataset
from dm_replay.runtime import cpu
from dm_replay.runtime.atomic_files import atomic
from dm_replay.runtime.engine import choose
from dm_replay.runtime.provenance import provenance
from dm_replay.runtime.seeding import new_generator

MEMORIES = {
    "herding": dict(kind="herding", preset="paper"),
    "shrunk": dict(kind="herding", preset="paper", formation=4, enlarging="sharp", storage="uint8"),
    "webp": dict(kind="webp"),
    "code": dict(kind="herding", preset="fast"),
    "fast": dict(preset="fast"),
    "plus": dict(preset="plus"),
    "mixed": dict(preset="fast", real_fraction=0.5),
}
METHODS = ["naive", "joint", "stock", *MEMORIES, *(f"gdumb {name}" for name in MEMORIES)]
VARIED = ("methods", "images", "seeds")
KEPT = Path(__file__).parent.parent / "runs" / "split"
QUICK = ["naive", "stock", "herding", "shrunk", "webp", "code", "fast", "mixed"]
COLORS = {"naive": "#9a9a9a", "joint": "#555555", "stock": "#d98c3f", "herding": "#e0b070", "shrunk": "#c06a5a"}
COLORS |= {"webp": "#a0a030", "code": "#3fa38c", "fast": "#2f6db3", "plus": "#7a3fb3", "mixed": "#5a9fd8"}


def main():
    options = options_of(__doc__).parse_args()
    if options.quick:
        options.epochs, options.seconds, options.experiences = 2, 30.0, 5
    name = f"split_{options.dataset}"
    draw(name, run(name, options))


def options_of(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="cifar100")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=QUICK, metavar="METHOD")
    parser.add_argument("--images", type=int, nargs="+", default=[200], help="raw ones whose bytes a memory may take")
    parser.add_argument("--experiences", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the class order and all else")
    parser.add_argument("--network", default="convnet:width=64", help="that is trained")
    parser.add_argument("--epochs", type=int, default=3, help="of training on each experience")
    parser.add_argument("--batch", type=int, default=64, help="current images of a mini-batch")
    parser.add_argument("--replay", type=int, default=64, help="replayed images of a mini-batch")
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--seconds", type=float, default=60.0, help="of condensing after each experience")
    parser.add_argument("--quick", action="store_true", help="2 epochs, 30 s of condensing, 5 experiences")
    return parser


def run(name: str, options: argparse.Namespace) -> dict:
    """All cells that are asked for; those that are new are written to results/<name>.json."""
    cpu.keep_memory()
    data, results = load_dataset(options.dataset), read_results(name)
    for seed in options.seeds:
        for images in options.images:
            for method in options.methods:
                key = key_of(method, images, seed, options)
                if key not in results:
                    results[key] = measure(method, images, seed, data, options)
                    write_result(name, results)
                print(row(key, results[key]), flush=True)
    return results


def key_of(method: str, images: int, seed: int, options: argparse.Namespace) -> str:
    size = "" if method in ("naive", "joint") else f"{images} images' bytes, "
    made = f"{options.seconds:g} s, " if method.removeprefix("gdumb ") in ("fast", "plus", "mixed") else ""
    batch = f"batches of {options.batch} + {options.replay}, lr {options.lr:g}"
    stream = f"{options.experiences} experiences, {options.epochs} epochs, {batch}"
    return f"{method}, {size}{made}{stream}, {options.network}, seed {seed}"


def measure(method: str, images: int, seed: int, data: Dataset, options: argparse.Namespace) -> dict:
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import Naive

    warnings.filterwarnings("ignore")
    experiences = 1 if method == "joint" else options.experiences
    stream = benchmark(data, options.experiences, seed, joint=method == "joint")
    plugins, buffer = memory_of(method, images, seed, data, options)
    built = build_network(options.network, data.spec.shape, len(data.train.classes), seed=seed)
    network = Quick(built, data.spec.shape[1:], 2 * options.epochs * len(data.train))
    metrics = metrics_of_streams()
    learner = Naive(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), options.lr, options.momentum, weight_decay=5e-4),
        train_mb_size=options.batch,
        train_epochs=options.epochs * (options.experiences if method == "joint" else 1),
        eval_mb_size=512,
        plugins=[*plugins, augmenting(data, seed)],
        evaluator=EvaluationPlugin(*metrics, loggers=[]),
    )
    condensing, sizes, started, evaluating = [], [], time.perf_counter(), 0.0
    for number in range(experiences):
        learner.train(stream.train_stream[number])
        condensing.append(getattr(buffer, "seconds", 0.0))
        sizes.append(bytes_of(buffer, data))
        before = time.perf_counter()
        learner.eval(stream.test_stream)
        evaluating += time.perf_counter() - before
    summary = metrics[0].result()
    if method == "joint":
        summary = dict.fromkeys(("AverageAccuracy", "AverageIncrementalAccuracy"), float(metrics[0].matrix[-1].mean()))
    return {
        "method": method,
        "images": images,
        "seed": seed,
        "matrix": metrics[0].matrix.tolist(),
        **summary,
        "bytes": sizes,
        "condensing_seconds": condensing,
        "seconds": time.perf_counter() - started - evaluating,
        "settings": {name: value for name, value in vars(options).items() if name not in VARIED},
        "command": shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        **provenance("cpu"),
    }


class Quick(nn.Module):
    """A network compiled where that pays, with its matrix work in bfloat16 where the processor is fast at it."""

    def __init__(self, network: nn.Module, image_size: tuple[int, ...], images: int):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)
        self.engine = choose("cpu", "auto", "auto", image_size, images)
        self._compiled = torch.compile(network, dynamic=True) if self.engine.compiled else network

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.engine.dtype == torch.bfloat16):
            return self._compiled(images.contiguous(memory_format=torch.channels_last)).float()


def benchmark(data: Dataset, experiences: int, seed: int, joint: bool):
    """Experiences of as many classes each, in an order of the seed; items are tensors."""
    from avalanche.benchmarks import class_incremental_benchmark

    order = torch.randperm(len(data.train.classes), generator=new_generator(seed, "order")).tolist()
    parts = {"train": tensors(data.train), "test": tensors(data.test)}
    stream = class_incremental_benchmark(parts, num_experiences=experiences, class_order=order)
    if not joint:
        return stream
    whole = class_incremental_benchmark(parts, num_experiences=1, class_order=order)
    whole.test_stream = stream.test_stream
    return whole


def tensors(pool: TensorPool):
    from avalanche.benchmarks.utils import as_classification_dataset
    from torch.utils.data import TensorDataset

    dataset = TensorDataset(pool.take(torch.arange(len(pool))), pool.labels)
    dataset.targets = pool.labels.tolist()  # type: ignore[attr-defined]
    return as_classification_dataset(dataset)


def memory_of(method: str, images: int, seed: int, data: Dataset, options: argparse.Namespace):
    """The plugins of a method, and its buffer."""
    from avalanche.training.plugins import GDumbPlugin, ReplayPlugin

    if method in ("naive", "joint"):
        return [], None
    if method == "stock":
        plugin = ReplayPlugin(mem_size=images, batch_size_mem=options.replay)
        return [plugin], plugin.storage_policy
    settings = MEMORIES[method.removeprefix("gdumb ")]
    allowed = images * data.train.images[0].numel()
    folder = KEPT / f"{options.dataset}_{options.experiences}_{seed}_{images}_{method.removeprefix('gdumb ')}"
    if "kind" not in settings:
        settings, folder = (
            {**settings, "seconds": options.seconds},
            folder.with_name(f"{folder.name}_{options.seconds:g}s"),
        )
    buffer = KeptBuffer(folder, mem_bytes=allowed, seed=seed, progress=False, **settings)
    if not method.startswith("gdumb "):
        sizes = dict(mem_bytes=allowed, batch_size_mem=options.replay)
        return [DMReplayPlugin(storage_policy=buffer, augment_replay=False, **sizes)], buffer
    plugin = GDumbPlugin(allowed)
    plugin.storage_policy = buffer
    return [plugin], buffer


class KeptBuffer(CondensedBuffer):
    """A buffer that takes what it would hold after an experience from a folder, or puts it there."""

    def __init__(self, folder: Path, **settings):
        super().__init__(**settings)
        self.folder = folder

    def post_adapt(self, agent, exp, num_workers: int = 0) -> None:
        file = self.folder / f"{self.memory.updates}.pt"
        if file.exists():
            self.memory, self.seconds, self._form = torch.load(file, weights_only=False)
            self._refresh()
            return
        super().post_adapt(agent, exp, num_workers)
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic(file) as temporary:
            torch.save((self.memory, self.seconds, self._form), temporary)


def augmenting(data: Dataset, seed: int):
    """A plugin that augments every training mini-batch, each image on its own."""
    from avalanche.core import SupervisedPlugin

    class Augmenting(SupervisedPlugin):
        def __init__(self):
            super().__init__()
            self.augment = SiameseAugment.parse("auto", data.spec.flip_invariant)
            self.generator = new_generator(seed, "augment")

        def before_forward(self, strategy, **kwargs):
            images = strategy.mbatch[0]
            params = self.augment.sample(len(images), images.shape[2:], self.generator)
            strategy.mbatch[0] = self.augment.apply(images[:, None], params)[:, 0]

    return Augmenting()


def bytes_of(buffer, data: Dataset) -> int:
    """Of pixels and what decoding them needs; the stock buffer keeps whole images of a byte a value."""
    if buffer is None:
        return 0
    if isinstance(buffer, CondensedBuffer):
        return buffer.memory.nbytes
    return len(buffer.buffer) * data.train.images[0].numel()


def row(key: str, result: dict) -> str:
    average, steady = result["AverageAccuracy"], result["AverageIncrementalAccuracy"]
    forgot = f", forgetting {100 * result['Forgetting']:5.1f}" if "Forgetting" in result else ""
    return f"{100 * average:5.1f} at the end, {100 * steady:5.1f} on average{forgot}   {key}: {result['seconds']:.0f} s"


def draw(name: str, results: dict) -> None:
    """Accuracy over experiences for the size that most cells have, and at the end over bytes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cells = list(results.values())
    sizes = [cell["images"] for cell in cells]
    usual = max(set(sizes), key=sizes.count)
    figure, (over_time, over_bytes) = pyplot.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for method in dict.fromkeys(cell["method"] for cell in cells):
        own = [cell for cell in cells if cell["method"] == method]
        style = {"label": method, "color": COLORS.get(method.removeprefix("gdumb ")), "marker": "o", "markersize": 3}
        style["linestyle"] = ":" if method.startswith("gdumb") else "-"
        curves = [seen_so_far(cell) for cell in own if cell["images"] == usual]
        if curves and len({len(curve) for curve in curves}) == 1 and len(curves[0]) > 1:
            over_time.plot(range(1, len(curves[0]) + 1), torch.tensor(curves).mean(0), **style)
        by_size = {
            size: [100 * c["AverageAccuracy"] for c in own if c["images"] == size] for size in sorted(set(sizes))
        }
        points = {size: sum(values) / len(values) for size, values in by_size.items() if values}
        over_bytes.plot(list(points), list(points.values()), **style)
    over_time.set(xlabel="experiences", ylabel="accuracy on the classes so far, %", title=f"{usual} images' bytes")
    over_bytes.set(xlabel="raw images' bytes", ylabel="at the end, %", xscale="log")
    over_bytes.legend(frameon=False, fontsize=7)
    for axes in (over_time, over_bytes):
        axes.spines[["top", "right"]].set_visible(False)
    with atomic(RESULTS / f"{name}.png") as temporary:
        figure.savefig(temporary, dpi=150)
    pyplot.close(figure)


def seen_so_far(cell: dict) -> list[float]:
    return [100 * sum(row[: number + 1]) / (number + 1) for number, row in enumerate(cell["matrix"])]


if __name__ == "__main__":
    main()
