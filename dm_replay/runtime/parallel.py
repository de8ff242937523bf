"""Work beside other work: a thread that reads ahead, and small jobs in processes of their own."""

import contextlib
import multiprocessing
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

__all__ = ["ReadAhead", "processes_for", "side_by_side"]


@dataclass(frozen=True)
class _End:
    error: BaseException | None = None


class ReadAhead:
    """Iterates over tensors that a thread takes from another iterator, in its order.

    On CUDA each tensor is copied from pinned memory on a stream of its own, so that the copy runs beside the
    kernels of the reader's stream. Elsewhere the tensors are handed on as they come.

    Args:
        tensors: run in the thread. An exception of it is raised in the reader, at its place in the order.
        depth: how many tensors may be ready at a time.
        device: where they are to lie.

    :meth:`close` ends the thread; the reader must call it unless it reads to the end.
    """

    def __init__(self, tensors: Iterator[Tensor], depth: int, device: torch.device):
        self._tensors, self._stopped = tensors, threading.Event()
        self._ready: queue.Queue[tuple[Tensor, torch.cuda.Event | None] | _End] = queue.Queue(max(1, depth))
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._end: _End | None = None
        self._thread = threading.Thread(target=self._run, name="dm_replay read-ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> "ReadAhead":
        return self

    def __next__(self) -> Tensor:
        if self._end is not None:
            raise StopIteration
        item = self._ready.get()
        if not isinstance(item, _End):
            return self._received(*item)
        self._end = item
        raise item.error or StopIteration

    def close(self) -> None:
        """End the thread, whatever it has ready."""
        self._stopped.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._ready.get_nowait()
            self._thread.join(0.01)
        self._end = self._end or _End()

    def _run(self) -> None:
        try:
            for tensor in self._tensors:
                if self._stopped.is_set():
                    return
                self._ready.put(self._sent(tensor))
            self._ready.put(_End())
        except BaseException as error:  # whatever it is, the reader is waiting for it
            self._ready.put(_End(error))

    def _sent(self, tensor: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
        if self._stream is None:
            return tensor, None
        with torch.cuda.stream(self._stream):
            copy = tensor.pin_memory().to(self._stream.device, non_blocking=True)
            return copy, self._stream.record_event()

    def _received(self, tensor: Tensor, copied: torch.cuda.Event | None) -> Tensor:
        if copied is not None and self._stream is not None:
            reader = torch.cuda.current_stream(self._stream.device)
            reader.wait_event(copied)
            tensor.record_stream(reader)
        return tensor


Result = TypeVar("Result")


def processes_for(jobs: int) -> int:
    """How many processes suit equal jobs: one more than cores, so that three of them keep two cores busy to the end.

    One where there is a single core, or a GPU, which serves one process best.
    """
    cores = torch.get_num_threads()
    return 1 if cores == 1 or torch.cuda.is_available() else min(jobs, cores + 1)


def side_by_side(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], processes: int, prepare: Callable[[], None]
) -> Iterator[tuple[int, Result]]:
    """``function(*job)`` of each job, with its number, as they finish; the first error is raised.

    Args:
        processes: 1 runs the jobs here, in their order.
        prepare: called first in each of several processes.
    """
    if processes == 1:
        yield from ((number, function(*job)) for number, job in enumerate(jobs))
        return
    threads = max(1, torch.get_num_threads() // processes)
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks of threads that it has not
    with ProcessPoolExecutor(processes, context, _prepared, (threads, prepare)) as pool, _ended_early(pool):
        running = {pool.submit(function, *job): number for number, job in enumerate(jobs)}
        for done in as_completed(running):
            yield running[done], done.result()


def _prepared(threads: int, prepare: Callable[[], None]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the first process's to answer
    torch.set_num_threads(threads)
    prepare()


@contextlib.contextmanager
def _ended_early(pool: ProcessPoolExecutor) -> Iterator[None]:
    """Whatever goes wrong, or whoever stops listening, waits for no job that is under way."""
    before = multiprocessing.active_children()
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            if child not in before:
                child.terminate()
        raise
