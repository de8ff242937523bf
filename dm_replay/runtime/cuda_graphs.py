"""CUDA graphs: work that is launched once and replayed, and lanes in which parts of it run side by side."""

import contextlib
import contextvars
import warnings
from collections.abc import Callable, Iterable, Iterator

import torch

from .out_of_memory import is_out_of_memory

__all__ = ["StreamPool", "cuda_graphed", "failures_raised"]

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
