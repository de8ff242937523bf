"""Training networks on a small set of images held in memory, testing them, and checking the engine for it."""

import functools
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..augment.siamese import AugmentParams, SiameseAugment
from ..data.pool import TensorPool
from ..networks import build_network, parse, reset
from ..runtime import self_check
from ..runtime.acceleration import compiled, cuda_graphed
from ..runtime.engine import Engine
from ..runtime.seeding import new_generator
from .recipe import STREAMS, EpochSampler, EvalConfig, JointSGD

__all__ = ["Trainer", "networks_at_once", "probe", "verified_engine"]

NONE = -1  # the class of an image whose logits are not finite
TEST_CHUNK = 256  # images; the last, smaller one is padded so that one shape is compiled

WORTH_JOINING = 1000  # epochs of all networks; fewer are over in seconds on a CPU, and a capture costs about a second
MOST_NETWORKS = 20  # the official protocol's
MOST_PASSES = 400  # networks x steps of an epoch; as many forward and backward passes go into one CUDA graph
MOST_PIXELS = 20 * 256 * 64 * 64  # of one step of all networks, in BUDGET: a copy of the images takes 250 MB
BUDGET = 4.0  # GiB

PROBE_IMAGES = 16
PROBE_BATCH = 8  # two steps an epoch, of two epochs
PROBE_SEEDS = (0, 1)  # two networks, side by side where the engine does so


def networks_at_once(config: EvalConfig, engine: Engine, runs: int, images: int, image_size: tuple[int, int]) -> int:
    """How many of ``runs`` networks are trained together on ``images`` images of ``image_size`` (H, W).

    ``config.parallel_networks`` if it is not 0. Else, for jobs of at least 1,000 epochs in all, as many as 20 on a GPU
    and in uncompiled work on a CPU, fewer where steps are large or many; one after another in compiled work on a CPU
    and in small jobs. Measured on one CPU core on 8x8 images, time one after another by time 20 together: 1.3 for
    ConvNet-128 on 10 images, 1.0 on 100; 1.8 for ConvNet-16 on 20.
    Compiled on 100 images of 32x32: 1.0. On an H100 20 together take at most 0.6 ms each for a step on 100 images;
    fewer at a time were not tried there.
    """
    if config.parallel_networks:
        return min(config.parallel_networks, runs)
    compiled_on_cpu = engine.compiled and engine.device.type == "cpu"
    if compiled_on_cpu or runs * (config.epochs + 1) < WORTH_JOINING:
        return 1
    steps = config.steps_of_pass(images)
    pixels = min(images, config.batch) * image_size[0] * image_size[1]
    room = int(MOST_PIXELS * min(1.0, config.machine.memory_budget / BUDGET))
    return max(1, min(runs, MOST_NETWORKS, MOST_PASSES // steps, room // pixels))


class Trainer:
    """Trains networks of one kind, several together or one after another; what is compiled serves them all.

    Args:
        network: its name. shape: (C, H, W) of the images. classes: width of the head.

    Attributes:
        networks: those made so far; the first ones are those trained last.
    """

    def __init__(self, network: str, shape: tuple[int, int, int], classes: int, config: EvalConfig, engine: Engine):
        parse(network)
        self.config, self.engine, self.shape, self.classes, self.name = config, engine, shape, classes, network
        self.augment = SiameseAugment.parse(config.augment)
        self.networks: list[nn.Module] = []
        (first,) = self._enlist(1)
        self.together = sys.maxsize if first.batch_statistics else engine.gradient_chunk
        self._augmented = compiled(self._augment, engine)
        self._loss, self._predict = compiled(self._loss_of, engine), compiled(self._predictions, engine)

    def train_together(
        self,
        images: Tensor,
        labels: Tensor,
        seeds: Sequence[int],
        on_epoch: Callable[[int, int], None] | None = None,
    ) -> list[nn.Module]:
        """R freshly initialized networks after the whole schedule, one for each seed, trained at the same time.

        A seed gives the same network beside any others, but for rounding. The networks serve the next call again.

        Args:
            images: (N, C, H, W), normalized. labels: (N,).
            on_epoch: called with (run, epoch), both from 0, for every run after each epoch. On a GPU the epoch may
                still be under way.
        """
        config, device = self.config, self.engine.device
        images, labels, networks = images.to(device), labels.to(device), self._enlist(len(seeds))
        draws = EpochSampler(self.augment, len(images), self.shape[1:], seeds)
        params, orders = draws.buffers(device)
        streams = STREAMS if self.engine.graphs else 0
        sgd = JointSGD(networks, self._loss, config.momentum, config.weight_decay, streams)

        total, fall = config.schedule(len(images))
        each = config.steps_of_pass(len(images))

        def run_steps(first: int = 0, last: int = each) -> None:
            for rows in orders.split(config.batch, 1)[first:last]:
                parts = rows.tensor_split(-(-rows.shape[1] // self.together), 1)
                batches = ((self._augmented(images, params, part), labels[part]) for part in parts)
                sgd.step(batches, rows.shape[1])

        run_epoch = cuda_graphed(run_steps, device) if self.engine.graphs else run_steps
        for network, generator in zip(networks, draws.generators, strict=True):
            reset(network, generator)
        sgd.restart(config.lr)
        for epoch, begin in enumerate(range(0, total, each)):
            draws.fill(params, orders)
            for first, last in _stretches(begin, min(begin + each, total), fall):
                run_epoch() if last - first == each else run_steps(first - begin, last - begin)
                if last == fall:
                    sgd.restart(config.lr * 0.1)
            if on_epoch is not None:
                for run in range(len(seeds)):
                    on_epoch(run, epoch)
        return networks

    def loss(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """The loss of a network on normalized images (N, C, H, W), labels (N,), as training sees it; 0-d."""
        return self._loss_of(network, images.to(self.engine.device), labels.to(self.engine.device))

    @torch.no_grad()
    def accuracies(self, pool: TensorPool, labels: Tensor, count: int) -> list[float]:
        """Percentage of the pool's images, for each of the first ``count`` networks, predicted as labels (N,).

        NaN for a network some of whose outputs are infinite or NaN, as after a training that diverged. Counted on the
        device in one pass over the images; the host waits once, at the end.
        """
        device, networks = self.engine.device, [network.eval() for network in self.networks[:count]]
        right, lost = (torch.zeros(len(networks), dtype=torch.long, device=device) for _ in range(2))
        together = min(TEST_CHUNK, self.engine.gradient_chunk)
        chunks = torch.arange(len(pool)).split(together), labels.to(device).split(together)
        for rows, expected in zip(*chunks, strict=True):
            padded = F.pad(rows, (0, together - len(rows)))
            images = pool.normalize(pool.raw(padded).to(device))
            for number, network in enumerate(networks):
                predicted = self._predict(network, images)[: len(rows)]
                right[number] += (predicted == expected).sum()
                lost[number] += (predicted == NONE).sum()
        counted = zip(right.tolist(), lost.tolist(), strict=True)
        return [math.nan if without else 100 * hits / len(pool) for hits, without in counted]

    def _enlist(self, count: int) -> list[nn.Module]:
        """The first ``count`` networks, ready for training; those that are missing are made."""
        for _ in range(count - len(self.networks)):
            network = build_network(self.name, self.shape, self.classes)
            self.networks.append(network.to(self.engine.device).to(memory_format=torch.channels_last))
        return [network.train() for network in self.networks[:count]]

    def _augment(self, images: Tensor, params: AugmentParams, rows: Tensor) -> Tensor:
        """images (N, C, H, W), params (R, N, …), rows (R, B) -> each run's images (R, B, C, H, W)."""
        run = torch.arange(len(rows), device=rows.device)[:, None].expand_as(rows)
        chosen = params.take((run.flatten(), rows.flatten()))
        return self.augment.apply(images[rows.flatten()][:, None], chosen).view(*rows.shape, *self.shape)

    def _loss_of(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self._logits(network, images), labels)

    def _predictions(self, network: nn.Module, images: Tensor) -> Tensor:
        logits = self._logits(network, images)
        return logits.argmax(1).where(logits.isfinite().all(1), NONE)

    def _logits(self, network: nn.Module, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.engine.device.type, torch.bfloat16, enabled=self.engine.dtype == torch.bfloat16):
            return network(images).float()


def _stretches(begin: int, end: int, fall: int) -> list[tuple[int, int]]:
    """Steps ``begin`` to ``end``, in two where the learning rate falls between them."""
    return [(begin, fall), (fall, end)] if begin < fall < end else [(begin, end)]


def verified_engine(
    engine: Engine, network: str, images: Tensor, labels: Tensor, classes: int, config: EvalConfig
) -> Engine:
    """The engine that has been found right for such a training, or the plain one."""
    configuration = ("evaluation", network, tuple(images.shape[1:]), classes, replace(config, epochs=1, steps=None))
    how = functools.partial(probe, network=network, images=images, labels=labels, classes=classes, config=config)
    return self_check.verified_engine(engine, how, configuration, images=PROBE_IMAGES)


def probe(
    engine: Engine, network: str, images: Tensor, labels: Tensor, classes: int, config: EvalConfig
) -> dict[str, Tensor]:
    """Losses (2,) of two networks after two epochs on a few images, and all their updates (2, P)."""
    # Of every class, where they lie in turn.
    rows = torch.linspace(0, len(images) - 1, min(PROBE_IMAGES, len(images))).long()
    images, labels = images[rows], labels[rows]
    channels, height, width = images.shape[1:]
    shape = channels, height, width
    trainer = Trainer(network, shape, classes, replace(config, epochs=1, steps=None, batch=PROBE_BATCH), engine)
    trained = trainer.train_together(images, labels, PROBE_SEEDS)
    with torch.no_grad():
        losses = torch.stack([trainer.loss(one, images, labels).cpu() for one in trained])
    return {"loss": losses, "update": _values(trained) - _values(_untrained(network, shape, classes))}


def _untrained(network: str, shape: tuple[int, int, int], classes: int) -> Sequence[nn.Module]:
    """The networks as training finds them."""
    fresh = [build_network(network, shape, classes) for _ in PROBE_SEEDS]
    for one, seed in zip(fresh, PROBE_SEEDS, strict=True):
        reset(one, new_generator(seed, "train"))
    return fresh


def _values(networks: Sequence[nn.Module]) -> Tensor:
    """(R, P): all parameters, on the CPU."""
    return torch.stack([torch.cat([p.detach().cpu().flatten() for p in one.parameters()]) for one in networks])
