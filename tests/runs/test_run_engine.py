"""run.json says on which engine a run was made and what its check found."""

import json

import pytest

from dm_replay.data.registry import Dataset, DatasetSpec
from dm_replay.matching.config import CondenseConfig
from dm_replay.matching.matcher import Matcher
from dm_replay.runs.jobs import condense_run
from dm_replay.runtime import self_check
from dm_replay.runtime.engine import Engine

CONFIG = CondenseConfig.preset(
    "paper", ipc=2, iterations=2, network="convnet:width=4,depth=1", compile="no", device="cpu"
)


@pytest.fixture
def engine_of_run(pool, tmp_path, monkeypatch):
    monkeypatch.setattr(self_check, "_known", {})
    spec = DatasetSpec("noise", pool.shape, ("a", "b", "c"), pool.mean, pool.std, False)

    def run():
        condense_run(tmp_path / "run", Dataset(pool, pool, spec), CONFIG, quiet=True, snapshots=0)
        return json.loads((tmp_path / "run" / "run.json").read_text())["engine"]

    return run


def test_on_the_cpu_there_is_nothing_to_check(engine_of_run):
    engine = engine_of_run()
    assert (engine["device"], engine["dtype"], engine["compiled"], engine["graphs"]) == ("cpu", "float32", False, False)
    assert engine["chunk"] >= 1 and engine["self_check"] == {"checked": False, "fallback": None}


def test_what_the_check_found_is_written_down(engine_of_run, monkeypatch):
    monkeypatch.setattr(Engine, "accelerated", True)
    found = engine_of_run()["self_check"]
    assert found["checked"] and found["fallback"] is None and found["seconds"] >= 0
    assert set(found["differences"]) == {"the fast path, the plain path", "the plain path, the CPU"}


def test_why_the_plain_path_was_taken_is_written_down(engine_of_run, monkeypatch):
    right = Matcher.gradient

    def wrong(self, *args):
        loss, gradient = right(self, *args)
        return loss, -gradient if self.engine.graphs else gradient

    monkeypatch.setattr(Engine, "accelerated", True)
    monkeypatch.setattr(Matcher, "gradient", wrong)
    with pytest.warns(UserWarning, match="runs the plain path"):
        engine = engine_of_run()
    assert "the fast path's pixel gradient differs" in engine["self_check"]["fallback"]
