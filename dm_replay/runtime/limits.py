"""What a device can do at most: the speed of a matrix product and of a copy, and what a network asks of them."""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ["Limits", "Work", "measure_limits", "synchronize", "timed", "work_of"]

SIZES = {"cpu": (2048, 2**28), "gpu": (8192, 2**30)}  # side of the matrices, bytes that are copied


@dataclass(frozen=True)
class Work:
    """What a job costs: floating-point operations, and bytes of activations written and read once."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Limits:
    """Operations per second of a matrix product in ``dtype``, and bytes per second of a copy (read and written)."""

    flops: float
    bytes: float
    dtype: torch.dtype

    def seconds(self, work: Work) -> float:
        """The least time for a piece of work: whichever of the two takes longer."""
        return max(work.flops / self.flops, work.bytes / self.bytes)

    def __str__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return f"matrix product {self.flops / 1e9:,.0f} GFLOP/s in {dtype}, copy {self.bytes / 1e9:,.1f} GB/s"


def measure_limits(device: torch.device, dtype: torch.dtype, repeats: int = 12) -> Limits:
    """The best of several measurements; on two slow cores 12 take 3 s and need 0.5 GiB, on a GPU 2 GiB."""
    side, size = SIZES["cpu" if device.type == "cpu" else "gpu"]
    a = torch.randn(side, side, device=device).to(dtype)
    source, target = torch.zeros(2, size, dtype=torch.uint8, device=device)
    product = min(timed(lambda: a @ a, device) for _ in range(repeats))
    copy = min(timed(lambda: target.copy_(source), device) for _ in range(repeats))
    return Limits(2 * side**3 / product, 2 * size / copy, dtype)


def work_of(network: nn.Module, image_shape: tuple[int, int, int], images: int, itemsize: int) -> Work:
    """What embedding images of (C, H, W) costs, forward; ``itemsize``: bytes of an activation.

    Only what convolutions give is counted as activations: all else can be done while it is in the cache.
    """
    network, written = copy.deepcopy(network), []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, out: written.append(out.numel()))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.embed(torch.zeros(1, *image_shape))  # type: ignore[operator]
    return Work(counter.get_total_flops() * images, sum(written) * 2 * itemsize * images)


def timed(function: Callable[[], object], device: torch.device) -> float:
    """Seconds that a call takes on a device."""
    synchronize(device)
    start = time.perf_counter()
    function()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
