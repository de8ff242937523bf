"""Files that loggers have open, over a checkpoint: nothing that they hold is lost, whatever is loaded."""

import csv
import shutil
from types import SimpleNamespace

import pytest
from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
from avalanche.logging import CSVLogger, TextLogger
from avalanche.training.plugins import EvaluationPlugin
from streams import labelled, strategy

from dm_replay import load_checkpoint, save_checkpoint

FILES = ("training_results.csv", "eval_results.csv")


def with_logger(logger):
    metrics = accuracy_metrics(epoch=True, experience=True), loss_metrics(epoch=True, experience=True)
    return strategy(evaluator=EvaluationPlugin(*metrics, loggers=[logger]))


def finished(folder):
    """A strategy that has written a row of each table, saved as stream.pt beside the folder of the tables."""
    learner, stream = with_logger(CSVLogger(str(folder))), labelled()
    learner.train(stream.train_stream[0])
    learner.eval(stream.test_stream[:1])
    save_checkpoint(learner, folder.parent / "stream.pt")
    return learner


def tables(folder):
    return [(folder / name).read_text() for name in FILES]


def test_loading_alone_leaves_tables_as_they_are(tmp_path):
    finished(tmp_path / "logs")
    before = tables(tmp_path / "logs")
    load_checkpoint(tmp_path / "stream.pt")
    assert tables(tmp_path / "logs") == before and all(text.count("\n") == 2 for text in before)


def test_going_on_appends_to_them(tmp_path):
    learner = finished(tmp_path / "logs")
    learner.evaluator.loggers[0].close()
    before, back, stream = tables(tmp_path / "logs"), load_checkpoint(tmp_path / "stream.pt"), labelled()
    back.train(stream.train_stream[1])
    back.eval(stream.test_stream[:2])
    after = tables(tmp_path / "logs")
    assert [new.startswith(old) for new, old in zip(after, before, strict=True)] == [True, True]
    assert [new.count("\n") - old.count("\n") for new, old in zip(after, before, strict=True)] == [1, 2]


def test_a_missing_folder_is_made_anew_with_the_headers(tmp_path):
    finished(tmp_path / "logs")
    headers = [text.splitlines()[0] for text in tables(tmp_path / "logs")]
    shutil.rmtree(tmp_path / "logs")
    load_checkpoint(tmp_path / "stream.pt").eval(labelled().test_stream[:2])
    with open(tmp_path / "logs" / FILES[1]) as file:
        assert [row["eval_exp"] for row in csv.DictReader(file)] == ["0", "1"]
    assert [text.splitlines()[0] for text in tables(tmp_path / "logs")] == headers


@pytest.mark.parametrize("logger", [CSVLogger, lambda folder: TextLogger(open(f"{folder}/log.txt", "w"))])  # noqa: SIM115
def test_a_file_that_cannot_be_opened_is_one_line(tmp_path, logger):
    folder = tmp_path / "logs"
    folder.mkdir()
    save_checkpoint(with_logger(logger(str(folder))), tmp_path / "stream.pt")
    shutil.rmtree(folder)
    folder.write_text("a file where the folder was")
    with pytest.raises(ValueError, match=r"stream\.pt cannot go on with a file .*logs") as error:
        load_checkpoint(tmp_path / "stream.pt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["w", "wb", "w+", "x", "a"])
@pytest.mark.parametrize("closed", [False, True])
def test_any_file_open_for_writing_keeps_what_it_holds(tmp_path, mode, closed):
    learner, end = strategy(), "b" if "b" in mode else ""
    with open(tmp_path / "own.txt", mode) as file:
        learner.own = SimpleNamespace(file=file)
        file.write("one\n" if not end else b"one\n")
        if closed:
            file.close()
        save_checkpoint(learner, tmp_path / "stream.pt")
    back = load_checkpoint(tmp_path / "stream.pt").own.file
    assert back.closed == closed and (tmp_path / "own.txt").read_text() == "one\n"
    if not closed:
        back.write("two\n" if not end else b"two\n")
        back.close()
        assert (tmp_path / "own.txt").read_text() == "one\ntwo\n"
