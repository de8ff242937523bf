"""The scripts of the paper's tables go through on digits, resume, and write whole cells; not a word of how well."""

import json
import shlex
import sys
from pathlib import Path

import pytest

import dm_replay

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = "--dataset digits --steps 3"
BRIEF = "--seconds 0.3"
NARROW = "convnet:width=8,depth=2"
RUNS = {
    "offline": f"--ipc 2 --methods random k-means dm fast --network {NARROW} --runs 2 {BRIEF}",
    "cross_arch": f"--ipc 2 --methods dm 'our code, herding' --learned mlp --trained mlp lenet {BRIEF}",
    "continual_gdumb": f"--ipc 2 --methods random fast --network {NARROW} --orders 0 1 {BRIEF}",
    "nas": f"--ipc 2 --methods random fast --subsample 3 --widest 32 --whole-steps 4 {BRIEF}",
    "iterations": "--ipc 2 --methods dm --at 1 3",
    "equal_bytes": f"--ipc 4 --cells random fast --network {NARROW} {BRIEF}",
}
OTHERS = {
    "imagenet_plan": "--quick --size 16 --compile no --root",
    "distribution": f"--dataset digits --ipc 4 --methods random fast --real 30 --train-steps 3 {BRIEF}",
}
CELLS = {"offline": 4, "cross_arch": 4, "continual_gdumb": 20, "nas": 12, "iterations": 2, "equal_bytes": 2}


@pytest.fixture
def script(request, tmp_path, monkeypatch):
    """A benchmark whose results and sets go to a folder of its own."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import common
    import sets

    words = shlex.split(OTHERS.get(request.param) or f"{SMALL} {RUNS[request.param]}")
    module = __import__(request.param)
    for one in (common, module):
        monkeypatch.setattr(one, "RESULTS", tmp_path / "benchmarks" / "results", raising=False)
    monkeypatch.setattr(sets, "SETS", tmp_path / "sets")
    monkeypatch.setattr(module, "KEPT", tmp_path / "kept", raising=False)
    monkeypatch.setattr(sys, "argv", [f"benchmarks/{request.param}.py", *words])
    return module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("script", sorted(RUNS), indirect=True)
def test_it_goes_through_and_does_nothing_twice(script, tmp_path, capsys):
    script.main()
    file = tmp_path / "benchmarks/results" / f"{script.__name__}.json"
    cells = json.loads(file.read_text())
    assert len(cells) == CELLS[script.__name__]
    for cell in cells.values():
        assert cell["mean"] == pytest.approx(sum(cell["accuracies"]) / len(cell["accuracies"]))
        assert cell["dataset"] == "digits" and cell["command"].startswith("python benchmarks/")
        assert cell["bytes"] > 0 and cell["training_images"] > 0
        if "budget" in cell and script.__name__ != "iterations":
            assert bool(cell["budget"]) == bool(cell["made"])
    before = file.stat().st_mtime_ns
    capsys.readouterr()
    script.main()
    assert file.stat().st_mtime_ns == before and "wrote" not in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("script", ["offline"], indirect=True)
def test_a_cell_with_fewer_networks_gets_those_it_lacks(script, tmp_path, monkeypatch):
    script.main()
    file = tmp_path / "benchmarks/results/offline.json"
    two = json.loads(file.read_text())
    for cell in two.values():
        (origin,) = cell["origins"]
        assert origin["networks"] == 2
        origin["device"] = "another"
    file.write_text(json.dumps(two))
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--runs", "3"])
    script.main()
    three = json.loads(file.read_text())
    assert list(three) == list(two)
    for key, cell in three.items():
        assert len(cell["accuracies"]) == 3 and cell["accuracies"][:2] == two[key]["accuracies"]
        assert [origin["networks"] for origin in cell["origins"]] == [2, 1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("script", ["offline"], indirect=True)
def test_the_offline_table_says_what_a_set_took(script, tmp_path, capsys):
    script.main()
    cells = json.loads((tmp_path / "benchmarks/results/offline.json").read_text())
    (row,) = [
        line
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("| digits, 2, ") and "| 3 steps |" in line
    ]
    random, kmeans, dm, fast = [cell for cell in row.strip("| ").split(" | ")][2:6]
    mean = next(cell["mean"] for cell in cells.values() if cell["method"] == "dm")
    assert dm.startswith(f"{mean:.1f} ± ") and dm.endswith("(0.3 s)") and "(" not in random + kmeans


@pytest.mark.parametrize("script", ["nas"], indirect=True)
def test_the_space_is_the_papers(script):
    names = script.space()
    assert len(names) == len(set(names)) == 720
    assert len(script.space(image_shape=(1, 8, 8))) == 720 - 2 * 4 * 3 * 5, "no depth 4 with pooling"
    for name in names[::37]:
        dm_replay.build_network(name, (3, 32, 32), 10)
    assert script.subsample(names, 24)[:10] == script.subsample(names, 10)


@pytest.mark.parametrize("script", ["continual_gdumb"], indirect=True)
def test_class_orders_are_the_papers(script):
    import numpy
    import torch

    data = dm_replay.load_dataset("digits")
    for order in (0, 3):
        numpy.random.seed(order)
        expected = numpy.random.permutation(10)
        steps = script.in_steps(data, 5, order)
        assert [sorted(part.tolist()) for part in expected.reshape(5, 2)] == [part.tolist() for part in steps]
        assert torch.cat(steps).sort().values.tolist() == list(range(10))


@pytest.mark.parametrize("script", ["offline"], indirect=True)
def test_published_figures_are_read_from_their_file(script):
    from targets import published, targets

    assert str(published("offline", dataset="cifar10", ipc=10, method="dm")) == "48.9 ± 0.6"
    assert str(published("offline", dataset="mnist", ipc=1, method="dm")) == "89.7 (unverified)"
    assert str(published("offline", dataset="cifar10", ipc=50, method="dm")) == "63.0 ± 0.4"
    assert str(published("nas correlation", method="random")) == "-0.04 (unverified)"
    assert published("offline", dataset="digits") is None
    assert all(target.source and 0 <= target.mean <= 100 for target in targets() if target.table != "nas correlation")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("script", ["distribution"], indirect=True)
def test_where_sets_lie_among_real_images(script, tmp_path):
    script.main()
    about = json.loads((tmp_path / "benchmarks/results/distribution.json").read_text())
    assert set(about["distance_of_means"]) == {"random", "fast"}
    assert (tmp_path / "benchmarks/results/distribution.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture
def tree(tmp_path):
    """Two classes of twelve pictures for training and two for testing, 40 x 30 pixels."""
    from PIL import Image

    root = tmp_path / "tree"
    for part, count in (("train", 12), ("val", 2)):
        for name in ("n01", "n02"):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (40, 30), (number, 9, 99)).save(root / part / name / f"{number}.png")
    return root


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("script", ["imagenet_plan"], indirect=True)
def test_imagenet_is_planned_from_a_tree_of_its_shape(script, tree, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [*sys.argv, str(tree)])
    monkeypatch.setattr(script, "in_a_process", lambda work, *arguments: work(*arguments))
    monkeypatch.setattr(script.packing, "IN_MEMORY", script.packing.IN_MEMORY)
    script.main()
    about = json.loads((tmp_path / "benchmarks/results/imagenet_plan.json").read_text())
    assert about["tree"] == {"pictures": 28, "classes": 2, "pixels": 28 * 40 * 30}
    planned = about["imagenet"]
    assert planned["pack, GB"] == pytest.approx(1_331_167 * 3 * 16 * 16 / 1e9)
    step = about["condensing"]["paper"]["seconds"]
    assert planned["paper, 20000 iterations, hours"] == pytest.approx(step * 20_000 * 500 / 3600)
    assert planned["memory while condensing, GiB"] > dm_replay.CondenseConfig.memory_budget


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("script", ["iterations"], indirect=True)
def test_a_run_over_iterations_goes_on_where_it_was_stopped(script, tmp_path, monkeypatch):
    import torch

    script.main()
    (whole,) = (tmp_path / "kept").glob("*_3.pt")
    monkeypatch.setattr(script, "KEPT", tmp_path / "again")
    (tmp_path / "benchmarks/results/iterations.json").unlink()
    save, saved = script.save_sealed, []

    def save_and_stop(state, file):
        save(state, file)
        saved.append(state["iteration"])
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(script, "SECONDS_BETWEEN_CHECKPOINTS", -1)
    monkeypatch.setattr(script, "save_sealed", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        script.main()
    script.main()
    assert saved == [1, 2, 3], "the third iteration alone was made anew"
    assert sorted(file.name for file in (tmp_path / "again").iterdir()) == sorted(
        file.name for file in (tmp_path / "kept").iterdir()
    )
    again = dm_replay.CondensedSet.load(tmp_path / "again" / whole.name)
    assert torch.equal(again.pixels, dm_replay.CondensedSet.load(whole).pixels)
