"""Class-incremental digits in Avalanche: without a memory, and with memories of the same bytes."""

import logging
import warnings
from math import prod
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from ..augment.siamese import SiameseAugment
from ..condensed.export import grid, save_picture
from ..condensed.image_set import ImageSet
from ..data.registry import Dataset, load_dataset
from ..networks import build_network
from ..runtime.files import atomic
from ..runtime.parallel import processes_for, side_by_side
from ..runtime.seeding import isolated, new_generator
from ..runtime.settings import whole_number

__all__ = ["run_demo"]

EXPERIENCES = 5
CONDENSED = 20  # images; two a class at the end
EPOCHS, BATCH, LR = 8, 32, 0.05
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
Run = tuple[list[float], ImageSet | None]  # accuracies after each experience, and the memory if it is one of ours


def run_demo(out: str = "runs/demo", seeds: int = 3, iterations: int = 300, augment_replay: bool = True) -> None:
    """Train a small ConvNet on five experiences of two digits each, and compare what is left of them.

    Args:
        out: folder for accuracy.png and condensed.png.
        seeds: class orders and initializations, each for all methods.
        iterations: of condensation.
        augment_replay: whether what our memories replay is augmented; stock replay's images never are.
    """
    whole_number("seeds", seeds, 1)
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file; expected a folder to write the pictures to")
    digits = load_dataset("digits")
    jobs = [(method, seed, iterations, augment_replay) for method in METHODS for seed in range(seeds)]
    processes = processes_for(seeds)
    if processes == 1:
        _quieten_avalanche()
    runs: list[Run] = [None] * len(jobs)  # type: ignore[list-item]
    with tqdm(total=len(jobs), desc="demo", unit="run", postfix=jobs[0][0]) as bar:
        for number, run in side_by_side(_run, jobs, processes, _quieten_avalanche):
            runs[number] = run
            bar.update()
            bar.set_postfix_str(next((job[0] for job, one in zip(jobs, runs, strict=True) if one is None), "done"))
    curves = {method: [run[0] for job, run in zip(jobs, runs, strict=True) if job[0] == method] for method in METHODS}
    memories = {job[0]: run[1] for job, run in zip(jobs, runs, strict=True) if run[1] is not None}
    print(_table(curves, digits, memories))
    folder.mkdir(parents=True, exist_ok=True)
    save_picture(grid(memories[CONDENSING]), folder / "condensed.png")
    _draw(curves, folder / "accuracy.png")
    print(f"\n{folder / 'accuracy.png'}  {folder / 'condensed.png'}")


def _run(method: str, seed: int, iterations: int, augment_replay: bool) -> Run:
    digits = load_dataset("digits")
    plugin = _plugin(method, digits, seed, iterations, augment_replay)
    accuracies = _train(digits, plugin, seed)
    if method not in OURS:
        return accuracies, None
    memory = plugin.storage_policy.memory.to_set()[0]
    return accuracies, memory.with_meta(mean=digits.spec.mean, std=digits.spec.std)


def _plugin(method: str, digits: Dataset, seed: int, iterations: int, augment_replay: bool):
    from avalanche.training.plugins import ReplayPlugin

    from ..plugins.replay import DMReplayPlugin

    if method == STOCK:
        return ReplayPlugin(mem_size=_stock_images(digits))
    if method in OURS:
        augment = SiameseAugment.parse("auto", digits.spec.flip_invariant).name
        settings: dict[str, Any] = {"preset": "paper", "augment": augment, "iterations": iterations}
        settings |= {"seed": seed, "progress": False, **OURS[method]}
        return DMReplayPlugin(CONDENSED, augment_replay=augment_replay, **settings)
    return None


def _stock_images(digits: Dataset) -> int:
    """As many uint8 originals as fit into the bytes of the condensed memory, rounded up in their favour."""
    each, ranges = prod(digits.spec.shape), 8 * digits.spec.shape[0]  # bytes; of an image and of the memory
    return -(-(CONDENSED * (each + ranges) + ranges) // each)


def _train(digits: Dataset, plugin, seed: int) -> list[float]:
    """Accuracy in percent on the test images of the classes seen so far, after each experience."""
    from avalanche.training.supervised import Naive

    order = torch.randperm(10, generator=new_generator(seed, "order")).view(EXPERIENCES, -1)
    network = build_network("convnet:width=32,depth=2", digits.spec.shape, 10, seed=seed)
    strategy = Naive(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), LR, momentum=0.9),
        train_mb_size=BATCH,
        train_epochs=EPOCHS,
        eval_mb_size=256,
        plugins=[plugin] if plugin else [],
        evaluator=None,
    )
    accuracies = []
    with isolated(seed, "stream"):
        for number, experience in enumerate(_stream(digits, order)):
            with warnings.catch_warnings(record=True):  # the stock plugin calls what its host deprecates
                strategy.train(experience)
            accuracies.append(_accuracy(network, digits, order[: number + 1].flatten()))
    return accuracies


def _stream(digits: Dataset, order: torch.Tensor):
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import as_classification_dataset
    from torch.utils.data import TensorDataset

    parts = []
    for classes in order.tolist():
        pool = digits.train.subset(classes)
        data = TensorDataset(pool.take(torch.arange(len(pool))), pool.labels)
        data.targets = pool.labels.tolist()  # type: ignore[attr-defined]
        parts.append(as_classification_dataset(data))
    return benchmark_from_datasets(train=parts).train_stream


@torch.no_grad()
def _accuracy(network: nn.Module, digits: Dataset, classes: torch.Tensor) -> float:
    pool = digits.test.subset(classes)
    network.eval()
    predicted = network(pool.take(torch.arange(len(pool)))).argmax(1)
    return 100 * (predicted == pool.labels).float().mean().item()


def _table(curves: dict[str, list[list[float]]], digits: Dataset, memories: dict[str, ImageSet]) -> str:
    stored = {
        "naive": "no memory",
        STOCK: f"{_stock_images(digits)} images, {_stock_images(digits) * prod(digits.spec.shape):,} bytes",
    }
    stored |= {name: f"{memory.decoded} images, {memory.nbytes:,} bytes" for name, memory in memories.items()}
    lines = [f"{'':19}{'memory':26}final accuracy", ""]
    for method, runs in curves.items():
        final = [run[-1] for run in runs]
        spread = f" ± {pstdev(final):.1f}" if len(final) > 1 else ""
        lines.append(f"{method:19}{stored[method]:26}{mean(final):5.1f}{spread} %")
    return "\n".join(lines)


def _draw(curves: dict[str, list[list[float]]], out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    seen = [2 * number for number in range(1, EXPERIENCES + 1)]
    for method, runs in curves.items():
        for run in runs:
            axes.plot(seen, run, color=COLORS[method], alpha=0.25, linewidth=1)
        axes.plot(seen, [mean(v) for v in zip(*runs, strict=True)], color=COLORS[method], marker="o", label=method)
    axes.set(xlabel="digits seen", ylabel="accuracy on them, %", xticks=seen, ylim=(0, 102))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left")
    with atomic(out) as temporary:
        figure.savefig(temporary, dpi=150)
    pyplot.close(figure)


def _quieten_avalanche() -> None:
    """Avalanche warns of missing loggers, solvers and of its own deprecations; none of it is the user's doing here."""
    logging.getLogger("avalanche").setLevel(logging.ERROR)
    for module in ("avalanche", "qpsolvers"):
        warnings.filterwarnings("ignore", module=module)
