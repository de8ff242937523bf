"""Reading ahead: the same tensors in the same order, errors in their place, and a thread that ends."""

import time
from contextlib import closing

import pytest
import torch
from threads_alive import threads

from dm_replay.runtime.parallel import ReadAhead

CPU = torch.device("cpu")


def tensors(count, seen=None):
    for number in range(count):
        if seen is not None:
            seen.append(number)
        yield torch.tensor(number)


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_the_same_tensors_in_the_same_order(device, depth):
    with closing(ReadAhead(tensors(20), depth, torch.device(device))) as ahead:
        assert [int(t) for t in ahead] == list(range(20))
        assert next(ahead, None) is None


def test_no_further_ahead_than_the_depth():
    seen = []
    with closing(ReadAhead(tensors(100, seen), 3, CPU)) as ahead:
        next(ahead)
        time.sleep(0.2)
        assert len(seen) <= 1 + 3 + 1  # read, ready, and one that waits for room


def test_an_error_comes_in_its_place():
    def failing():
        yield torch.zeros(1)
        raise OSError("the disk is gone")

    with closing(ReadAhead(failing(), 4, CPU)) as ahead:
        next(ahead)
        with pytest.raises(OSError, match="the disk is gone"):
            next(ahead)
        assert next(ahead, None) is None


@pytest.mark.parametrize("count", [0, 1, 1_000_000])
def test_closing_ends_the_thread(count):
    before = len(threads())
    ahead = ReadAhead(tensors(count), 2, CPU)
    next(ahead, None)
    ahead.close()
    ahead.close()
    assert len(threads()) == before and next(ahead, None) is None
