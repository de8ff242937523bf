"""The grids of the paper's tables go through on digits, resume, and write whole rows; not a word of how well."""

import json
import shlex
from pathlib import Path

import pytest

import dm_replay

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = "--dataset digits --steps 3"
BRIEF = "--seconds 0.3"
NARROW = "convnet:width=8,depth=2"
RUNS = {
    "offline": f"--ipc 2 --method random kmeans paper fast --network {NARROW} --runs 2 {BRIEF}",
    "cross_arch": f"--ipc 2 --method paper herding/dct --learned mlp --network mlp lenet {BRIEF}",
    "continual": f"--ipc 2 --method random fast --network {NARROW} --order 0 1 {BRIEF}",
    "nas": f"--ipc 2 --method random fast 'early stopping' whole --subsample 3 --widest 32 --whole-steps 4 {BRIEF}",
    "iterations": "--ipc 2 --method paper --iterations 3 --at 1 3",
    "equal_bytes": f"--ipc 4 --method random fast --network {NARROW} {BRIEF}",
    "efficiency": f"--ipc 4 --method fast --network {NARROW} --seconds 0.2 0.3",
    "nested": f"--ipc 3 --length 1 3 --weighting random 0.05 alone --network {NARROW} --runs 1 --seed 0 --iterations 2",
}
ROWS = {"offline": 8, "cross_arch": 4, "continual": 20, "nas": 12, "iterations": 2, "equal_bytes": 2}
ROWS |= {"efficiency": 2, "nested": 6}


@pytest.fixture
def networks(elsewhere):
    from benchmarks import networks

    return networks


def words_of(grid):
    return [grid, *shlex.split(f"{SMALL} {RUNS[grid]}"), *(["--epochs", "2"] if grid == "nested" else [])]


def rows_of(folder, grid):
    return [json.loads(line) for line in (folder / f"{grid}.jsonl").read_text().splitlines()]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("grid", sorted(RUNS))
def test_it_goes_through_and_does_nothing_twice(networks, elsewhere, grid, capsys):
    networks.main(words_of(grid))
    rows = rows_of(elsewhere, grid)
    assert len(rows) == ROWS[grid] and {row["grid"] for row in rows} == {grid}
    for row in rows:
        assert row["dataset"] == "digits" and row["bytes"] > 0 and row["training_images"] > 0
        assert 0 <= row["accuracy"] <= 100 and row["seconds"] > 0 and row["evaluation.steps_made"] > 0
        learned = row["method"].startswith(("paper", "fast"))
        assert (row["learned"] is not None) == learned == ("config.lr_img" in row)
        assert bool(row["iterations"] or row["seconds_allowed"]) == learned
    capsys.readouterr()
    networks.main(words_of(grid))
    assert len(rows_of(elsewhere, grid)) == len(rows) and "cell 1" not in capsys.readouterr().out


def test_every_grid_of_the_script_is_run_here_and_has_a_quick_way(networks, shape_of_cifar):
    from benchmarks.grids import GRIDS
    from benchmarks.runner import cells

    assert set(GRIDS) == set(RUNS)
    for grid in GRIDS.values():
        assert grid.quick and grid.quick.keys() <= grid.axes.keys()
        assert len(cells(grid, {**grid.axes, **grid.quick})) > 0


@pytest.mark.filterwarnings("ignore")
def test_quick_values_yield_to_given_ones(networks, elsewhere):
    networks.main(["efficiency", "--quick", *shlex.split(f"{SMALL} {RUNS['efficiency']}")])
    assert {(row["steps"], row["seconds_allowed"]) for row in rows_of(elsewhere, "efficiency")} == {(3, 0.2), (3, 0.3)}
    from benchmarks.grids import GRIDS
    from benchmarks.runner import _parsed

    asked = _parsed(GRIDS, None, ["efficiency", "--quick"])
    assert asked.seconds_allowed == [60.0] and asked.steps == [300] and asked.ipc == [10]


@pytest.mark.filterwarnings("ignore")
def test_a_cell_with_fewer_networks_gets_those_it_lacks(networks, elsewhere):
    networks.main(words_of("offline"))
    two = rows_of(elsewhere, "offline")
    networks.main([*words_of("offline"), "--runs", "3"])
    three = rows_of(elsewhere, "offline")
    assert three[: len(two)] == two and [row["run"] for row in three[len(two) :]] == [2] * 4
    networks.main([*words_of("offline"), "--runs", "2"])
    assert rows_of(elsewhere, "offline") == three


@pytest.mark.filterwarnings("ignore")
def test_the_offline_table_says_what_a_set_took(networks, elsewhere, capsys):
    networks.main(words_of("offline"))
    rows = rows_of(elsewhere, "offline")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| digits, 2, ")]
    random, kmeans, dm, fast = line.strip("| ").split(" | ")[2:6]
    found = [row["accuracy"] for row in rows if row["method"] == "paper/whole"]
    assert dm.startswith(f"{sum(found) / 2:.1f} ± ") and dm.endswith("(0.3 s)") and "(" not in random + kmeans


def test_a_method_that_is_not_known(networks):
    with pytest.raises(ValueError, match="'paper/gif' has 'gif'; choose from whole, .*, or give a MODULE:CLASS"):
        networks.main(["offline", "--dataset", "digits", "--method", "paper/gif"])


def test_the_space_is_the_papers(networks):
    from benchmarks.grids import space, subsample

    names = space()
    assert len(names) == len(set(names)) == 720
    assert len(space(image_shape=(1, 8, 8))) == 720 - 2 * 4 * 3 * 5, "no depth 4 with pooling"
    for name in names[::37]:
        dm_replay.build_network(name, (3, 32, 32), 10)
    assert subsample(names, 24)[:10] == subsample(names, 10)


def test_class_orders_are_the_papers(networks):
    import numpy
    import torch

    from benchmarks.sets import in_steps

    data = dm_replay.load_dataset("digits")
    for order in (0, 3):
        numpy.random.seed(order)
        expected = numpy.random.permutation(10)
        steps = in_steps(data, 5, order)
        assert [sorted(part.tolist()) for part in expected.reshape(5, 2)] == [part.tolist() for part in steps]
        assert torch.cat(steps).sort().values.tolist() == list(range(10))


@pytest.mark.filterwarnings("ignore")
def test_a_run_over_iterations_goes_on_where_it_was_stopped(networks, elsewhere, monkeypatch):
    import torch

    from benchmarks import sets

    networks.main(words_of("iterations"))
    (whole,) = sets.SETS.glob("*/3.pt")
    monkeypatch.setattr(sets, "SETS", elsewhere.parent / "again")
    (elsewhere / "iterations.jsonl").unlink()
    save, saved = sets.save_sealed, []

    def save_and_stop(state, file):
        save(state, file)
        saved.append(state["iteration"])
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(sets, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    monkeypatch.setattr(sets, "save_sealed", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        networks.main(words_of("iterations"))
    networks.main(words_of("iterations"))
    assert saved == [1, 2, 3], "the third iteration alone was made anew"
    (again,) = sets.SETS.glob("*/3.pt")
    assert sorted(file.name for file in again.parent.iterdir()) == sorted(file.name for file in whole.parent.iterdir())
    once, twice = (dm_replay.ImageSet.load(file) for file in (whole, again))
    assert torch.equal(once.values, twice.values)


@pytest.mark.filterwarnings("ignore")
def test_a_reducer_and_a_codec_of_ones_own(networks, elsewhere, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    own = [f"{reducer}/own_codec:EverySecondPixel" for reducer in ("own_reducer:MeanImage", "random", "fast")]
    words = f"offline {SMALL} --ipc 2 --network {NARROW} --iterations 2 --method".split()
    networks.main([*words, *own])
    rows = {row["method"]: row for row in rows_of(elsewhere, "offline")}
    assert list(rows) == own and {row["codec.is"] for row in rows.values()} == {"EverySecondPixel"}
    quarter = 4 * 4 + 8
    allowed = 2 * (8 * 8 + 8)
    many = [10 * each for each in (1, allowed // quarter, allowed // quarter)]
    assert [(row["training_images"], row["bytes"]) for row in rows.values()] == [(k, k * quarter) for k in many]
