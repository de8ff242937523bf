"""Single measurements go through at the smallest size, and say what they say they do."""

import json
import sys

import pytest

import dm_replay


@pytest.fixture
def run(elsewhere, monkeypatch):
    """A script's ``main`` with the words of its command line; the rows that it adds."""

    def run(script, *words):
        monkeypatch.setattr(sys, "argv", [f"benchmarks/{script.__name__.split('.')[-1]}.py", *words])
        script.main()
        file = elsewhere / f"{script.__name__.split('.')[-1]}.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()]

    return run


@pytest.mark.filterwarnings("ignore")
def test_where_sets_lie_among_real_images(run, elsewhere):
    from benchmarks import distribution

    words = "--dataset digits --ipc 4 --method random fast --real 30 --train-steps 3 --seconds 0.3"
    rows = run(distribution, *words.split())
    assert {row["method"]: row["distance_of_means"] > 0 for row in rows} == {"random/whole": True, "fast/dct": True}
    assert rows[0]["command"].startswith("python -m benchmarks.distribution --dataset digits")
    assert (elsewhere / "distribution.png").read_bytes().startswith(b"\x89PNG")


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
def test_imagenet_is_planned_from_a_tree_of_its_shape(run, tree, monkeypatch):
    from benchmarks import imagenet_plan

    monkeypatch.setattr(imagenet_plan, "in_a_process", lambda work, *arguments: work(*arguments))
    monkeypatch.setattr(imagenet_plan.packing, "IN_MEMORY", imagenet_plan.packing.IN_MEMORY)
    (row,) = run(imagenet_plan, *["--quick", "--size", "16", "--compile", "no", "--root"], str(tree))
    assert [row[f"tree.{name}"] for name in ("pictures", "classes", "pixels")] == [28, 2, 28 * 40 * 30]
    assert row["imagenet.pack, GB"] == pytest.approx(1_331_167 * 3 * 16 * 16 / 1e9)
    step = row["condensing.paper.seconds"]
    assert row["imagenet.paper, 20000 iterations, hours"] == pytest.approx(step * 20_000 * 500 / 3600)
    assert row["imagenet.memory while condensing, GiB"] > dm_replay.Machine.memory_budget
