import io

import pytest
import torch
from dm_replay.condensed.coded_set import CodedSet
from dm_replay.condensed.coding import ImageCodec
from dm_replay.coresets.coded import coded_exemplars
from dm_replay.coresets.config import CodedConfig
from PIL import Image

from dm_replay import TensorPool


@pytest.fixture(scope="module")
def pictures():
    """Smooth pictures, as a codec expects them."""
    small = torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(small, 32, mode="bicubic").clamp(0, 1)
    labels = torch.arange(40) % 2
    return TensorPool((smooth * 255).round().to(torch.uint8), labels, mean=[0.5, 0.4, 0.3], std=[0.2, 0.3, 0.4])


@pytest.mark.parametrize("codec", ["webp", "jpeg"])
def test_the_best_quality_that_fits(pictures, codec):
    budget = 2 * 3 * 32 * 32
    coded = coded_exemplars(pictures, CodedConfig(ipc=1, images=16, codec=codec), seed=4)
    assert budget * 0.5 < coded.nbytes <= budget and coded.image_labels.tolist() == [0] * 16 + [1] * 16
    rows = pictures.draw_indices(pictures.classes, 16, torch.Generator().manual_seed(0))
    assert coded.codec.quality == 95 or better(pictures, rows, coded).nbytes > budget
    real = pictures.take(torch.arange(40))
    errors = (coded.images[:, None] - real).square().flatten(2).mean(2).amin(1)
    assert errors.max() < 0.1 and coded.images.shape == (32, 3, 32, 32)


def better(pool, rows, coded: CodedSet) -> CodedSet:
    pixels = (coded.images * torch.tensor(pool.std)[:, None, None] + torch.tensor(pool.mean)[:, None, None]) * 255
    return CodedSet.from_pixels(
        pixels.round().clamp(0, 255).to(torch.uint8), coded.labels, coded.codec.name, min(95, coded.codec.quality + 12)
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["webp", "jpeg"])
def test_a_code_is_what_pillow_decodes(pictures, name, channels):
    codec, image = ImageCodec(name, 80), pictures.images[0, :channels]
    values = image.permute(1, 2, 0).numpy()
    file = io.BytesIO()
    options = {"method": 6} if name == "webp" else {}
    Image.fromarray(values if channels == 3 else values[:, :, 0]).save(file, name, quality=80, **options)
    expected = Image.open(file).convert("RGB" if channels == 3 else "L")
    code = codec.encode(image)
    decoded = codec.decode(code, channels)
    assert decoded.permute(1, 2, 0).flatten().tolist() == list(expected.tobytes())
    size = len(file.getvalue())
    assert len(code) == size if name == "webp" else len(code) + 200 < size  # most of so small a JPEG are tables


def test_shrunk_and_errors(pictures):
    coded = coded_exemplars(pictures, CodedConfig(ipc=1, images=8, shrink=2))
    assert coded.codec.decode(coded.codes[0]).shape == (3, 16, 16) and coded.images.shape == (16, 3, 32, 32)
    assert coded.decoded == len(coded) == 16 and coded.classes.tolist() == [0, 1]
    with pytest.raises(ValueError, match="class 0 has 20 images, fewer than 21"):
        coded_exemplars(pictures, CodedConfig(images=21))
    noise = TensorPool(torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8), pictures.labels)
    with pytest.raises(ValueError, match="do not fit 192 bytes at any quality"):
        coded_exemplars(TensorPool(noise.images[:, :, :4, :8], noise.labels), CodedConfig(ipc=1, images=20))
    with pytest.raises(ValueError, match="only uint8 pixels"):
        coded_exemplars(TensorPool(noise.images.float(), noise.labels), CodedConfig(images=2))
    with pytest.raises(ValueError, match="unknown codec 'png'; choose from webp, jpeg"):
        CodedConfig(codec="png")
    with pytest.raises(ValueError, match="expected uint8 pixels"):
        CodedSet.from_pixels(torch.zeros(1, 3, 8, 8), torch.zeros(1), "webp", 50)
