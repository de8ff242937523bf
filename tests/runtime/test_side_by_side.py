import math
import multiprocessing
import os
import time

import pytest
import torch

from dm_replay.runtime.parallel import processes_for, side_by_side

ALL_THREADS = True


def assert_no_process_is_left():
    """What was ended needs a moment to be gone; the jobs themselves would sleep for ten minutes."""
    deadline = time.perf_counter() + 120
    while multiprocessing.active_children() and time.perf_counter() < deadline:
        time.sleep(0.05)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("processes", [1, 2])
def test_every_job_gives_its_result(processes):
    results = dict(side_by_side(math.sqrt, [(n * n,) for n in range(5)], processes, int))
    assert results == {n: n for n in range(5)}


def test_processes_have_their_share_of_the_threads():
    found = dict(side_by_side(torch.get_num_threads, [()] * 2, 2, int))
    assert set(found.values()) == {max(1, torch.get_num_threads() // 2)}
    assert dict(side_by_side(torch.get_num_threads, [()], 1, int)) == {0: torch.get_num_threads()}


def test_each_is_prepared():
    with pytest.raises(Exception, match="abrupt|broken|terminated"):
        list(side_by_side(math.sqrt, [(1,)], 2, os.abort))


@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_error_is_raised_and_ends_the_others(processes):
    started = time.perf_counter()
    with pytest.raises(ValueError, match="non-negative"):
        for _ in side_by_side(time.sleep, [(-1,), (600,), (600,)], processes, int):
            pass
    assert_no_process_is_left()
    assert time.perf_counter() - started < 300


def test_who_stops_listening_waits_for_nobody():
    results = side_by_side(time.sleep, [(0,), (600,)], 2, int)
    assert next(results) == (0, None)
    results.close()
    assert_no_process_is_left()


def test_as_many_processes_as_keep_the_cores_busy(monkeypatch):
    for threads, jobs, expected in ((1, 3, 1), (2, 3, 3), (2, 9, 3), (8, 3, 3), (2, 1, 1)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert processes_for(jobs) == expected
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert processes_for(3) == 1
