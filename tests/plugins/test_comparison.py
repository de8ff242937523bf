"""compare(): the same strategy with each memory, kept in a folder, and shown."""

import json

import pytest
import torch
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import as_classification_dataset
from avalanche.training.plugins import ReplayPlugin
from avalanche.training.supervised import Naive
from streams import QUICK, Blobs, plain

from dm_replay import DMReplayPlugin, build_network, compare
from dm_replay.cli import streams as of_the_command_line
from dm_replay.cli.__main__ import main
from dm_replay.plugins import comparison
from dm_replay.plugins.comparison import outcome_of, usual_memories
from dm_replay.plugins.outcomes import Outcome, table
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
    found, stream = outcome_of(plain(), strategy, None, "none", seed=5), plain()
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
    made, outcome = [], comparison.outcome_of

    def counted(stream, strategy, plugin, name, seed):
        made.append(name)
        if len(made) == 3:
            raise KeyboardInterrupt
        return outcome(stream, strategy, plugin, name, seed)

    monkeypatch.setattr(comparison, "outcome_of", counted)
    with pytest.raises(KeyboardInterrupt):
        compare(plain(), strategy, SIZE, memories=MEMORIES, out=tmp_path, say=lambda text: None)
    again = compare(plain(), strategy, SIZE, memories=MEMORIES, out=tmp_path, say=lambda text: None)
    assert made == ["none", "stock", "herded", "herded"] and learned(again) == learned(whole)
    said = []
    compare(plain(), strategy, SIZE, memories=MEMORIES, out=tmp_path, say=said.append)
    assert len(made) == 4 and said[0].strip() == table(again)


def test_what_does_not_fit_is_said_before_anything_is_trained():
    few = {"none": MEMORIES["none"], "few": lambda seed: DMReplayPlugin(mem_bytes=200, kind="herding", **QUICK)}
    with pytest.raises(ValueError, match="mem_bytes 200, of 2 images, cannot hold 6 classes"):
        compare(plain(), lambda plugins: pytest.fail("trained"), 200, memories=few)


def test_condensing_is_announced_at_its_patience():
    stream = plain()
    condensed = DMReplayPlugin(mem_bytes=600, progress=False)
    said = comparison._announced(stream, strategy, [None, condensed])
    assert said.startswith("2 runs, about ") and said.endswith("and at most 3 min of condensing")
    assert "condensing" not in comparison._announced(stream, strategy, [None, ReplayPlugin(6)])


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
    stock = usual_memories((1, 8, 8), 6, least, batch_size_mem=5)["stock replay"](0)
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
