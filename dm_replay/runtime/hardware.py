"""The machine that a job runs on: its processor, its limits, the default device, and what a result says of it."""

import copy
import ctypes
import functools
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .. import __version__

__all__ = [
    "Limits",
    "Work",
    "commit",
    "compiler",
    "cpu_by_default",
    "cpu_model",
    "device_name",
    "has_bfloat16",
    "instruction_sets",
    "keep_memory",
    "measure_limits",
    "provenance",
    "synchronize",
    "timed",
    "work_of",
]

# In the words of /proc/cpuinfo, and the older of two first; those with "bf16" multiply bfloat16 matrices.
SETS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


@functools.cache
def has_bfloat16() -> bool:
    """Whether bfloat16 matrix products are fast: AVX-512 with its bfloat16 extension or AMX, and PyTorch may use them.

    ``ATEN_CPU_CAPABILITY=avx2`` in the environment forbids it to.
    """
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        return False
    known = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(supported() for supported in known if supported)


def instruction_sets() -> list[str]:
    """Those of :data:`SETS` that the processor has; empty where the system does not say."""
    flags = _cpuinfo("flags") or _cpuinfo("Features") or ""
    return [name for name in SETS if name in flags.split()]


def cpu_model() -> str:
    """As its maker calls it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def compiler() -> str | None:
    """The C++ compiler that ``torch.compile`` finds; None where there is none."""
    candidates = (os.environ.get("CXX"), "g++", "clang++", "c++")
    return next((name for name in candidates if name and shutil.which(name)), None)


def keep_memory() -> bool:
    """Let this process keep the memory that it frees, and use it again, instead of giving it back; Linux with glibc.

    Each large tensor otherwise comes as fresh pages, which the system clears and maps one by one: about a quarter of a
    compiled training step (0.155 and 0.124 s for 256 images of 32×32). The price is a process as large as it ever was.

    Returns:
        Whether the C library has been told so.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return all(mallopt(option, value) for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1)))


def _cpuinfo(entry: str) -> str | None:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == entry), None)


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


HOME = Path(__file__).resolve().parents[2]


def provenance(device: torch.device | str) -> dict:
    """Plain data for a result file: versions, this package's commit if any, the device's model."""
    packages = {name: metadata.version(name) for name in ("torch", "torchvision", "numpy")}
    versions = {"dm_replay": __version__, "python": platform.python_version(), **packages}
    return {"versions": versions, "commit": commit(), "device": device_name(device)}


def commit() -> str | None:
    """The commit of the checkout that this package runs from, "-dirty" if edited; None outside one."""
    if not (HOME / ".git").exists():
        return None
    command = ["git", "-C", str(HOME), "describe", "--always", "--abbrev=40", "--match=", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def device_name(device: torch.device | str) -> str:
    """The model of a GPU; of a CPU also how many threads PyTorch uses."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_model()}, {torch.get_num_threads()} threads"


T = TypeVar("T", bound=Callable)


def cpu_by_default(made: T) -> T:
    """A function, or a class with its methods, as it is without ``torch.set_default_device``.

    >>> import torch

    >>> from dm_replay.runtime.hardware import cpu_by_default
    >>> with torch.device("meta"):
    ...     cpu_by_default(torch.zeros)(1).device, torch.zeros(1).device
    (device(type='cpu'), device(type='meta'))
    """
    if not isinstance(made, type):
        return _on_cpu(made)
    for name, value in vars(made).items():
        wrapped = _wrapped(value)
        if wrapped is not None:
            setattr(made, name, wrapped)
    return made


def _wrapped(value: Any) -> Any:
    """A method, or what stands for one, on the CPU; None for anything else."""
    if isinstance(value, classmethod | staticmethod):
        return type(value)(_on_cpu(value.__func__))
    if isinstance(value, property):
        return property(value.fget and _on_cpu(value.fget), value.fset and _on_cpu(value.fset), None, value.__doc__)
    return _on_cpu(value) if callable(value) and not isinstance(value, type) else None


def _on_cpu(function: Any) -> Any:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if torch.get_default_device().type == "cpu":  # a device as a context costs a call for each of torch's functions
            return function(*args, **kwargs)
        with torch.device("cpu"):
            return function(*args, **kwargs)

    return run
