"""The stream benchmarks go through, on digits, for every kind of memory; nothing is said of how well."""

import json
from pathlib import Path

import pytest

METHODS = ["naive", "joint", "stock", "herding/whole", "herding/quarter", "herding/dct", "fast/dct", "mixed/dct"]
METHODS += ["gdumb herding/whole", "gdumb fast/dct"]
EXAMPLES = Path(__file__).parents[2] / "examples"
WORDS = [
    "split",
    "--dataset",
    "digits",
    "--images",
    "20",
    "--experiences",
    "5",
    "--epochs",
    "1",
    "--seconds",
    "0.2",
    "--network",
]
NARROW, NORM = "convnet:width=8,depth=2", "convnet:width=8,depth=2,norm=batch"


@pytest.fixture
def streams(elsewhere):
    from benchmarks import streams

    return streams


def rows_of(folder, grid):
    return [json.loads(line) for line in (folder / f"{grid}.jsonl").read_text().splitlines()]


@pytest.mark.filterwarnings("ignore")
def test_a_stream_with_every_memory(streams, elsewhere, capsys):
    streams.main([*WORDS, NARROW, "--method", *METHODS])
    rows = rows_of(elsewhere, "split")
    assert [row["method"] for row in rows] == METHODS
    for row in rows:
        after = 1 if row["method"] == "joint" else 5
        assert len(row["matrix"]) == after == len(row["bytes_each"]) and all(len(line) == 5 for line in row["matrix"])
        assert 0 <= row["accuracy"] <= 100 and row["bytes"] <= 20 * 64
        assert row["accuracy"] == pytest.approx(sum(row["matrix"][-1]) / 5)
        assert (row["bytes"] > 0) == (row["method"] not in ("naive", "joint")) == (row["images"] is not None)
    assert (elsewhere / "split_digits.png").read_bytes().startswith(b"\x89PNG")

    kept = sorted((elsewhere.parent / "kept").rglob("*.pt"))
    assert len(kept) == 5 * 5, "made once for a kind, whatever uses it"
    capsys.readouterr()
    streams.main([*WORDS, NARROW, "--method", *METHODS])
    out = capsys.readouterr().out
    assert rows_of(elsewhere, "split") == rows and "cell 1" not in out and "| in the bytes of | 20 images |" in out


@pytest.mark.filterwarnings("ignore")
def test_with_batch_norm_half_of_the_current_images_have_the_memorys_resolution(streams, elsewhere):
    streams.main([*WORDS, NARROW, NORM, "--method", "stock", "herding/8bit", "herding/dct", "gdumb herding/8bit"])
    rows = rows_of(elsewhere, "split")
    assert {row["match_resolution"] for row in rows if row["network"] == NARROW} == {0}
    norm = {row["method"]: row["match_resolution"] for row in rows if row["network"] == NORM}
    assert norm == {"stock": 0, "herding/8bit": 0.5, "herding/dct": 0.5, "gdumb herding/8bit": 0}
    streams.main([*WORDS, NORM, "--method", "herding/8bit", "--match-resolution", "0"])
    assert rows_of(elsewhere, "split")[-1]["match_resolution"] == 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("stream", "method", "augment"),
    [
        ("returning 2", "balanced", "none"),
        ("domains", "fast/8bit", "replay"),
        ("instances", "herding/8bit", "none"),
        ("blurry", "herding/8bit", "replay"),
        ("online", "herding/8bit", "none"),
        ("hidden", "reservoir", "none"),
    ],
)
def test_streams_as_people_have_them(streams, elsewhere, stream, method, augment):
    words = ["ordinary", "--seed", "0", "--images", "100", "--iterations", "2", "--network", NARROW]
    streams.main([*words, "--stream", stream, "--method", method, "--augment", augment])
    (row,) = rows_of(elsewhere, "ordinary")
    online = stream in ("online", "hidden")
    assert row["epochs"] == (1 if online else 4) and row["batch"] == row["replay"] == (10 if online else 16)
    assert len(row["matrix"]) == 1 and len(row["matrix"][0]) == (3 if stream == "domains" else 1)
    assert 0 < row["bytes"] <= row["images"] * 64


def test_larger_memories_are_for_online_streams_and_plain_replay_is_of_others(streams):
    from benchmarks.runner import cells

    grid = streams.GRIDS["ordinary"]
    found = {(c["stream"], c["method"], c["augment"], c["images"]) for c in cells(grid, grid.axes)}
    assert {images for stream, *_, images in found if stream == "tens"} == {100}
    assert {images for stream, *_, images in found if stream == "hidden"} == {100, 500, 1000, 2000}
    assert {augment for _, method, augment, _ in found if method == "balanced"} == {"none"}


@pytest.mark.filterwarnings("ignore")
def test_the_online_protocol_beside_what_others_have(streams, elsewhere, capsys):
    brief = ["--dataset", "digits", "--seconds", "0.2", "--images", "20", "--experiences", "2", "--network"]
    streams.main(["online", *brief, NARROW, "--method", "stock", "herding/dct"])
    (row, _) = rows_of(elsewhere, "online")
    assert (row["batch"], row["replay"], row["lr"], row["momentum"]) == (10, 100, 0.1, 0.0)
    assert "| *SSD with nearest class mean, published* |" in capsys.readouterr().out


def test_every_grid_has_a_quick_way(streams):
    from benchmarks.runner import cells

    for grid in streams.GRIDS.values():
        assert grid.quick and grid.quick.keys() <= grid.axes.keys()
        assert len(cells(grid, {**grid.axes, **grid.quick})) > 0


def test_panels_have_one_scale_and_every_method_a_name(elsewhere, monkeypatch):
    from benchmarks import results, stream_tables

    drawn = []
    monkeypatch.setattr(results, "save_figure", lambda figure, name: drawn.append(figure))
    same = {**stream_tables.PROTOCOL, "seed": 0, "match_resolution": 0.0}
    points = [("one", "stock", 10.0), ("one", "herding/code", 30.0), ("two", "herding/dct", 70.0)]
    rows = [
        same | dict(network=network, method=method, images=images, matrix=[[50.0, 0.0], [40.0, 50.0]], accuracy=value)
        for network, method, value in points
        for images in (100, 200)
    ]
    rows.append(rows[0] | {"network": "of one size"})
    rows += [rows[3] | {"match_resolution": 0.5, "accuracy": 90.0}, rows[3] | {"epochs": 4, "accuracy": 90.0}]
    results.append("split", rows)
    stream_tables.draw(results.read("split"))
    (figure,) = drawn
    over_time, one, two = figure.axes
    assert max(one.lines[1].get_ydata()) == 30
    assert one.get_ylim() == two.get_ylim() and one.get_ylim()[1] > 70
    names = [stream_tables.NAMES[method].replace("`", "") for method in ("stock", "herding/code", "herding/dct")]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == names


@pytest.mark.filterwarnings("ignore")
def test_a_reducer_and_a_codec_of_ones_own(streams, elsewhere, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES)
    method = "own_reducer:MeanImage/own_codec:EverySecondPixel"
    streams.main([*WORDS, NARROW, "--method", method, "gdumb own_reducer:MeanImage"])
    own, gdumb = rows_of(elsewhere, "split")
    assert own["bytes_each"] == [8 + 2 * k * (4 * 4 + 8) for k in range(1, 6)], "a map, an image of each class"
    assert own["seconds_allowed"] is None and gdumb["method"] == "gdumb own_reducer:MeanImage/whole"
    assert f"| {method} |" in capsys.readouterr().out
