"""Pictures show real pixel values, each class in its row."""

import numpy as np
import pytest
import torch
from PIL import Image
from sets import of_values

from dm_replay import PLAIN, ImageSet, Tiles
from dm_replay.condensed.export import GAP, animate, class_name, grid, real_pixels, save_picture

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]


def normalized(pixels, mean=MEAN, std=STD):
    channels = pixels.shape[1]
    mean, std = (torch.tensor(values[:channels])[:, None, None] for values in (mean, std))
    return (pixels / 255 - mean) / std


@pytest.mark.parametrize("storage", ["float32", "uint8"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_the_real_ones(generator, channels, storage):
    pixels = torch.randint(0, 256, (4, channels, 8, 8), generator=generator)
    meta = {"mean": MEAN[:channels], "std": STD[:channels]}
    condensed = ImageSet.from_images(normalized(pixels), torch.arange(4), PLAIN.but(storage=storage), meta=meta)
    shown = torch.from_numpy(real_pixels(condensed)).permute(0, 3, 1, 2)
    assert shown.dtype == torch.uint8 and (shown.int() - pixels).abs().max() <= (storage == "uint8")


def test_without_mean_and_std_each_channel_fills_the_range(generator):
    shown = real_pixels(ImageSet.from_images(torch.randn(4, 3, 8, 8, generator=generator), torch.arange(4)))
    assert (shown.min((0, 1, 2)) == 0).all() and (shown.max((0, 1, 2)) == 255).all()


def cell(picture, row, column, side, columns):
    """The pixels of one image of a grid."""
    pixels = np.asarray(picture)
    left = pixels.shape[1] - (columns - column) * (side + GAP)
    top = GAP + row * (side + GAP)
    return pixels[top : top + side, left : left + side]


def test_classes_are_rows_whatever_their_order_and_small_images_are_enlarged():
    colors = torch.tensor([[200, 0, 0], [0, 100, 0], [0, 0, 50], [10, 20, 30]])
    pixels = colors[:, :, None, None].expand(4, 3, 8, 8)
    labels = torch.tensor([7, 2, 7, 2])
    condensed = ImageSet.from_images(normalized(pixels), labels, meta={"mean": MEAN, "std": STD})
    picture = grid(condensed)
    for row, column, image in ((0, 0, 1), (0, 1, 3), (1, 0, 0), (1, 1, 2)):
        assert (cell(picture, row, column, 48, 2) == colors[image].numpy()).all()
    assert grid(condensed, classes=1).height < picture.height
    assert grid(condensed, per_class=1).width < picture.width


def test_class_names_stand_beside_their_rows():
    condensed = ImageSet.from_images(torch.zeros(2, 1, 64, 64), torch.tensor([0, 1]))
    named = condensed.with_meta(names=["a", "a name of some length"])
    assert grid(named).width > grid(condensed).width and grid(named).height == grid(condensed).height


def test_a_label_that_has_no_name_is_shown_itself():
    named = ImageSet.from_images(torch.zeros(1, 1, 4, 4), torch.tensor([0]), meta={"names": ["ant", "bee"]})
    assert [class_name(named, label) for label in (-1, 0, 1, 2)] == ["-1", "ant", "bee", "2"]


def test_an_animation_has_a_frame_for_each_snapshot(tmp_path):
    frames = [tmp_path / f"iter_{iteration:06d}.png" for iteration in (1, 20, 400)]
    for value, frame in zip((0, 100, 200), frames, strict=True):
        save_picture(Image.new("RGB", (40, 30), (value,) * 3), frame)
    animate(frames, tmp_path / "run.gif")
    with Image.open(tmp_path / "run.gif") as animation:
        assert animation.n_frames == 3
        for number, value in enumerate((0, 100, 200)):
            animation.seek(number)
            assert animation.convert("RGB").getpixel((20, animation.height - 5)) == (value,) * 3


@pytest.mark.parametrize(("channels", "shown"), [(2, [75] * 3), (4, [50, 100, 150]), (9, [50, 100, 150])])
def test_images_of_other_numbers_of_channels(channels, shown):
    """Two are shown by their mean, as gray; of more than three the first three, as RGB."""
    values = torch.tensor([50.0, 100, 150, 200, 250, 250, 250, 250, 250][:channels])
    pixels = values[None, :, None, None].expand(1, channels, 8, 8)
    meta = {"mean": [0.5] * channels, "std": [0.25] * channels}
    condensed = ImageSet.from_images((pixels / 255 - 0.5) / 0.25, torch.tensor([0]), meta=meta)
    assert real_pixels(condensed).shape == (1, 8, 8, channels)
    assert (cell(grid(condensed), 0, 0, 48, 1) == np.array(shown)).all()


def test_names_leave_room_and_belong_to_their_labels():
    condensed = ImageSet.from_images(torch.zeros(1, 1, 64, 64), torch.tensor([0]))
    width = grid(condensed).width
    for name in ("x" * 10_000, "two\nlines"):
        assert grid(condensed.with_meta(names=[name])).width < width + 600
    assert class_name(condensed.with_meta(names=["a", "b"]), -1) == "-1"


@pytest.mark.parametrize("limits", [{"classes": 0}, {"classes": -1}, {"per_class": 0}], ids=str)
def test_bad_limits(limits):
    condensed = ImageSet.from_images(torch.zeros(1, 1, 8, 8), torch.tensor([0]))
    with pytest.raises(ValueError, match="must be at least 1, got"):
        grid(condensed, **limits)


def test_nothing_is_written_under_a_suffix_that_it_has_not(tmp_path):
    picture = Image.new("RGB", (40, 30))
    save_picture(picture, tmp_path / "iter_000001.png")
    with pytest.raises(ValueError, match="expected a name that ends in .png"):
        save_picture(picture, tmp_path / "x.jpg")
    with pytest.raises(ValueError, match="expected a name that ends in .gif"):
        animate([tmp_path / "iter_000001.png"], tmp_path / "x.png")
    assert [path.name for path in tmp_path.iterdir()] == ["iter_000001.png"]


def test_a_damaged_snapshot_names_itself(tmp_path, monkeypatch):
    frame = tmp_path / "iter_000001.png"
    save_picture(Image.new("RGB", (40, 30)), frame)
    with monkeypatch.context() as patch, pytest.raises(ValueError, match="cannot read the snapshot .*iter_000001.png"):
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        animate([frame], tmp_path / "run.gif")
    frame.write_bytes(frame.read_bytes()[:60])
    with pytest.raises(ValueError, match="cannot read the snapshot .*iter_000001.png"):
        animate([frame], tmp_path / "run.gif")


@pytest.mark.parametrize("meta", [{}, {"mean": [0.5] * 3, "std": [0.2] * 3}])
def test_large_images_are_decoded_a_few_at_a_time(meta, monkeypatch, generator):
    images = torch.randn(7, 3, 8, 8, generator=generator)
    condensed = of_values(images, torch.arange(7), Tiles(2, "linear", storage="uint8"), meta=meta)
    whole, taken, right = real_pixels(condensed), [], ImageSet.decode
    monkeypatch.setattr(ImageSet, "decode", lambda self, rows: taken.append(len(rows)) or right(self, rows))
    monkeypatch.setattr("dm_replay.condensed.export.PIXELS", 5 * 64 + 63)
    assert (real_pixels(condensed) == whole).all() and max(taken) == 5
