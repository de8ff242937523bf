"""How an update is shared out: each class to one process, as evenly as can be, if all mean the same update."""

import pytest

from dm_replay import Condense, CondenseConfig, Herding
from dm_replay.replay.job import agreed, shared_out
from dm_replay.runtime.distributed import Peers, World

SIZES = [[3], [1], [5, 2, 1], [1, 1, 1, 1], [0, 4], []]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_class_of_every_job_has_one_process(sizes, processes, whole):
    parts = [shared_out(sizes, World(rank, processes), whole) for rank in range(processes)]
    for job, size in enumerate(sizes):
        taken = [number for own in parts for number in range(size)[own[job]]]
        assert sorted(taken) == list(range(size))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("processes", [2, 3])
def test_shares_differ_by_one_class_at_most(sizes, processes):
    loads = [classes(sizes, shared_out(sizes, World(rank, processes), whole=False)) for rank in range(processes)]
    assert max(loads) - min(loads) <= 1


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_a_whole_job_is_one_process_alone(sizes):
    for rank in range(2):
        parts = shared_out(sizes, World(rank, 2), whole=True)
        assert all(len(range(size)[part]) in (0, size) for size, part in zip(sizes, parts, strict=True))


def classes(sizes, parts):
    return sum(len(range(size)[part]) for size, part in zip(sizes, parts, strict=True))


def test_only_batch_statistics_are_indivisible():
    shape = (3, 16, 16)
    for name, whole in {"convnet": False, "mlp": False, "convnet:norm=batch": True}.items():
        assert Condense(CondenseConfig(network=name)).needs_all_classes(shape) == whole
        assert not Herding(name).needs_all_classes(shape)


class Told(Peers):
    """Peers whose values are known."""

    def exchanged(self, mine):
        return [mine, self.other]


def test_the_first_ones_value_counts_where_the_plans_are_the_same():
    peers = Told(World(0, 2))
    object.__setattr__(peers, "other", ("(1, 2)", "its"))
    assert agreed(peers, (1, 2), "mine") == "mine"
    with pytest.raises(ValueError, match="the 2 processes are to update different memories or with different classes"):
        agreed(peers, (1, 3), "mine")
