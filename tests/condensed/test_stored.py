"""Fewer bits a value: what is packed comes back, within half a step, wherever a set goes."""

import pytest
import torch
from damage import changed
from sets import of_values

from dm_replay import PLAIN, ImageSet, Tiles
from dm_replay.condensed.stored import BITS, dequantize, pack, quantize, unpack
from dm_replay.runtime.files import save_sealed


def slow_pack(values: list[int], bits: int) -> list[int]:
    """As text, the lowest bit first."""
    text = "".join(format(value, f"0{bits}b")[::-1] for value in values)
    return [int(text[start : start + 8][::-1], 2) for start in range(0, len(text), 8)]


@pytest.mark.parametrize("bits", BITS.values())
def test_packing_is_the_slow_one_and_comes_back(bits, generator):
    values = torch.randint(0, 2**bits, (2, 3, 8), generator=generator, dtype=torch.uint8)
    packed = pack(values, bits)
    assert packed.shape == (2, 3, bits) and packed.dtype == torch.uint8
    assert packed[1, 2].tolist() == slow_pack(values[1, 2].tolist(), bits)
    assert torch.equal(unpack(packed, bits), values)


@pytest.mark.parametrize("bits", BITS.values())
def test_the_error_is_at_most_half_a_step(bits, generator):
    images = 3 * torch.randn(4, 2, 8, 8, generator=generator) + 5
    images[0, 0] = 1.25
    pixels, scale, offset = quantize(images, bits)
    restored = dequantize(pixels, scale, offset)
    assert ((restored - images).abs() <= 0.5001 * scale[:, :, None, None] + 1e-6).all()
    assert torch.equal(restored[0, 0], images[0, 0]) and int(pixels.max()) == 2**bits - 1


@pytest.fixture(params=["uint6", "uint4"])
def packed(request, generator):
    images = torch.randn(6, 3, 8, 8, generator=generator)
    return of_values(images, [0, 1, 0, 1, 2, 2], Tiles(2, 1, "linear", storage=request.param))


def test_a_packed_set_is_cut_joined_saved_and_decoded(packed, tmp_path):
    assert packed.shape == (3, 8, 8) and packed.images.shape == (24, 3, 8, 8)
    packed.save(tmp_path / "set.pt")
    loaded = ImageSet.load(tmp_path / "set.pt")
    cut = ImageSet.merge([loaded.of_class(2), loaded.of_class(0).prefix(1)])
    assert cut.storage == packed.storage and cut.labels.tolist() == [2, 2, 0]
    assert torch.equal(cut.values, packed.values[[4, 5, 0]])
    assert torch.equal(packed.decode(torch.tensor([17, 3])), packed.images[[17, 3]])
    again = packed.with_storage("float32").with_storage(packed.storage)
    assert (again.values - packed.values).abs().max() < 1e-5
    with pytest.raises(ValueError, match="cannot merge sets of different codec"):
        ImageSet.merge([packed, packed.with_storage("uint8")])


def test_rows_must_be_whole_bytes_and_files_what_they_say(packed, tmp_path):
    with pytest.raises(ValueError, match="storage uint4 needs a width that 2 divides, got 7"):
        ImageSet.from_images(torch.rand(1, 1, 8, 7), torch.tensor([0]), PLAIN.but(storage="uint4"))
    with pytest.raises(ValueError, match="storage uint6 needs a width that 4 divides, got 10"):
        ImageSet.from_images(torch.rand(1, 1, 8, 10), torch.tensor([0]), PLAIN.but(storage="uint6"))
    packed.save(tmp_path / "set.pt")
    content = torch.load(tmp_path / "set.pt")
    for storage in {"uint8", "uint6", "uint4", "float32", "uint5", None, 3} - {packed.storage}:
        save_sealed(changed(content, ("codec", "storage"), storage), tmp_path / "bad.pt")
        with pytest.raises(ValueError, match="bad.pt is no image set, or damaged: (its pixels are|unknown storage)"):
            ImageSet.load(tmp_path / "bad.pt")
