"""Networks that extractors are mixed of: trained briefly on the real images, or one that the user has trained."""

import copy
import math
import sys
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..augment.siamese import AugmentParams, SiameseAugment
from ..condensed.image_set import ImageSet
from ..condensed.tiles import enlarge
from ..data.classes import ClassShard
from ..data.pool import TensorPool
from ..networks import reset
from ..runtime.acceleration import compiled
from ..runtime.distributed import ALONE, Peers
from ..runtime.engine import Engine
from ..runtime.seeding import new_generator
from ..runtime.stages import at, span
from .extractors import Extractor, TrainedNetworks, read_flat
from .losses import equal_parts
from .real_batches import Previous

__all__ = ["BATCH", "Enlarged", "PretrainedExtractor", "as_trained", "train_networks"]


class PretrainedExtractor(nn.Module):
    """A copy of a network for evaluation: its features are what the linear layer that it calls last is given.

    Args:
        network: normalized images (N, C, H, W) -> logits (N, L), one for each class number.
        shape: (C, H, W) of an image. classes: (G,) whose logits count.

    Raises:
        ValueError: for a network without such a layer, or one that has no output for some class.

    >>> import torch
    >>> from torch import nn
    >>> from dm_replay.matching.trained_networks import PretrainedExtractor
    >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 3))
    >>> borrowed = PretrainedExtractor(network, (3, 2, 2), torch.tensor([0, 2]))
    >>> features = borrowed.embed(torch.rand(4, 3, 2, 2))
    >>> features.shape, borrowed.classifier(features).shape
    (torch.Size([4, 5]), torch.Size([4, 2]))
    """

    batch_statistics = False

    def __init__(self, network: nn.Module, shape: tuple[int, int, int], classes: Tensor):
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self._given: Tensor | None = None
        last, features = _last_linear(self.network, shape)
        if features.ndim != 2:
            raise ValueError(f"the network's last linear layer is given {tuple(features.shape)}, not (N, D)")
        if int(classes.max()) >= last.out_features:
            raise ValueError(
                f"the network's last linear layer has {last.out_features} outputs, none for class {int(classes.max())}"
            )
        self.classifier = nn.Linear(last.in_features, len(classes), bias=last.bias is not None)
        for own, whole in zip(self.classifier.parameters(), last.parameters(), strict=True):
            own.data = whole.detach()[classes.to(whole.device)].clone()
        last.register_forward_pre_hook(self._keep)

    def train(self, mode: bool = True) -> "PretrainedExtractor":
        """It stays as it is for evaluation."""
        return super().train(False)

    def embed(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, D)."""
        self.network(images)
        features, self._given = self._given, None
        assert features is not None
        return features

    def _keep(self, module: nn.Module, given: tuple[Tensor, ...]) -> None:
        self._given = given[0]


class Enlarged(nn.Module):
    """A network of larger images (H, W), for images that were shrunk."""

    def __init__(self, network: nn.Module, size: tuple[int, int], enlarging: str):
        super().__init__()
        self.network, self.size, self.enlarging = network, size, enlarging

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, h, w) -> what the network gives for (N, C, H, W)."""
        return self.network(enlarge(images, self.size, self.enlarging))


def as_trained(network: nn.Module) -> TrainedNetworks:
    """A network as it is, with nothing to mix it with."""
    flat = read_flat(network)[None]
    return TrainedNetworks(flat, flat)


@torch.no_grad()
def _last_linear(network: nn.Module, shape: tuple[int, int, int]) -> tuple[nn.Linear, Tensor]:
    """The linear layer that is called last, and what it is given for two images."""
    calls: list[tuple[nn.Linear, Tensor]] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, given: calls.append((module, given[0])))
        for module in network.modules()
        if isinstance(module, nn.Linear)
    ]
    parameter = next(network.parameters(), torch.empty(0))
    network(torch.zeros(2, *shape, device=parameter.device, dtype=parameter.dtype))
    for hook in hooks:
        hook.remove()
    if not calls:
        raise ValueError(f"a {type(network).__name__} calls no linear layer whose input could be its features")
    return calls[-1]


BATCH = 256  # images, spread evenly over the classes
LR, MOMENTUM, WEIGHT_DECAY = 0.01, 0.9, 5e-4


def train_networks(
    pool: TensorPool,
    classes: Tensor,
    extractor: Extractor,
    count: int,
    steps: int,
    seed: int,
    seconds: float = math.inf,
    previous: ImageSet | None = None,
    peers: Peers = ALONE,
) -> TrainedNetworks:
    """``count`` networks of the extractor's kind, each after ``steps`` steps of SGD on the real images of the classes.

    Batches hold as many images of each class; each image is augmented on its own. Of a class that comes again they are
    ``previous`` ones, by the real images that both stand for. ``seconds`` bounds the time of all: each network makes
    fewer steps where its share of them is over, at least one. Each of several ``peers`` trains some of them, and has
    all in the end. For all.
    """
    trainer = _Trainer(pool, classes, extractor.network, extractor.augment, extractor.engine, previous)
    began = time.perf_counter()
    mine = range(count)[peers.world.shard(count)]
    pairs = []
    for turn, number in enumerate(mine, 1):
        with span((turn - 1) / len(mine), turn / len(mine)):
            until = began + seconds * turn / len(mine)
            pairs.append(trainer.run(steps, new_generator(seed, "extractor", number), until))
    if peers.world.size > 1:
        pairs = [pair for part in peers.exchanged([(a.cpu(), b.cpu()) for a, b in pairs]) for pair in part]
    return TrainedNetworks(*(torch.stack(side).to(extractor.engine.device) for side in zip(*pairs, strict=True)))


class _Trainer:
    def __init__(
        self,
        pool: TensorPool,
        classes: Tensor,
        network: nn.Module,
        augment: SiameseAugment,
        engine: Engine,
        previous: ImageSet | None,
    ):
        self.pool, self.augment, self.engine = pool, augment, engine
        self.network = copy.deepcopy(network).requires_grad_(True)
        self.parameters = list(self.network.parameters())
        self.rows = pool.rows_of(ClassShard(classes))
        self.previous = None if previous is None else Previous.of(previous, classes, pool)
        self.each = max(1, BATCH // len(classes))
        self.labels = torch.arange(len(classes), device=engine.device).repeat_interleave(self.each)
        most = sys.maxsize if self.network.batch_statistics else engine.gradient_chunk
        self.parts = equal_parts(len(self.labels), 1, most)
        self.loss = compiled(self._loss, engine)

    def run(self, steps: int, generator: torch.Generator, until: float) -> tuple[Tensor, Tensor]:
        """The parameters before and after. ``until`` is a time of ``time.perf_counter``."""
        reset(self.network, generator)
        initial = read_flat(self.network)
        optimizer = torch.optim.SGD(self.parameters, LR, MOMENTUM, weight_decay=WEIGHT_DECAY)
        for number in range(steps):
            at("training networks", number / steps)
            rows = self.rows.draw(self.each, generator).flatten()
            params = self.augment.sample(len(rows), self.pool.shape[1:], generator).to(self.engine.device)
            gradients = self._gradients(rows, self._previous_places(generator), params)
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
            if time.perf_counter() >= until:
                break
        return initial, read_flat(self.network)

    def _gradients(self, rows: Tensor, places: Tensor | None, params: AugmentParams) -> list[Tensor]:
        """Of the mean loss of a batch, part by part as the memory budget wants it."""
        total: list[Tensor] = []
        for part in self.parts:
            images = self._images(rows[part], None if places is None else places[part])
            loss = self.loss(self.network, images, params.take(part), self.labels[part])
            gradients = torch.autograd.grad(loss * (len(images) / len(rows)), self.parameters)
            total = [one + other for one, other in zip(total, gradients, strict=True)] if total else list(gradients)
        return total

    def _images(self, rows: Tensor, places: Tensor | None) -> Tensor:
        """Real images of the pool (n,), those replaced that have a place among the previous ones."""
        images = self.pool.normalize(self.pool.gather(rows).to(self.engine.device))
        if places is not None and self.previous is not None:
            here = (places >= 0).nonzero()[:, 0]
            replaced = self.previous.images.flatten(0, 1)[places[here]].to(images)
            images = images.index_copy(0, here.to(images.device), replaced)
        return images.to(self.parameters[0])

    def _previous_places(self, generator: torch.Generator) -> Tensor | None:
        """Of each image of a batch, class by class, which of all previous ones it is replaced by, or −1."""
        if self.previous is None:
            return None
        _, held, old = self.previous
        drawn = torch.rand(2, len(old), self.each, generator=generator, device=generator.device).cpu()
        chosen = drawn[0] < (old / (old + self.rows.counts.cpu()))[:, None]
        places = (drawn[1] * held.sum(1, keepdim=True)).long() + torch.arange(len(old))[:, None] * held.shape[1]
        return torch.where(chosen, places, -1).flatten()

    def _loss(self, network: nn.Module, images: Tensor, params: AugmentParams, labels: Tensor) -> Tensor:
        augmented = self.augment.apply(images[:, None], params)[:, 0].contiguous(memory_format=torch.channels_last)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.engine.dtype == torch.bfloat16):
            logits = network(augmented)
        return F.cross_entropy(logits.to(self.parameters[0]), labels)
