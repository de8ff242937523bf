"""What long work says of itself, and the bar that shows it."""

import sys

import pytest
from terminal import Terminal

from dm_replay.runtime.stages import StageBar, at, counted, mapped, span, watched_by


def test_parts_lie_within_those_of_what_is_around_them():
    seen = []
    with watched_by(lambda *told: seen.append(told)):
        with span(0.0, 0.5), span(0.5, 1.0):
            at("a", 0.0), at("a", 1.0)
        with span(0.5, 1.0):
            assert list(counted("b", "xyzw", 4)) == list("xyzw")
            with mapped(lambda part: 1 - part):
                at("c", 1.0)
    at("nobody watches", 0.5)
    assert seen[:2] == [("a", 0.25), ("a", 0.5)] and seen[-1] == ("c", 0.5)
    assert [part for stage, part in seen if stage == "b"] == [0.5, 0.625, 0.75, 0.875, 1.0]


def test_an_error_ends_the_watch():
    seen = []
    with pytest.raises(KeyError), watched_by(lambda *told: seen.append(told)), span(0, 1):
        raise KeyError
    at("after", 1.0)
    assert not seen


def test_the_bar_names_the_stage_and_counts_what_was_done_before_as_no_pace(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = StageBar("condensing")
    bar("herding", 0.5)
    bar("training networks", 0.6)
    bar("training networks", 0.4)  # it never goes back
    assert (bar.bar.n, bar.bar.initial) == (pytest.approx(0.6), 0.5)
    bar("condensing", 2.0)
    bar.close()
    assert bar.bar.n == pytest.approx(1.0)
    assert all(word in sys.stderr.text for word in ("herding:  50%", "training networks", "condensing: 100%"))
