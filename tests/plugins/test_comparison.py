"""compare(): the same strategy with each memory, kept in a folder, and shown."""

import json
import time
import warnings

import numpy as np
import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets, split_online_stream, tensors_benchmark
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.training.plugins import EWCPlugin, ReplayPlugin
from avalanche.training.supervised import Naive
from streams import QUICK, Blobs, plain

from dm_replay import CondensedBuffer, DMReplayPlugin, build_network, compare
from dm_replay.cli import streams as of_the_command_line
from dm_replay.cli.__main__ import main
from dm_replay.plugins import comparison
from dm_replay.plugins.comparison import usual_memories
from dm_replay.plugins.outcomes import Outcome, table
from dm_replay.plugins.trials import Trials
from dm_replay.runtime.seeding import isolated

RAW, SIZE = 64, 8 * 64  # bytes of an image and of a memory
MEMORIES = {
    "none": lambda seed: None,
    "stock": lambda seed: ReplayPlugin(8),
    "herded": lambda seed: DMReplayPlugin(mem_bytes=SIZE, kind="herding", seed=seed, progress=False, **QUICK),
}


def strategy(plugins):
    network = build_network("convnet:width=4,depth=1", (1, 8, 8), 6, seed=torch.initial_seed())
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    return Naive(model=network, optimizer=optimizer, train_mb_size=4, plugins=plugins, evaluator=None)


def learned(outcomes):
    """All but the seconds."""
    return [(one.memory, one.seed, one.curve, one.forgetting, one.held) for one in outcomes]


def accuracies(network, data):
    """In percent, of the test images of each experience."""
    images, labels = data.images, torch.tensor(data.targets)
    right = (network.eval()(images).argmax(1) == labels).float()
    return [100 * float(right[labels // 2 == number].mean()) for number in range(3)]


def test_a_curve_is_what_training_and_testing_by_hand_give():
    found, stream = Trials(plain(), strategy).outcome(None, "none", seed=5), plain()
    with isolated(5, "compare"):
        learner, rows = strategy([]), []
        for experience in stream.train_stream:
            learner.train(experience)
            rows.append(accuracies(learner.model, Blobs()))
            learner.eval(stream.test_stream[: len(rows)])
    assert found.curve == pytest.approx([sum(row[: n + 1]) / (n + 1) for n, row in enumerate(rows)], abs=1e-4)
    lost = [max(row[n] for row in rows[n:2]) - rows[2][n] for n in range(2)]
    assert found.forgetting == pytest.approx(sum(lost) / 2, abs=1e-4)


def test_memories_of_the_same_bytes_seed_by_seed(tmp_path):
    said = []
    outcomes = compare(
        plain(), strategy, SIZE, memories=MEMORIES, seeds=2, out=tmp_path / "new" / "folder", say=said.append
    )
    assert [(one.memory, one.seed) for one in outcomes] == [(name, seed) for name in MEMORIES for seed in (0, 1)]
    assert [one.held for one in outcomes[:4]] == [0, 0, SIZE, SIZE]
    assert all(0 < one.held <= SIZE and len(one.curve) == 3 and one.seconds > 0 for one in outcomes[4:])
    assert said[0].startswith("6 runs, about ") and said[1].startswith("none, seed 0: ") and len(said) == 10
    assert (tmp_path / "new/folder/table.md").read_text() == table(outcomes) + "\n"
    assert (tmp_path / "new/folder/accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_a_stopped_comparison_goes_on(tmp_path, monkeypatch):
    whole = compare(plain(), strategy, SIZE, memories=MEMORIES, say=lambda text: None)
    made, outcome = [], Trials.outcome

    def counted(trials, plugin, name, seed):
        made.append(name)
        if len(made) == 3:
            raise KeyboardInterrupt
        return outcome(trials, plugin, name, seed)

    monkeypatch.setattr(Trials, "outcome", counted)
    with pytest.raises(KeyboardInterrupt):
        compare(plain(), strategy, SIZE, memories=MEMORIES, out=tmp_path, say=lambda text: None)
    again = compare(plain(), strategy, SIZE, memories=MEMORIES, out=tmp_path, say=lambda text: None)
    assert made == ["none", "stock", "herded", "herded"] and learned(again) == learned(whole)
    said = []
    compare(plain(), strategy, SIZE, memories=MEMORIES, out=tmp_path, say=said.append)
    assert len(made) == 4 and said[0].strip() == table(again)


def test_what_does_not_fit_is_said_before_anything_is_trained():
    few = {"none": MEMORIES["none"], "few": lambda seed: DMReplayPlugin(mem_bytes=200, kind="herding", **QUICK)}
    never = lambda plugins: pytest.fail("trained")  # noqa: E731
    with pytest.raises(ValueError, match="mem_bytes 200, of 2 images, cannot hold 6 classes"):
        compare(plain(), never, 200, memories=few)
    part = torch.rand(8, 1, 8, 8), torch.arange(8) % 2
    twice = tensors_benchmark(train_tensors=[part, part], test_tensors=[part, part], task_labels=[0, 1])
    with pytest.raises(ValueError, match="mem_bytes 200, of 2 images, cannot hold 4 classes"):
        compare(twice, never, 200, memories=few)
    for wrong in ({}, {"stock": ReplayPlugin(6)}):
        with pytest.raises(ValueError, match="memories must be functions by name"):
            compare(plain(), never, 200, memories=wrong)


def test_images_that_no_memory_takes_are_refused():
    with pytest.raises(ValueError, match="expected images"):
        compare(plain(torch.Tensor.flatten), strategy, SIZE)


def test_a_network_that_was_trained_already_is_refused():
    network = build_network("convnet:width=4,depth=1", (1, 8, 8), 6)
    sgd = torch.optim.SGD(network.parameters(), 0.1)
    again = lambda plugins: Naive(model=network, optimizer=sgd, plugins=plugins, evaluator=None)  # noqa: E731
    with pytest.raises(ValueError, match="strategy has given the network of the run before"):
        compare(plain(), again, SIZE, memories=MEMORIES, say=lambda text: None)


def test_other_plugins_and_buffers_of_other_plugins(tmp_path):
    """One that has no memory holds nothing; a condensed buffer in Avalanche's plugin holds its bytes."""

    def buffer(seed):
        return CondensedBuffer(mem_bytes=SIZE, kind="herding", progress=False, **QUICK)

    memories = {
        "other": lambda seed: EWCPlugin(1.0),
        "buffer": lambda seed: ReplayPlugin(SIZE, storage_policy=buffer(seed)),
    }
    nothing, ours = compare(plain(), strategy, np.int64(SIZE), memories=memories, out=tmp_path, say=lambda text: None)
    assert nothing.held == 0 and 0 < ours.held <= SIZE


def test_warnings_are_the_users_and_not_avalanches():
    """Avalanche's plugin calls what it has deprecated, and switches the filters of that on."""

    def warning(plugins):
        warnings.warn("of the user", stacklevel=1)
        return strategy(plugins)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compare(plain(), warning, SIZE, memories={"stock": MEMORIES["stock"]}, say=lambda text: None)
    assert [str(one.message) for one in caught] == ["of the user"] * 2


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "and at most 3 min of condensing"),
        ({"seconds": 10.0}, "and at most 30 s of condensing"),
        ({"iterations": 20_000}, "and condensing, which has no limit of time"),
        ({"kind": "herding"}, "of training and testing"),
    ],
)
def test_condensing_is_announced_at_its_limit(settings, told):
    plugins = [None, DMReplayPlugin(mem_bytes=600, progress=False, **settings)]
    said = Trials(plain(), strategy).announced(plugins)
    assert said.startswith("2 runs, about ") and said.endswith(told)


def test_a_single_iteration_tells_the_pace():
    def slow(plugins):
        made = strategy(plugins)
        made.train_mb_size, forward = 100, made.model.forward
        made.model.forward = lambda images: [time.sleep(1.0), forward(images)][1]
        return made

    said = Trials(plain(), slow).announced([None])
    assert int(said.split("about ")[1].split()[0]) >= 3


def test_an_online_stream_is_tested_on_the_classes_that_have_come():
    stream = plain()
    stream.train_stream = split_online_stream(stream.train_stream, 8, drop_last=False)
    trials = Trials(stream, strategy)
    assert [len(trials.tests_after(number)) for number in range(9)] == [1] * 3 + [2] * 3 + [3] * 3
    outcome = trials.outcome(None, "none", 0)
    assert len(outcome.curve) == 9 and all(0 <= accuracy <= 100 for accuracy in outcome.curve)


def test_one_test_set_for_all_experiences():
    """As where domains come one after another."""
    parts = [as_classification_dataset(Blobs(each=each)) for each in (4, 6)]
    stream = benchmark_from_datasets(train=parts, test=[as_classification_dataset(Blobs())])
    (outcome,) = compare(stream, strategy, 100, memories={"none": MEMORIES["none"]}, say=lambda text: None)
    assert len(outcome.curve) == 2 and outcome.forgetting == pytest.approx(outcome.curve[0] - outcome.curve[1])


def test_whole_images_are_left_out_where_not_one_of_each_class_fits():
    every = ["no memory", "stock replay", "herded, whole", "herded, by Dct", "condensed, by Dct"]
    least = 6 * (RAW + 8) + 8
    assert list(usual_memories((1, 8, 8), 6, least)) == every
    assert list(usual_memories((1, 8, 8), 6, least - 1)) == [every[0], *every[3:]]
    stock = usual_memories((1, 8, 8), 6, least, 5)["stock replay"](0)
    assert (stock.mem_size, stock.batch_size_mem) == (least // RAW, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda held: held["about"].update(mem_bytes=7), "is of another stream, or of other bytes"),
        (lambda held: held["outcomes"][0].pop("curve"), "is damaged, or no comparison"),
        (lambda held: held.pop("about"), "is damaged, or no comparison"),
    ],
)
def test_a_folder_of_something_else_is_refused(change, message, tmp_path):
    one = {"none": MEMORIES["none"]}
    compare(plain(), strategy, SIZE, memories=one, out=tmp_path, say=lambda text: None)
    held = json.loads((tmp_path / "outcomes.json").read_text())
    change(held)
    (tmp_path / "outcomes.json").write_text(json.dumps(held))
    with pytest.raises(ValueError, match=message):
        compare(plain(), strategy, SIZE, memories=one, out=tmp_path)
    (tmp_path / "outcomes.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged, or no comparison"):
        compare(plain(), strategy, SIZE, memories=one, out=tmp_path)
    with pytest.raises(ValueError, match="is a file; expected a folder"):
        compare(plain(), strategy, SIZE, memories=one, out=tmp_path / "outcomes.json")
    for sizes in ({"mem_bytes": 0}, {"mem_bytes": 9, "seeds": 0}, {"mem_bytes": 9, "batch_size_mem": 0}):
        with pytest.raises(ValueError, match="must be a whole number of at least 1, got 0"):
            compare(plain(), strategy, **sizes)


def test_the_table_has_means_and_deviations():
    outcomes = [Outcome("a", seed, [50.0, end], 4.0 + seed, 1000, 10.0) for seed, end in enumerate((20.0, 22.0))]
    row = [cell.strip() for cell in table(outcomes).splitlines()[2].split("|")[1:-1]]
    assert row == ["a", "1,000", "21.0 ± 1.0", "4.5", "10"]


@pytest.mark.filterwarnings("ignore")
def test_from_the_command_line(tmp_path, capsys, monkeypatch):
    usual = comparison.usual_memories
    few = lambda *sizes, **replay: {k: v for k, v in usual(*sizes, **replay).items() if "con" not in k}  # noqa: E731
    monkeypatch.setattr(comparison, "usual_memories", few)
    monkeypatch.setattr(of_the_command_line, "_quieten_avalanche", lambda: None)
    words = ["compare", "--network", "convnet:width=4,depth=1", "--out", str(tmp_path / "x")]
    assert main([*words, "--quiet"]) == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "x" / "table.md").read_text() and printed.count("\n") == 6
    assert main([*words, "--experiences", "11"]) == 2
    assert "experiences must be at most 10, one for each class, got 11" in capsys.readouterr().err
