"""What a condensed set is worth: test accuracy of fresh networks trained on it alone."""

import functools
import json
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from ..condensed.image_set import ImageSet
from ..data.pool import TensorPool
from ..networks import activation_values
from ..runtime.engine import halving
from ..runtime.hardware import cpu_by_default
from ..runtime.seeding import derive
from ..runtime.self_check import engine_record
from ..runtime.settings import flat, whole_number
from .recipe import EvalConfig
from .trainer import Trainer, networks_at_once, verified_engine

__all__ = ["EvalReport", "evaluate"]

ROUNDING = 5e-4  # of mean and std, which are published with three or four digits


@dataclass(frozen=True)
class EvalReport:
    """Test accuracies in percent, one for each network, each of its last epoch.

    ``mean`` ± ``std`` is over the networks (population standard deviation, as the papers give it).

    >>> from dm_replay import EvalReport
    >>> print(EvalReport((43.0, 45.0), settings={}, seconds=60.0))
    44.00 ± 1.00 % over 2 networks
    """

    accuracies: tuple[float, ...]
    settings: dict
    seconds: float

    @property
    def mean(self) -> float:
        return float(np.mean(self.accuracies))

    @property
    def std(self) -> float:
        return float(np.std(self.accuracies))

    def __str__(self) -> str:
        if len(self.accuracies) == 1:
            return f"{self.mean:.2f} % over 1 network"
        return f"{self.mean:.2f} ± {self.std:.2f} % over {len(self.accuracies)} networks"

    def to_json(self) -> str:
        return json.dumps({"mean": self.mean, "std": self.std, **asdict(self)}, indent=2)


@cpu_by_default
def evaluate(
    train_set: ImageSet,
    test_pool: TensorPool,
    config: EvalConfig | None = None,
    *,
    network: str = "convnet",
    runs: int = 5,
    seed: int = 0,
    first: int = 0,
    head: int | None = None,
    on_epoch: Callable[[int, int], None] | None = None,
) -> EvalReport:
    """Train ``runs`` freshly initialized networks on the set and test each after its last epoch.

    Args:
        train_set: images in the normalized space of ``test_pool``. Every class of it must be one of the pool's. Where
            both say how they were normalized, it must be the same to three digits.
        first: number of the first run. Run k depends on ``seed`` and ``first + k`` alone, so that processes can share
            runs out and put their accuracies together.
        head: width of the networks' output, where it is more than the test pool's classes, as in a stream whose other
            classes are still to come.
        on_epoch: called with (run, epoch) after every epoch, both from 0. Networks trained together take turns.

    Raises:
        ValueError: for a class without test images, images of another shape than the test images, a head that is too
            narrow, a bad setting, or a training that diverged.

    >>> from dm_replay import Budget, EvalConfig, Random, evaluate, load_dataset
    >>> train, test, spec = load_dataset("digits")
    >>> drawn = Random().reduce(train, Budget(1), seed=0)
    >>> report = evaluate(drawn, test, EvalConfig(epochs=2), network="convnet:width=8", runs=2)
    >>> len(report.accuracies), report.settings["images"]
    (2, 10)
    """
    config = (config or EvalConfig()).resolve(test_pool.flip_invariant)
    whole_number("runs", runs, 1)
    whole_number("first", first, 0)
    classes = len(test_pool.classes) if head is None else head
    if classes < len(test_pool.classes):
        raise ValueError(f"a head of {head} is too narrow for {len(test_pool.classes)} classes")
    started = time.perf_counter()
    images, labels, test_labels = _aligned(train_set, test_pool)
    config = config.for_images(len(images))
    work = runs * ((config.epochs + 1) * len(images) * 3 + len(test_pool))
    engine = config.machine.engine(test_pool.shape[1:], work, activation_values(network, test_pool.shape))
    engine = verified_engine(engine, network, images, labels, classes, config)
    together = networks_at_once(config, engine, runs, len(images), test_pool.shape[1:])
    trainer = Trainer(network, test_pool.shape, classes, config, engine)
    _note_whole_batches(trainer, min(config.batch, len(images)))
    accuracies: list[float] = []
    most = 0

    def accuracies_of(begin: int, count: int) -> list[float]:
        seeds = [derive(seed, "run", first + run) for run in range(begin, begin + count)]
        report = on_epoch and (lambda number, epoch: on_epoch(begin + number, epoch))  # type: ignore[misc]
        del trainer.networks[count:]
        trainer.train_together(images, labels, seeds, report)
        measured = trainer.accuracies(test_pool, test_labels, count)
        _check_finite(measured, first + begin, config.lr)
        return measured

    while (done := len(accuracies)) < runs:
        train_group = functools.partial(accuracies_of, done)
        together, found = halving(_evenly(runs - done, together), train_group, engine.device)
        accuracies, most = accuracies + found, max(most, len(found))
    settings = {
        **flat(config),
        "network": network,
        "runs": runs,
        "seed": seed,
        "first": first,
        "head": classes,
        "images": len(images),
        "steps_made": config.schedule(len(images))[0],
        "stored_bytes": train_set.nbytes,
        "engine": {**engine_record(engine), "parallel_networks": most},
    }
    return EvalReport(tuple(accuracies), settings, time.perf_counter() - started)


def _note_whole_batches(trainer: Trainer, batch: int) -> None:
    if batch > trainer.engine.gradient_chunk and trainer.together > batch:
        warnings.warn(
            f"{trainer.name} has statistics over a whole batch, so it takes {batch} images at once, where "
            f"memory_budget {trainer.config.machine.memory_budget:g} has room for {trainer.engine.gradient_chunk}: "
            "lower batch, or choose another norm",
            stacklevel=3,
        )


def _evenly(runs: int, together: int) -> int:
    """Runs at a time, at most ``together``, so that all turns are about alike: of 25 by 20 they are 13 and 12."""
    return -(-runs // -(-runs // together))


def _check_finite(accuracies: Sequence[float], first: int, lr: float) -> None:
    """Chance would be no accuracy of a training that diverged."""
    lost = next((number for number, accuracy in enumerate(accuracies, first) if math.isnan(accuracy)), None)
    if lost is not None:
        raise ValueError(f"the outputs of network {lost} became infinite or NaN: lower lr, which is {lr:g}")


def _aligned(train_set: ImageSet, test_pool: TensorPool) -> tuple[Tensor, Tensor, Tensor]:
    """Training images and labels, and test labels, the labels numbered 0 … K − 1 over the pool's classes."""
    if train_set.shape != test_pool.shape:
        raise ValueError(f"the set's images are {train_set.shape}, the test images {test_pool.shape}")
    missing = train_set.classes[~torch.isin(train_set.classes, test_pool.classes)]
    if len(missing):
        raise ValueError(f"class {int(missing[0])} of the set has no test images")
    _check_normalization(train_set, test_pool)
    classes = test_pool.classes
    given = (train_set.image_labels, test_pool.labels)
    train_labels, test_labels = (torch.searchsorted(classes, labels) for labels in given)
    return train_set.images, train_labels, test_labels


def _check_normalization(train_set: ImageSet, test_pool: TensorPool) -> None:
    """Images normalized otherwise than the test images would be trained on as something else than they are."""
    for name, default in (("mean", 0.0), ("std", 1.0)):
        pixels = test_pool.images.dtype == torch.uint8
        theirs = getattr(test_pool, name) or ([default] * test_pool.shape[0] if pixels else None)
        ours = train_set.meta.get(name)
        if ours is None or theirs is None:
            continue
        if len(ours) != len(theirs) or max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) > ROUNDING:
            raise ValueError(
                f"the set's images were normalized with {name} {_rounded(ours)}, "
                f"the test images with {_rounded(theirs)}"
            )


def _rounded(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
