"""Small jobs in processes beside each other, one thread each, where threads would mostly wait for each other."""

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

import torch

__all__ = ["processes_for", "side_by_side"]

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
