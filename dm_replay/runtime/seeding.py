"""Random numbers by seed and role: no global generator, no clock.

Every draw names what it is for (``"init"``, ``"augment"``, ...) and, in a loop, its iteration. Streams of different
roles are independent, and a run that resumes at iteration i needs no saved generator state.
"""

import contextlib
import hashlib
import random
from collections.abc import Iterator, Mapping

import numpy as np
import torch

__all__ = ["derive", "isolated", "new_generator", "undisturbed"]


def derive(seed: int, *roles: str | int) -> int:
    """A 63-bit seed for the given roles; the same in every process and library version.

    >>> from dm_replay.runtime.seeding import derive
    >>> derive(0, "augment", 7) == derive(0, "augment", 7) != derive(0, "init")
    True
    """
    digest = hashlib.sha256(repr((int(seed), *roles)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def new_generator(seed: int, *roles: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh ``torch.Generator`` seeded with ``derive(seed, *roles)``.

    >>> import torch
    >>> from dm_replay.runtime.seeding import new_generator
    >>> first, again = (torch.rand(3, generator=new_generator(0, "init")) for _ in range(2))
    >>> torch.equal(first, again)
    True
    """
    return torch.Generator(device).manual_seed(derive(seed, *roles))


@contextlib.contextmanager
def isolated(seed: int, *roles: str | int) -> Iterator[None]:
    """Run code that only knows the global generator (a module's constructor) without disturbing it."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, *roles))
        yield


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Run a user's code, such as transforms, after which Python's, NumPy's and PyTorch's generators are as before."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


class RoleStreams:
    """A generator for each role of a loop, all of them moved to an iteration's beginning at once.

    Args:
        devices: of each role's generator. They stay the same objects, so that a CUDA graph can hold them.
    """

    def __init__(self, seed: int, devices: Mapping[str, torch.device | str]):
        self.seed = seed
        self.generators = {role: torch.Generator(device) for role, device in devices.items()}

    def __getitem__(self, role: str) -> torch.Generator:
        return self.generators[role]

    def move_to(self, iteration: int) -> None:
        """Each generator gives what ``new_generator(seed, role, iteration)`` would give."""
        for role, generator in self.generators.items():
            generator.manual_seed(derive(self.seed, role, iteration))
