"""Two processes that train a strategy together: one memory, made in parts, and one fate."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dm_replay

CASES = (
    *("condensed", "trained extractors", "mixed", "classes that return", "tasks", "BatchNorm", "BatchNorm, smaller"),
    *("random", "herding"),
)
ALL = (
    *(*CASES, "seconds", "seconds, BatchNorm", "strategy", "online", "online, no boundaries", "filled"),
    *("images that differ", "images that differ, no boundaries", "after failures"),
)
LIMIT = 300  # seconds; 30 were measured, most of them for importing Avalanche
SAID = {
    "before training": ("ValueError: unfit images", "unfit images"),
    "reading": ("OSError: disk is gone\nand more", "OSError: disk is gone"),
    "training extractors": ("RuntimeError: no memory", "RuntimeError: no memory"),
    "condensing": ("ValueError: the loss became nan", "the loss became nan"),
}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What came of it in each of two processes, started as torchrun does."""
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    paths = [Path(__file__).parents[1], Path(dm_replay.__file__).parents[1]]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    common["PYTHONPATH"] = os.pathsep.join(map(str, paths))
    command = [sys.executable, str(Path(__file__).with_name("two_ranks.py")), str(folder)]
    processes = [
        subprocess.Popen(
            command, env={**os.environ, **common, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=LIMIT)[1].decode() for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 9], "\n".join(said)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def same(first, second):
    """Equal, bit for bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, tuple | list):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


@pytest.mark.parametrize("case", [*ALL, "pools"])
def test_both_have_the_same_memory(ranks, case):
    assert same(ranks[0][case]["memory"], ranks[1][case]["memory"])


@pytest.mark.parametrize("case", ALL)
def test_both_have_the_same_weights(ranks, case):
    assert same(ranks[0][case]["weights"], ranks[1][case]["weights"])


@pytest.mark.parametrize("case", [*CASES, "pools"])
def test_it_is_the_memory_of_one_process(ranks, case):
    assert same(ranks[0][case]["alone"], ranks[0][case]["memory"])


@pytest.mark.parametrize("case", ["condensed", "tasks"])
def test_each_replays_other_images_and_is_given_its_part_of_the_new_ones(ranks, case):
    for experience in (1, 2):
        batches = [rank[case]["batches"][experience] for rank in ranks]
        current, replayed = (
            [torch.cat([batch[0][rows] for batch in own]) for own in batches]
            for rows in (slice(None, -4), slice(-4, None))
        )
        assert [len(part) for part in current] == [12, 12]
        assert len(torch.cat(current).unique(dim=0)) == 24
        assert not torch.equal(*replayed)


def test_each_does_its_part_of_the_work(ranks):
    """Of thirteen images seven are the first class's: two jobs of a class each, for which no network is trained. Then
    there is one job, of two classes with three images each and three networks; with BatchNorm one process does all of
    it but the training."""
    work = [rank["work"] for rank in ranks]
    assert [own["trained extractors"]["made"] for own in work] == [[[0] * 7, [2] * 3], [[1] * 6, [3] * 3]]
    assert [own["BatchNorm"]["made"] for own in work] == [[[0] * 7, [2] * 3 + [3] * 3], [[1] * 6]]
    assert [own["herding"]["made"] for own in work] == [[1, 1], [1, 1]]
    assert [own[case]["trained"] for own in work for case in ("trained extractors", "BatchNorm")] == [2, 2, 1, 1]


@pytest.mark.parametrize("failure", SAID)
def test_what_fails_in_one_fails_in_all(ranks, failure):
    here, there = SAID[failure]
    assert ranks[1]["failures"][failure]["error"] == here
    assert ranks[0]["failures"][failure]["error"] == f"PeerFailed: process 1 failed: {there}"


def test_processes_that_differ_are_refused(ranks):
    for rank in ranks:
        assert "the 2 processes are to update different memories" in rank["failures"]["other seeds"]["error"]


@pytest.mark.parametrize("failure", [*SAID, "other seeds"])
def test_a_failure_leaves_both_memories_as_they_were(ranks, failure):
    for rank in ranks:
        assert same(rank["failures"][failure]["before"], rank["failures"][failure]["after"])


def test_the_end_of_one_is_noticed(ranks):
    assert ranks[0]["lost"] == "lost contact with another process: it ended, or did not answer in time"
