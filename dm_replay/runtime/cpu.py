"""What the processor at hand can do, as far as it decides how a job runs."""

import ctypes
import functools
import os
import platform
import shutil
from pathlib import Path

import torch

__all__ = ["compiler", "has_bfloat16", "instruction_sets", "keep_memory", "model"]

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


def model() -> str:
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
