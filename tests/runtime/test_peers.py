"""A process alone needs no others to agree with; two are tried in tests/plugins/test_several_processes.py."""

import pytest

from dm_replay.runtime.distributed import ALONE, Peers, World, _line


def test_alone_without_a_process_group():
    assert Peers.of_job() == ALONE and ALONE.world == World()
    value = object()
    assert ALONE.exchanged(value) == [value]


def test_alone_an_error_is_what_it_was():
    with pytest.raises(KeyError, match="missing"), ALONE.together():
        raise KeyError("missing")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\nlines"), "two"),
        (OSError("disk is full"), "OSError: disk is full"),
        (RuntimeError(), "RuntimeError"),
        (ValueError(), "ValueError"),
    ],
    ids=repr,
)
def test_what_the_others_hear_is_one_line(error, line):
    assert _line(error) == line
