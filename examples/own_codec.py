"""A codec of your own: every second pixel.

python examples/own_codec.py          # a few seconds
"""

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import interpolate

from dm_replay import Codec, CondensedMemory, load_dataset


@dataclass(frozen=True)
class EverySecondPixel(Codec):
    """Stores a quarter of the pixels. Each is repeated when it is decoded."""

    def encode(self, images: Tensor) -> Tensor:
        return images[:, :, ::2, ::2]

    def decode(self, values: Tensor, rows: Tensor, size: tuple[int, int]) -> Tensor:
        return interpolate(values[rows], size)


if __name__ == "__main__":
    memory = CondensedMemory(mem_size=20, kind="herding", codec=EverySecondPixel())
    memory.update(load_dataset("digits").train)
    print(f"{len(memory)} images, {memory.nbytes} bytes")
