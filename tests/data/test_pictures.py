"""Pictures of every kind that Pillow writes, in real files."""

import numpy as np
import pytest
from PIL import Image

from dm_replay.data.image_files import pixels_of, read_rgb
from dm_replay.data.pool import TensorPool

SIXTEEN = np.array([[0, 128, 129, 385, 386, 40_000, 65_406, 65_535]], np.uint16).repeat(3, 0)
EIGHT = np.rint(SIXTEEN / 257).astype(np.uint8)


def written(path, image):
    if path.suffix == ".pgm":
        path.write_bytes(b"P5 8 3 65535\n" + SIXTEEN.astype(">u2").tobytes())
    else:
        image.save(path)
    return path


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.pgm", "big_endian.tif"])
def test_sixteen_bits_are_scaled_to_eight(tmp_path, name):
    big = Image.frombytes("I;16B", (8, 3), SIXTEEN.astype(">u2").tobytes())
    path = written(tmp_path / name, big if name.startswith("big") else Image.fromarray(SIXTEEN))
    assert read_rgb(path).shape == (3, 3, 8) and (read_rgb(path) == EIGHT).all()
    with Image.open(path) as image:
        assert pixels_of(image).shape == (1, 3, 8) and (pixels_of(image) == EIGHT).all()
        pool = TensorPool.from_dataset([(image, 0)])
    assert (pool.images.numpy() == EIGHT).all()


@pytest.mark.parametrize(("kind", "values"), [("floats", np.float32(0.5)), ("32-bit integers", np.int32(70_000))])
def test_what_has_no_known_range_is_refused(tmp_path, kind, values):
    image = Image.fromarray(np.full((3, 8), values))
    image.save(tmp_path / "x.tif")
    message = f"its pixels are {kind}, whose range is unknown; expected 8 or 16 bits a channel"
    with pytest.raises(ValueError, match=rf"cannot read the image .*x\.tif: {message}"):
        read_rgb(tmp_path / "x.tif")
    with pytest.raises(ValueError, match=message):
        TensorPool.from_dataset([(image, 0)])


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 1), ("1", 1), ("LA", 2), ("P", 3), ("RGB", 3), ("CMYK", 3), ("RGBA", 4)]
)
def test_eight_bits_keep_their_channels(tmp_path, mode, channels):
    gray = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8))
    pixels = pixels_of(gray.convert(mode))
    assert pixels.dtype == np.uint8 and pixels.shape == (channels, 2, 2)
    assert (pixels[0] == np.asarray(gray)).all()
    gray.convert(mode).save(tmp_path / "x.tif")
    assert (read_rgb(tmp_path / "x.tif") == np.asarray(gray)).all()


def test_arrays_pass_as_they_are():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert (TensorPool.from_dataset([(image, 0)]).images.numpy() == image.transpose(2, 0, 1)).all()
