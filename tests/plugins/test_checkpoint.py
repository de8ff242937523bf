"""A stream that is saved, and goes on in another process."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from avalanche.evaluation.metrics import accuracy_metrics
from avalanche.logging import CSVLogger
from avalanche.training.plugins import EvaluationPlugin, EWCPlugin
from streams import QUICK, labelled, strategy

from dm_replay import DMReplayPlugin, load_checkpoint, save_checkpoint
from dm_replay.plugins.checkpoint import OF_AN_EXPERIENCE

RESUME = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from streams import labelled
from dm_replay import load_checkpoint
learner = load_checkpoint(sys.argv[2])
for experience in labelled().train_stream[learner.clock.train_exp_counter:]:
    learner.train(experience)
images = learner.plugins[0].storage_policy.memory.to_set()[0].images
torch.save([[p.detach() for p in learner.model.parameters()], images], sys.argv[3])
"""


def learner(*plugins, **options):
    return strategy(DMReplayPlugin(7, progress=False, **QUICK), *plugins, **options)


def test_another_process_ends_with_the_same_numbers(tmp_path):
    straight, stopped = learner(), learner()
    for one, experiences in ((straight, 3), (stopped, 2)):
        torch.manual_seed(1)
        for experience in labelled().train_stream[:experiences]:
            one.train(experience)
    save_checkpoint(stopped, tmp_path / "stream.pt")
    here = str(Path(__file__).parent.parent)
    command = [sys.executable, "-c", RESUME, here, str(tmp_path / "stream.pt"), str(tmp_path / "end.pt")]
    subprocess.run(command, check=True, capture_output=True)
    torch.manual_seed(1)
    parameters, images = torch.load(tmp_path / "end.pt")
    for ours, theirs in zip(straight.model.parameters(), parameters, strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(straight.plugins[0].storage_policy.memory.to_set()[0].images, images)


def test_plugins_and_loggers_come_along_and_data_does_not(tmp_path):
    evaluator = EvaluationPlugin(accuracy_metrics(stream=True), loggers=[CSVLogger(str(tmp_path / "logs"))])
    stopped = learner(EWCPlugin(0.1), evaluator=evaluator)
    stream = labelled()
    stopped.train(stream.train_stream[0])
    held = vars(stopped).copy()
    save_checkpoint(stopped, tmp_path / "stream.pt")
    assert vars(stopped) == held
    back = load_checkpoint(tmp_path / "stream.pt", device="cpu")
    assert back.clock.train_exp_counter == 1 and back.device == torch.device("cpu")
    assert not any(getattr(back, name, None) for name in OF_AN_EXPERIENCE)
    before = stopped.eval(stream.test_stream)
    assert back.eval(stream.test_stream) == before
    back.train(stream.train_stream[1])


def test_what_goes_wrong_leaves_the_old_one(tmp_path, monkeypatch):
    stopped, path = learner(), tmp_path / "stream.pt"
    save_checkpoint(stopped, path)
    before = path.read_bytes()
    stopped.not_to_be_written = (number for number in range(3))
    with pytest.raises(TypeError):
        save_checkpoint(stopped, path)
    del stopped.not_to_be_written
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(stopped, path)
    assert path.read_bytes() == before and [file.name for file in tmp_path.iterdir()] == ["stream.pt"]


def test_damaged_and_foreign_files_are_refused_and_run_nothing(tmp_path, monkeypatch):
    save_checkpoint(learner(), tmp_path / "stream.pt")
    content = (tmp_path / "stream.pt").read_bytes()
    torch.save({"strategy": 1}, tmp_path / "foreign.pt")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("loaded"))
    for place in (len(content) // 2, len(content) - 1, 30):
        changed = bytearray(content)
        changed[place] ^= 1
        (tmp_path / "bad.pt").write_bytes(changed)
        with pytest.raises(ValueError, match=r"bad\.pt is a damaged checkpoint"):
            load_checkpoint(tmp_path / "bad.pt")
    (tmp_path / "bad.pt").write_bytes(content[:-100])
    with pytest.raises(ValueError, match=r"bad\.pt is a damaged checkpoint"):
        load_checkpoint(tmp_path / "bad.pt")
    with pytest.raises(ValueError, match=r"foreign\.pt is not a checkpoint of dm_replay"):
        load_checkpoint(tmp_path / "foreign.pt")
    with pytest.raises(ValueError, match="no such file"):
        load_checkpoint(tmp_path / "none.pt")
