"""What makes work on a device fast, compiled functions and CUDA graphs, and whether its results agree."""

import contextlib
import contextvars
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from .engine import Engine, is_out_of_memory

__all__ = ["Disagreement", "StreamPool", "compiled", "cuda_graphed", "difference", "failures_raised", "tolerance"]

# What rounding may do to a loss or a gradient, as ‖a − b‖ / ‖b‖. A product rounds by 2^-9 in bfloat16 and by 2^-11 in
# TF32, which GPUs take for float32 convolutions. With bfloat16 on a CPU (ConvNet-128 with every norm, activation and
# pooling, a few images of digits and CIFAR-10) losses moved by 0.01 to 4 %, pixel gradients by 0.3 to 7 % and a
# training's updates by 0.5 to 13 %, most with max pooling; TF32 should do a quarter of that. Faults are larger: a stale
# random number, a class left out or a factor of two change these by 30 % and more. Networks with sigmoids and no norm,
# whose features hardly differ between images, have their loss on CIFAR-10 moved by 30 %: they are rightly refused.
TOLERANCE = {torch.bfloat16: 0.25, torch.float32: 0.1}


class Disagreement(Exception):
    """Two ways of computing the same thing gave different values; the message says which and by how much."""


def tolerance(dtype: torch.dtype) -> float:
    """How far results may lie from each other if one of them was computed in ``dtype``."""
    return TOLERANCE.get(dtype, TOLERANCE[torch.float32])


def difference(got: Tensor, expected: Tensor) -> float:
    """‖got − expected‖ / ‖expected‖, infinite where either is not finite; of integers, how many differ, in 1."""
    got, expected = (t.detach().cpu() for t in (got, expected))
    if not expected.is_floating_point():
        return float((got != expected).double().mean())
    got, expected = got.double(), expected.double()
    if not (got.isfinite().all() and expected.isfinite().all()):
        return float("inf")
    return float((got - expected).norm() / expected.norm().clamp_min(torch.finfo(torch.float64).tiny))


def _check_compiled(fast: Callable, function: Callable, args: Sequence, dtype: torch.dtype) -> None:
    """Raise :class:`Disagreement` unless ``fast(*args)`` and its gradients agree with the plain function's."""
    for name, got, expected in zip(("result", "gradient"), _values(fast, args), _values(function, args), strict=False):
        error = difference(got, expected)
        if not error <= tolerance(dtype):
            raise Disagreement(f"its {name} differs by {error:.0%} (allowed {tolerance(dtype):.0%})")


def _values(function: Callable, args: Sequence) -> list[Tensor]:
    """What a function gives and, if it carries one, the gradient to all in its arguments that asks for one."""
    result = function(*args)
    if not result.requires_grad:
        return [result]
    modules = (parameter for arg in args if isinstance(arg, nn.Module) for parameter in arg.parameters())
    leaves = [leaf for leaf in (*args, *modules) if isinstance(leaf, Tensor) and leaf.requires_grad]
    gradients = torch.autograd.grad(result.sum(), leaves)
    return [result, torch.cat([gradient.flatten() for gradient in gradients])]


WARM_UP = 2  # calls before the capture: compilation, library handles and algorithms are settled in them

_raise_failures = contextvars.ContextVar("_raise_failures", default=False)


def cuda_graphed(
    function: Callable[[], None], device: torch.device, generators: Iterable[torch.Generator] = ()
) -> Callable[[], None]:
    """``function`` as one CUDA graph on ``device``; the plain function on other devices or where capturing fails.

    The function reads and writes tensors that stay where they are and never waits for the device. On CUDA it is called
    a few times before the capture: give its tensors their initial values after this. Random numbers come from
    ``generators``, which may be seeded anew before each call. A lack of memory is raised.
    """
    if device.type != "cuda":
        return function
    with torch.cuda.device(device):
        _warm_up(function)
        graph = torch.cuda.CUDAGraph()
        if torch.__version__ < "2.14":  # from then on a graph finds its generators itself
            for generator in generators:
                graph.register_generator_state(generator)
        try:
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may read ahead
                function()
        except RuntimeError as error:
            if _raise_failures.get() or is_out_of_memory(error):
                raise
            warnings.warn(f"running without a CUDA graph: {str(error).splitlines()[0]}", stacklevel=2)
            return function
    return graph.replay


@contextlib.contextmanager
def failures_raised() -> Iterator[None]:
    """Inside, what cannot be captured raises instead of running without a graph."""
    token = _raise_failures.set(True)
    try:
        yield
    finally:
        _raise_failures.reset(token)


def _warm_up(function: Callable[[], None]) -> None:
    """On a stream of its own, as a capture asks for."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            function()
    torch.cuda.current_stream().wait_stream(aside)


class StreamPool:
    """CUDA streams that leave the current one together and come back to it together; nothing on other devices.

    What goes in must be kept until the lanes have joined, so that its memory is not given away before.
    """

    def __init__(self, device: torch.device, count: int):
        self.streams = [torch.cuda.Stream(device) for _ in range(count)] if device.type == "cuda" else []

    @contextlib.contextmanager
    def forked(self) -> Iterator[None]:
        """Work put into lanes inside starts after what came before and ends before what comes after."""
        for stream in self.streams:
            stream.wait_stream(torch.cuda.current_stream(stream.device))
        yield
        for stream in self.streams:
            torch.cuda.current_stream(stream.device).wait_stream(stream)

    def lane(self, number: int) -> contextlib.AbstractContextManager:
        """Work inside goes into lane ``number``, counted round."""
        if not self.streams:
            return contextlib.nullcontext()
        return torch.cuda.stream(self.streams[number % len(self.streams)])


def compiled(function: Callable, engine: Engine) -> Callable:
    """``function`` through ``torch.compile`` if the engine says so; the plain function where compiling fails.

    On an accelerator it is also the plain function where the first compiled call and its gradients do not agree with
    the plain ones. A lack of memory is raised.
    """
    if not engine.compiled:
        return function
    _allow_many_shapes()
    fast = torch.compile(function, dynamic=False)
    trusted, failed = not engine.accelerated, False

    def run(*args):
        nonlocal trusted, failed
        if not failed:
            try:
                if not trusted:
                    _check_compiled(fast, function, args, engine.dtype)
                    trusted = True
                return fast(*args)
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                failed = True
                _note_uncompiled(engine, f"{type(error).__name__}: {str(error).splitlines()[0]}")
        return function(*args)

    return run


def _note_uncompiled(engine: Engine, reason: str) -> None:
    warnings.warn(f"running uncompiled: {reason}", stacklevel=3)
    if engine.check is not None:
        engine.check["uncompiled"] = reason


def _allow_many_shapes() -> None:
    """Each network and image shape is one specialization, far more than the default of 8 allows for."""
    config = torch._dynamo.config
    limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
    setattr(config, limit, max(64, getattr(config, limit)))
