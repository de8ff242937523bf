"""Several processes at one job, as ``torchrun`` starts them."""

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["ALONE", "PeerFailed", "Peers", "RankLost", "World", "in_contact", "joined", "stdout_to_stderr", "world"]

LEAVING, LEAVING_AFTER_ERRORS = 30.0, 3.0  # seconds that the first process waits for the others to close theirs
TIMEOUT = 600.0  # seconds; longer than compiling and reading a dataset may keep one process behind the others

_jobs = itertools.count()  # that this process has taken part in; all count alike


class RankLost(ConnectionError):
    """Another process of the job has ended, or did not answer in time."""


@dataclass(frozen=True)
class World:
    """The processes of a job and which of them this is. What all of them must call says so.

    Attributes:
        rank: 0 … size − 1. size: how many there are; one alone needs no process group.
        local_rank, local_size: the same among those on this machine.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def main(self) -> bool:
        """Whether this process shows and writes."""
        return self.rank == 0

    def shard(self, count: int) -> slice:
        """This process's part of ``count`` things, maybe none: contiguous, in order of ranks, the first largest."""
        each, more = divmod(count, self.size)
        first = self.rank * each + min(self.rank, more)
        return slice(first, first + each + (self.rank < more))

    def gather(self, rows: Tensor) -> Tensor:
        """All processes' rows (N_r, …) one after another on the first process; on the others their own. For all."""
        if self.size == 1:
            return rows
        parts: list[Any] | None = [None] * self.size if self.main else None
        with in_contact():
            dist.gather_object(rows.cpu(), parts)
        return torch.cat(parts).to(rows.device) if parts else rows

    def barrier(self) -> None:
        """Wait until all processes are here. For all."""
        self.all_reduce_max(0)

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        """The sum of all processes' values, on each of them. For all."""
        return self._reduced(values, dist.ReduceOp.SUM)

    def all_reduce_max(self, *values: int) -> list[int]:
        """For each place the largest of all processes' values, on each of them. For all."""
        return self._reduced(torch.tensor(values), dist.ReduceOp.MAX).tolist()

    def _reduced(self, values: Tensor, how: "dist.ReduceOp.RedOpType") -> Tensor:
        if self.size > 1:
            values = values.clone()
            with in_contact():
                dist.all_reduce(values, how)
        return values


def world() -> World:
    """The world that torchrun's environment variables tell of; one process alone without them."""
    names = {"rank": "RANK", "size": "WORLD_SIZE", "local_rank": "LOCAL_RANK", "local_size": "LOCAL_WORLD_SIZE"}
    return World(**{name: int(os.environ[variable]) for name, variable in names.items() if variable in os.environ})


@contextlib.contextmanager
def joined(timeout: float = TIMEOUT) -> Iterator[World]:
    """Take part in the job of :func:`world`; inside, the processes can exchange tensors. For all.

    Tensors on the CPU go over gloo, those on GPUs over NCCL. On CUDA each process of a machine gets a GPU of its own
    (in turn where there are fewer) as the one that ``"cuda"`` and device "auto" mean.

    Args:
        timeout: seconds to wait for the other processes, at the start and in each exchange.

    Raises:
        RankLost: here or in an exchange, if another process has ended or does not answer.
    """
    here = world()
    if here.size == 1:
        yield here
        return
    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    if on_gpus:
        torch.cuda.set_device(here.local_rank % torch.cuda.device_count())
    with in_contact(), stdout_to_stderr():
        backend = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
        store, rank, size = next(dist.rendezvous("env://", timeout=timedelta(seconds=timeout)))
        dist.init_process_group(backend, store=store, timeout=timedelta(seconds=timeout), rank=rank, world_size=size)
    patience = LEAVING_AFTER_ERRORS
    try:
        yield here
        here.barrier()
        patience = LEAVING
    except RankLost:
        patience = 0.0
        raise
    finally:
        _leave(here, dist.PrefixStore(f"dm_replay/left/{next(_jobs)}", store), patience)


def _leave(here: World, store: "dist.Store", patience: float) -> None:
    """The first process closes its connections last and alone, unless the others keep it waiting.

    Where all close them at once, each hears of the others' while it takes its own apart, and seldom, on a busy machine,
    a process whose work was done ends with SIGABRT.
    """
    if here.main and patience:
        with contextlib.suppress(RuntimeError):  # who is not heard of has ended another way
            store.wait([str(rank) for rank in range(1, here.size)], timedelta(seconds=patience))
    dist.destroy_process_group()
    if not here.main:
        with contextlib.suppress(RuntimeError):  # the first one, which keeps the store, has ended
            store.set(str(here.rank), "")


@contextlib.contextmanager
def in_contact() -> Iterator[None]:
    """RankLost for whatever goes wrong in an exchange: somebody is not there, whatever the backend calls it."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost("lost contact with another process: it ended, or did not answer in time") from error


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """gloo of torch 2.9 tells on stdout whom it reached, in the midst of what a program is to read there."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


# One may work for hours while the others wait for it. The end of a process is heard at once, that of a machine is not.
PATIENCE = timedelta(days=1)

T = TypeVar("T")


class PeerFailed(ValueError):
    """Another process of the job has failed; the message says which, and why."""


@dataclass(frozen=True)
class Peers:
    """Processes that run the same program and share its work out; one alone has nobody to ask.

    Whatever happens to one of them, all meet in the same exchanges: who fails says so in the next one, and so all fail.

    >>> from dm_replay.runtime.distributed import Peers
    >>> with Peers().together():
    ...     values = Peers().exchanged("mine")
    >>> values
    ['mine']
    """

    world: World = field(default_factory=World)

    @classmethod
    def of_job(cls) -> "Peers":
        """All processes of the process group that is open; one alone without any."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(World(dist.get_rank(), dist.get_world_size()))

    def exchanged(self, mine: T) -> list[T]:
        """Each process's value, in the order of their ranks. For all; tensors have to lie on the CPU.

        Raises:
            PeerFailed: if another one failed instead.
            RankLost: if another one has ended.
        """
        if self.world.size == 1:
            return [mine]
        told = _all_told((None, mine), self.world.size)
        for rank, (failure, _) in enumerate(told):
            if failure is not None:
                raise PeerFailed(f"process {rank} failed: {failure}")
        return [value for _, value in told]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """What fails inside in one process fails in all: there as it is, elsewhere as :class:`PeerFailed`. For all.

        Exchanges may lie inside, another ``together`` may not. What ends a process, as Ctrl-C, is not waited for.
        """
        try:
            yield
        except (PeerFailed, RankLost):
            raise
        except Exception as error:
            if self.world.size > 1:
                with contextlib.suppress(RankLost):
                    _all_told((_line(error), None), self.world.size)
            raise
        self.exchanged(None)


ALONE = Peers()

_group: tuple[Any, Any] = None, None  # the job's process group, and the one for exchanges among the same processes


def _all_told(mine: tuple[str | None, Any], size: int) -> list[tuple[str | None, Any]]:
    told: list[Any] = [None] * size
    with in_contact(), torch.device("cpu"):
        dist.all_gather_object(told, mine, group=_exchanges())
    return told


def _exchanges() -> Any:
    """The job's own group may be of GPUs alone, may wait for minutes only, and may be in use."""
    global _group
    if _group[0] is not dist.group.WORLD:
        with stdout_to_stderr():
            _group = dist.group.WORLD, dist.new_group(backend="gloo", timeout=PATIENCE)
    return _group[1]


def _line(error: Exception) -> str:
    first = str(error).partition("\n")[0]
    return first if isinstance(error, ValueError) and first else f"{type(error).__name__}: {first}".removesuffix(": ")
