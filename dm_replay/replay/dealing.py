"""Dealing a memory's places out to its classes."""

from collections.abc import Sequence

__all__ = ["dealt"]


def dealt(size: int, limits: Sequence[int]) -> list[int]:
    """Shares of ``size`` things that are dealt round, one to each in turn, to nobody more than its limit.

    >>> from dm_replay.replay.dealing import dealt
    >>> dealt(11, [9, 1, 9, 9])
    [4, 1, 3, 3]
    """
    shares = [0] * len(limits)
    while size and (open_ := [number for number, most in enumerate(limits) if shares[number] < most]):
        each = max(1, size // len(open_))
        for number in open_[:size]:
            given = min(each, limits[number] - shares[number])
            shares[number] += given
            size -= given
    return shares
