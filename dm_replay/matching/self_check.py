"""What an accelerator is asked before it condenses: two steps on a few of the pool's own images."""

import functools

import torch
from torch import Tensor

from ..augment.siamese import SiameseAugment
from ..data.class_index import ClassShard
from ..data.pool import TensorPool
from ..runtime import self_check
from ..runtime.engine import Engine
from ..runtime.seeding import new_generator
from .config import CondenseConfig
from .extractors import Extractor
from .losses import prefix_weights
from .matcher import Matcher
from .real_batches import RealBatches
from .synthetic import SyntheticPixels

__all__ = ["probe", "verified_engine"]

# Enough for every part of a step to matter, and so few that the CPU takes a tenth of a second for it.
CLASSES, REAL, SYNTHETIC = 3, 8, 3
NOISE = 0.5  # standard deviations; without it a class of one image would leave nothing to match but rounding
STEPS = 2  # a graph that always draws the same numbers is right in the first step


def verified_engine(engine: Engine, pool: TensorPool, config: CondenseConfig) -> Engine:
    """The engine that has been found right for such images and networks, or the plain one."""
    method = (
        config.network,
        config.augment,
        config.prefix_weight > 0,
        config.codec,
        config.synthetic_precision,
        config.distance,
    )
    configuration = ("matching", pool.shape, pool.images.dtype, *method)
    how = functools.partial(probe, pool=pool, config=config)
    return self_check.verified_engine(engine, how, configuration, images=CLASSES * max(REAL, SYNTHETIC))


def probe(engine: Engine, pool: TensorPool, config: CondenseConfig) -> dict[str, Tensor]:
    """Loss (2,) and pixel gradient (2, G, ipc, C, H, W) of two steps, always the same for the same generators."""
    few = _few(pool)
    shard, ipc = ClassShard(few.classes), min(config.ipc, SYNTHETIC)
    codec = config.codec
    start = few.draw(few.classes, ipc * codec.images_per_stored, new_generator(0, "check")).flatten(0, 1)
    start = codec.encode(start).unflatten(0, (len(few.classes), ipc))
    start = start + NOISE * torch.randn(start.shape, generator=new_generator(0, "check noise"))
    augment = SiameseAugment.parse(config.augment)
    mixed = config.synthetic_precision == "auto"
    extractor = Extractor(config.network, pool.shape, augment, engine, mixed=mixed, distance=config.distance)
    placed, whole = few.resident(few.classes, engine.device), extractor.batch_statistics
    real = RealBatches(placed, shard, REAL, None, engine, whole=whole)
    weights = prefix_weights(ipc, config.prefix_weight, config.prefix_power)
    start = start.to(engine.device, extractor.master)
    nested = None if weights is None else weights.to(start)
    synthetic = SyntheticPixels(start, codec=codec, size=pool.shape[1:], momentum=0.0, batch=0, prefix_weight=nested)
    matcher = Matcher(real, extractor, synthetic, augment=augment, engine=engine, seed=0)
    losses, gradients = [], []
    for step in range(STEPS):
        losses.append(matcher.step(step, config.lr_img).cpu())
        gradients.append(matcher.synthetic.velocity.cpu().clone())  # without momentum that is the gradient
    return {"loss": torch.stack(losses), "pixel gradient": torch.stack(gradients)}


def _few(pool: TensorPool) -> TensorPool:
    shard = ClassShard(pool.classes[:CLASSES])
    rows = pool.rows_of(shard).draw(REAL, new_generator(0, "check rows")).flatten()
    return pool.select(rows).to("cpu")
