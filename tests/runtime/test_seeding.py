import torch

from dm_replay.runtime.files import atomic
from dm_replay.runtime.seeding import derive, isolated, new_generator


def test_streams_are_fixed_and_differ_by_role():
    assert derive(0, "init") == derive(0, "init") == 6109011495221250200
    seeds = {derive(s, role, i) for s in range(3) for role in ("init", "draw") for i in range(100)}
    assert len(seeds) == 600
    assert torch.equal(torch.rand(3, generator=new_generator(1, "a")), torch.rand(3, generator=new_generator(1, "a")))


def test_isolation_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    with isolated(3, "network"):
        first = torch.rand(2)
    with isolated(3, "network"):
        second = torch.rand(2)
    assert torch.equal(first, second) and torch.equal(before, torch.get_rng_state())


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    try:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")
    except OSError:
        pass
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with atomic(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]
