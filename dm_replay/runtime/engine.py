"""How a job runs best on a device: precision, compilation, images at a time, and fewer where memory is short."""

import gc
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

import torch

from . import hardware

__all__ = [
    "Activations",
    "COMPILE",
    "Engine",
    "GIB",
    "PRECISIONS",
    "choose",
    "halving",
    "is_out_of_memory",
    "plain",
    "resolve_device",
    "within_memory",
]

PRECISIONS = ("auto", "float32", "bfloat16")
COMPILE = ("auto", "yes", "no")

# Each job has its own shapes, so each pays for compiling: about 30 s on two cores, 5 s where the disk cache has them. A
# compiled step then saves 0.3 ms for each 32x32 image on two AVX-512 cores with bfloat16 (1.24 -> 0.52 s for 2,660 of
# them) and 0.7 ms on two AVX2 cores (4.4 -> 2.6 s), whose compiler is slower, too. So it is earned back after:
WORTH_COMPILING = 100_000 * 32 * 32  # pixels
# On an H100 compiling took 45 s, and 2,660 images then 3.0 instead of 14.7 ms; training on 100 gained nothing by it.
WORTH_COMPILING_ON_GPU = 10_000_000 * 32 * 32  # pixels
# Images at a time, by cache; it may not depend on the threads: several processes of one thread each give the pixels of
# one process. With bfloat16 instructions two cores take 0.34 s for 2,560 images of 32x32 at 64, 0.60 at 128.
CPU_CHUNK = 64 * 32 * 32  # pixels
# Without them, in float32: compiled 2.6 s at 32, 2.7 at 64. Uncompiled, one core, for 798 of them: 1.18 at 4 or 8, 1.17
# at 16, 1.22 at 32, 1.49 at 64; for 290 of 8x8: 28 ms at 64, 31 at 256, 32 at 512.
COMPILED_CHUNK_WITHOUT_BFLOAT16 = 32 * 32 * 32  # pixels
PLAIN_CHUNK_WITHOUT_BFLOAT16 = 8 * 32 * 32  # pixels
PLAIN_IMAGES_WITHOUT_BFLOAT16 = 64
GPU_CHUNK = 4096 * 32 * 32  # pixels; first-layer activations of 1 GB in bfloat16
GIB = 2**30  # bytes


class Activations(NamedTuple):
    """Values that one image needs in a network: at a time where none is kept, and ``with_gradient`` in all."""

    forward: int
    with_gradient: int


# Of each pixel, at the papers' width: in the widest block what goes in, what the convolution and what the norm gives.
USUAL = Activations(3 * 128, 2 * 3 * 128)


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
        graphs: whether a step may become one CUDA graph.
        check: what the self-check found, as plain data; None where there was none (see ``self_check``).
        reasons: why each was chosen, in a few words.
    """

    device: torch.device
    dtype: torch.dtype
    compiled: bool
    chunk: int
    gradient_chunk: int = sys.maxsize
    draws: torch.device | None = None
    graphs: bool = True
    check: dict | None = field(default=None, compare=False, repr=False)
    reasons: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def draws_on(self) -> torch.device:
        return self.draws or self.device

    @property
    def accelerated(self) -> bool:
        """Whether it runs elsewhere than on the CPU, which is the reference."""
        return self.device.type != "cpu"


def plain(engine: Engine) -> Engine:
    """The same without what makes it fast: no graph, nothing compiled, float32."""
    return replace(engine, graphs=False, compiled=False, dtype=torch.float32)


def choose(
    device: str,
    precision: str,
    compile: str,
    image_size: tuple[int, int],
    images: int,
    memory_budget: float | None = None,
    activations: Activations | None = None,
) -> Engine:
    """The engine for a job that embeds ``images`` images of ``image_size`` (H, W) in all.

    bfloat16 is chosen where it is fast: on GPUs that have it, and on CPUs with bfloat16 instructions if the job is
    compiled (uncompiled it gains nothing there). ``memory_budget`` is what the activations of either kind of work may
    take, in GiB; never less than those of one image (by default in ConvNet-128).
    """
    where, pixels = resolve_device(device), image_size[0] * image_size[1]
    compiles, why_compiled = _compilation(where, compile, images * pixels)
    dtype, why_dtype = _precision(where, precision, compiles)
    chunk, why_chunk = _chunk(where, pixels, compiles)
    with_gradient = sys.maxsize
    if memory_budget is not None:
        values = activations or Activations(*(pixels * each for each in USUAL))
        fitting = int(memory_budget * GIB / (values.forward * dtype.itemsize))
        if fitting < chunk:
            chunk, why_chunk = fitting, f"the memory budget of {memory_budget:g} GiB"
        with_gradient = max(1, int(memory_budget * GIB / (values.with_gradient * torch.float32.itemsize)))
    found = f"{'a' if where.type == 'cuda' else 'no'} GPU that PyTorch can use"
    why_device = found if device == "auto" else "as asked for"
    reasons = {"device": why_device, "dtype": why_dtype, "compiled": why_compiled, "chunk": why_chunk}
    return Engine(where, dtype, compiles, max(1, chunk), with_gradient, reasons=reasons)


def _compilation(device: torch.device, compile: str, pixels: int) -> tuple[bool, str]:
    if compile != "auto":
        return compile == "yes", "as asked for"
    times = pixels / (WORTH_COMPILING_ON_GPU if device.type == "cuda" else WORTH_COMPILING)
    share = f"{times:{'.0f' if times >= 10 else '.2g'}} times the work that pays for compiling"
    if times < 1:
        return False, share
    if device.type == "cuda" or hardware.compiler():
        return True, share
    return False, "no C++ compiler: none of g++, clang++, c++"


def _precision(device: torch.device, precision: str, compiles: bool) -> tuple[torch.dtype, str]:
    if precision != "auto":
        return {"bfloat16": torch.bfloat16, "float32": torch.float32}[precision], "as asked for"
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
        return (torch.bfloat16 if fast else torch.float32), f"the GPU has {'' if fast else 'no '}bfloat16"
    if device.type != "cpu" or not hardware.has_bfloat16():
        return torch.float32, "no bfloat16 instructions"
    if not compiles:
        return torch.float32, "bfloat16 gains nothing uncompiled"
    return torch.bfloat16, "bfloat16 instructions, and the job is compiled"


def _chunk(device: torch.device, pixels: int, compiles: bool) -> tuple[int, str]:
    if device.type == "cuda":
        return GPU_CHUNK // pixels, "first-layer activations of 1 GB"
    if hardware.has_bfloat16():
        return CPU_CHUNK // pixels, "fastest on cores with bfloat16 instructions"
    if compiles:
        return COMPILED_CHUNK_WITHOUT_BFLOAT16 // pixels, "fastest compiled on cores without bfloat16 instructions"
    most = min(PLAIN_CHUNK_WITHOUT_BFLOAT16 // pixels, PLAIN_IMAGES_WITHOUT_BFLOAT16)
    return most, "fastest uncompiled on cores without bfloat16 instructions"


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


# Of accelerators without an error class of their own, and of the CPU's allocator.
SIGNS = ("out of memory", "DefaultCPUAllocator")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that an allocation failed, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in SIGNS)


Size = TypeVar("Size")
Result = TypeVar("Result")


def within_memory(engine: Engine, images: int, work: Callable[[Engine], Result]) -> tuple[Engine, Result]:
    """``work(engine)``, tried again with half the images at a time, down to one, until memory suffices.

    Args:
        images: the most that the work has at a time, whatever the engine allows.

    Returns:
        The engine that did it, and what the work gave. One warning if it is not the one given.
    """
    fitting, result = _shrunk(engine, lambda larger: _halved(larger, images), work)
    if fitting != engine:
        _warn(engine.device, f"{min(engine.chunk, images)} images", fitting.chunk)
    return fitting, result


def halving(count: int, work: Callable[[int], Result], device: torch.device) -> tuple[int, Result]:
    """``work(count)``, likewise tried again with half as many networks at a time."""
    fitting, result = _shrunk(count, lambda larger: max(1, larger // 2), work)
    if fitting != count:
        _warn(device, f"{count} networks", fitting)
    return fitting, result


def _shrunk(size: Size, smaller: Callable[[Size], Size], work: Callable[[Size], Result]) -> tuple[Size, Result]:
    while True:
        try:
            return size, work(size)
        except Exception as error:
            next_size = smaller(size)
            if not is_out_of_memory(error) or next_size == size:
                raise
        size = next_size
        if torch.cuda.is_initialized():  # here the frames that the exception held are gone
            gc.collect()
            torch.cuda.empty_cache()  # else the allocator keeps what they held in pieces that may be too small


def _halved(engine: Engine, images: int) -> Engine:
    chunk, gradient_chunk = (max(1, min(most, images) // 2) for most in (engine.chunk, engine.gradient_chunk))
    return replace(engine, chunk=chunk, gradient_chunk=gradient_chunk)


def _warn(device: torch.device, wanted: str, taken: int) -> None:
    warnings.warn(f"{device} has too little memory for {wanted} at a time: it takes {taken}", stacklevel=4)
