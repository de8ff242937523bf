"""What processes that do the same tell each other: values and failures, in the same order on all of them."""

import contextlib
import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from .distributed import RankLost, World, in_contact, stdout_to_stderr

__all__ = ["ALONE", "PeerFailed", "Peers"]

# One may work for hours while the others wait for it. The end of a process is heard at once, that of a machine is not.
PATIENCE = timedelta(days=1)

T = TypeVar("T")


class PeerFailed(ValueError):
    """Another process of the job has failed; the message says which, and why."""


@dataclass(frozen=True)
class Peers:
    """Processes that run the same program and share its work out; one alone has nobody to ask.

    Whatever happens to one of them, all meet in the same exchanges: who fails says so in the next one, and so all fail.

    >>> from dm_replay.runtime.peers import Peers
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
    content = torch.frombuffer(bytearray(pickle.dumps(mine)), dtype=torch.uint8)
    with in_contact(), torch.device("cpu"):
        group = _exchanges()
        lengths = [torch.zeros(1, dtype=torch.long) for _ in range(size)]
        dist.all_gather(lengths, torch.tensor([len(content)]), group=group)
        longest = max(map(int, lengths))
        padded = torch.cat([content, content.new_zeros(longest - len(content))])
        parts = [torch.empty_like(padded) for _ in range(size)]
        dist.all_gather(parts, padded, group=group)
    return [pickle.loads(bytes(part[: int(length)].numpy())) for part, length in zip(parts, lengths, strict=True)]


def _exchanges() -> Any:
    """The job's own group may be of GPUs alone, may wait for minutes only, and may be in use."""
    global _group
    if _group[0] is not dist.group.WORLD:
        with stdout_to_stderr():
            _group = dist.group.WORLD, dist.new_group(backend="gloo", timeout=PATIENCE)
    return _group[1]


def _line(error: Exception) -> str:
    kind = type(error).__name__
    first = str(error).partition("\n")[0]
    return first if isinstance(error, ValueError) and first else f"{kind}: {first}" if first else kind
