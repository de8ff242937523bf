"""How a job runs best on a device: precision of the gradient-free work, compilation, images at a time."""

import shutil
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

__all__ = ["COMPILE", "PRECISIONS", "Engine", "check_choices", "choose", "compiled", "resolve_device"]

PRECISIONS = ("auto", "float32", "bfloat16")
COMPILE = ("auto", "yes", "no")

# Compiling costs 15 to 40 s the first time (5 s from the disk cache) and then saves about 0.8 ms for each 32x32 image
# on two AVX-512 cores, so it is earned back after 50,000 such images.
WORTH_COMPILING = 50_000 * 32 * 32  # pixels
# Images at a time, by cache: 64 of 32x32 measured best on the CPU (0.34 s for 2,560 images; 128: 0.60, 256: 0.64).
CPU_CHUNK = 64 * 32 * 32  # pixels
GPU_CHUNK = 4096 * 32 * 32  # pixels; first-layer activations of 1 GB in bfloat16
# Activations of the papers' width, in the widest block: what goes in, what the convolution and what the norm gives.
ACTIVATIONS = 3 * 128  # values per pixel
GIB = 2**30  # bytes


@dataclass(frozen=True)
class Engine:
    """The choice for one job.

    Attributes:
        device: where it runs.
        dtype: of the work that carries no gradient (float32 is the reference).
        compiled: whether the hot functions go through ``torch.compile``.
        chunk: images at a time in the gradient-free work.
        gradient_chunk: images at a time in the work that carries a gradient.
        draws: where random numbers are drawn; the device itself by default. On the CPU they are the same for every
            device, so that a GPU run can be held against a CPU run.
    """

    device: torch.device
    dtype: torch.dtype
    compiled: bool
    chunk: int
    gradient_chunk: int = sys.maxsize
    draws: torch.device | None = None


def check_choices(config: object, **choices: Sequence[str]) -> None:
    """ValueError if a field of a configuration is none of its choices."""
    for name, known in choices.items():
        if getattr(config, name) not in known:
            raise ValueError(f"unknown {name} {getattr(config, name)!r}; choose from {', '.join(known)}")


def choose(
    device: str,
    precision: str,
    compile: str,
    image_size: tuple[int, int],
    images: int,
    memory_budget: float | None = None,
) -> Engine:
    """The engine for a job that embeds ``images`` images of ``image_size`` (H, W) in all.

    bfloat16 is chosen where it is fast: on GPUs that have it, and on CPUs with bfloat16 instructions if the job is
    compiled (uncompiled it gains nothing there). ``memory_budget`` is what the activations of either kind of work may
    take, in GiB; never less than those of one image.
    """
    where = resolve_device(device)
    pixels = image_size[0] * image_size[1]
    compiles = compile == "yes" or (compile == "auto" and images * pixels >= WORTH_COMPILING and _has_compiler(where))
    fast = _fast_bfloat16(where) and (compiles or where.type == "cuda")
    dtype = torch.bfloat16 if precision == "bfloat16" or (precision == "auto" and fast) else torch.float32
    chunk = (GPU_CHUNK if where.type == "cuda" else CPU_CHUNK) // pixels
    if memory_budget is None:
        return Engine(where, dtype, compiles, max(1, chunk))
    values = memory_budget * GIB / (ACTIVATIONS * pixels)
    # The gradient keeps the activations, in float32, and needs as much again on its way back.
    with_gradient = int(values / (2 * torch.float32.itemsize))
    return Engine(where, dtype, compiles, max(1, min(chunk, int(values / dtype.itemsize))), max(1, with_gradient))


def resolve_device(device: str) -> torch.device:
    """``"auto"`` is the current GPU where there is one; anything else as PyTorch names it. With its number."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        where = torch.empty(0, device=torch.device(device)).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error
    if where.type == "meta":
        raise ValueError("device 'meta' cannot be used: its tensors hold no values; choose cpu, cuda, ... or auto")
    return where


def compiled(function: Callable, engine: Engine) -> Callable:
    """``function`` through ``torch.compile`` if the engine says so; the plain function where compiling fails."""
    if not engine.compiled:
        return function
    _allow_many_shapes()
    fast, failed = torch.compile(function, dynamic=False), False

    def run(*args):
        nonlocal failed
        if not failed:
            try:
                return fast(*args)
            except Exception as error:
                failed = True
                warnings.warn(f"running uncompiled: {type(error).__name__}: {str(error).splitlines()[0]}", stacklevel=2)
        return function(*args)

    return run


def _allow_many_shapes() -> None:
    """Each network and image shape is one specialization, far more than the default of 8 allows for."""
    config = torch._dynamo.config
    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    setattr(config, limit, max(64, getattr(config, limit)))


def _has_compiler(device: torch.device) -> bool:
    return device.type == "cuda" or any(map(shutil.which, ("g++", "clang++", "c++")))


def _fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    supported = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in supported if check)
