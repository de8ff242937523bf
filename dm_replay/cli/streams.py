"""Streams of the command line: the demo on digits, and a comparison of memories on any dataset, class by class."""

import logging
import warnings
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..augment.siamese import SiameseAugment
from ..condensed.export import grid, save_picture
from ..condensed.image_set import ImageSet
from ..condensed.stored import RANGE
from ..data.pool import TensorPool
from ..data.registry import Dataset, load_dataset
from ..networks import build_network
from ..runtime.parallel import processes_for, side_by_side
from ..runtime.seeding import new_generator
from ..runtime.settings import whole_number

__all__ = ["run_comparison", "run_demo"]

EXPERIENCES = 5
CONDENSED = 20  # images; two a class at the end
STOCK, CONDENSING = "stock replay", "condensed replay"
MOSAICS = {"tiles": 2, "enlarging": "sharp"}
OURS: dict[str, dict[str, Any]] = {  # what each keeps in the same bytes
    "herded replay": {"kind": "herding"},
    "shrunk replay": {"kind": "herding", **MOSAICS},
    CONDENSING: {},
    "condensed mosaics": MOSAICS,
}
METHODS = ("naive", STOCK, *OURS)
COLORS = dict(zip(METHODS, ("#9a9a9a", "#d98c3f", "#c06a5a", "#3fa38c", "#2f6db3", "#7a3fb3"), strict=True))


def run_demo(out: str = "runs/demo", seeds: int = 3, iterations: int = 300, augment_replay: bool = True) -> None:
    """Train a small ConvNet on five experiences of two digits each, and compare what is left of them.

    Args:
        out: folder for accuracy.png and condensed.png.
        seeds: class orders and initializations, each for all methods.
        iterations: of condensation.
        augment_replay: whether what our memories replay is augmented; stock replay's images never are.
    """
    from ..plugins.outcomes import draw, table

    whole_number("seeds", seeds, 1)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; expected a folder to write the pictures to")
    jobs = [(method, seed, iterations, augment_replay) for method in METHODS for seed in range(seeds)]
    processes = processes_for(seeds)
    if processes == 1:
        _quieten_avalanche()
    runs: list[Any] = [None] * len(jobs)
    with tqdm(total=len(jobs), desc="demo", unit="run", postfix=jobs[0][0]) as bar:
        for number, run in side_by_side(_demonstrated, jobs, processes, _quieten_avalanche):
            runs[number] = run
            bar.update()
            bar.set_postfix_str(next((job[0] for job, one in zip(jobs, runs, strict=True) if one is None), "done"))
    outcomes = [outcome for outcome, _ in runs]
    print(table(outcomes))
    folder.mkdir(parents=True, exist_ok=True)
    save_picture(grid(next(kept for one, kept in runs if one.memory == CONDENSING)), folder / "condensed.png")
    draw(outcomes, folder / "accuracy.png", COLORS)
    print(f"\n{folder / 'accuracy.png'}  {folder / 'condensed.png'}")


def _demonstrated(method: str, seed: int, iterations: int, augment_replay: bool) -> tuple[Any, ImageSet | None]:
    """What one method has learned, and its memory if it is one of ours."""
    from ..plugins.trials import Trials

    digits = load_dataset("digits")
    plugin = _plugin(method, digits, seed, iterations, augment_replay)
    strategy = _strategy(digits, "convnet:width=32,depth=2", epochs=8, batch=32, lr=0.05)
    outcome = Trials(_stream(digits, EXPERIENCES, seed), strategy).outcome(plugin, method, seed)
    if method not in OURS:
        return outcome, None
    memory = plugin.storage_policy.memory.to_set()[0]
    return outcome, memory.with_meta(mean=digits.spec.mean, std=digits.spec.std)


def _plugin(method: str, digits: Dataset, seed: int, iterations: int, augment_replay: bool) -> Any:
    from avalanche.training.plugins import ReplayPlugin

    from ..plugins.replay import DMReplayPlugin

    if method == STOCK:
        return ReplayPlugin(mem_size=_stock_images(digits))
    if method in OURS:
        settings: dict[str, Any] = {"preset": "paper", "augment": _augment(digits), "iterations": iterations}
        settings |= {"seed": seed, "progress": False, **OURS[method]}
        return DMReplayPlugin(CONDENSED, augment_replay=augment_replay, **settings)
    return None


def _augment(data: Dataset) -> str:
    """All families, but mirroring only where the dataset bears it."""
    return SiameseAugment.parse("auto", data.spec.flip_invariant).name


def _stock_images(digits: Dataset) -> int:
    """As many uint8 originals as fit into the bytes of the condensed memory, rounded up in their favour."""
    each, ranges = prod(digits.spec.shape), RANGE * digits.spec.shape[0]  # bytes; of an image and of the memory
    return -(-(CONDENSED * (each + ranges) + ranges) // each)


def run_comparison(
    out: str,
    dataset: Dataset,
    mem_bytes: int | None = None,
    experiences: int = 5,
    network: str = "convnet:width=64",
    epochs: int = 1,
    batch: int = 64,
    batch_mem: int | None = None,
    lr: float = 0.03,
    seeds: int = 1,
    quiet: bool = False,
) -> None:
    """Train a network on a dataset class by class, with memories of the same bytes, and say what is left.

    Args:
        out: folder for outcomes, table and picture; what it has already is not made again.
        mem_bytes: bytes of each memory; those of two raw images of each class by default.
        experiences: the classes come in so many, as equal as can be. All images are held in memory, as floats.
        network: what is trained.
        epochs: of each experience.
        batch: current images in a mini-batch.
        batch_mem: replayed images in it; three times as many as current ones by default.
        lr: learning rate of SGD with momentum 0.9.
        seeds: runs of each memory.
        quiet: whether to print the table only.
    """
    _quieten_avalanche()
    from ..plugins.comparison import compare, usual_memories
    from ..plugins.outcomes import table

    whole_number("experiences", experiences, 1)
    whole_number("epochs", epochs, 1)
    whole_number("batch", batch, 1)
    classes, shape = len(dataset.train.classes), dataset.spec.shape
    allowed = 2 * classes * prod(shape) if mem_bytes is None else mem_bytes
    replay = 3 * batch if batch_mem is None else batch_mem
    memories = usual_memories(shape, classes, allowed, replay, augment=_augment(dataset))
    say: Callable[[str], None] = (lambda text: None) if quiet else print
    strategy, stream = _strategy(dataset, network, epochs, batch, lr), _stream(dataset, experiences, seed=0)
    outcomes = compare(stream, strategy, allowed, memories=memories, seeds=seeds, out=out, say=say)
    if quiet:
        print(table(outcomes))


def _strategy(data: Dataset, network: str, epochs: int, batch: int, lr: float) -> Callable[[list[Any]], Any]:
    """What makes a strategy of given plugins, with a new network."""
    from avalanche.training.supervised import Naive

    def made(plugins: list[Any]) -> Naive:
        model = build_network(network, data.spec.shape, int(data.train.classes.max()) + 1, seed=torch.initial_seed())
        optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9)
        sizes: dict[str, int] = dict(train_mb_size=batch, train_epochs=epochs, eval_mb_size=256)
        return Naive(model=model, optimizer=optimizer, plugins=plugins, evaluator=None, **sizes)

    return made


def _stream(data: Dataset, experiences: int, seed: int) -> Any:
    """An Avalanche benchmark of a dataset's classes, shared out evenly, in an order of the seed."""
    from avalanche.benchmarks import benchmark_from_datasets

    classes = data.train.classes
    if len(classes) < experiences:
        raise ValueError(f"experiences must be at most {len(classes)}, one for each class, got {experiences}")
    order = classes[torch.randperm(len(classes), generator=new_generator(seed, "order"))]
    pools = {"train": data.train, "test": data.test}
    parts = {name: [_dataset(pool, part) for part in order.tensor_split(experiences)] for name, pool in pools.items()}
    return benchmark_from_datasets(**parts)


def _dataset(pool: TensorPool, classes: torch.Tensor) -> Any:
    from avalanche.benchmarks.utils import as_classification_dataset
    from torch.utils.data import TensorDataset

    own = pool.subset(sorted({*classes.tolist()} & {*pool.classes.tolist()}))  # a test part may lack some
    data = TensorDataset(own.take(torch.arange(len(own))), own.labels)
    data.targets = own.labels.tolist()  # type: ignore[attr-defined]
    return as_classification_dataset(data)


def _quieten_avalanche() -> None:
    """Avalanche warns of missing loggers, solvers and of its own deprecations; none of it is the user's doing here."""
    logging.getLogger("avalanche").setLevel(logging.ERROR)
    for module in ("avalanche", "qpsolvers"):
        warnings.filterwarnings("ignore", module=module)
