"""Condensing through a code whose images take as many bytes as they need: what is learned has to be worth its bits."""

import math

import torch
from torch import Tensor

from ..condensed.codec import Codec

__all__ = ["LOOKS", "RateControl"]

LOOKS = 5  # iterations between two looks at what images take
AT_FIRST = 1e-3  # price of a bit, in the loss
LEAST, MOST = 1e-6, 1e3
FASTEST = 0.5  # powers of e by which a price moves at a look
WIDEST = 20.0  # standard deviations of images
GAIN = 2.0  # so that the learning rate of pixels serves these values, too


class RateControl:
    """Keeps the images of each class within its bytes while they are condensed.

    What falls is the matching loss and a price times the images' bits. Both move a value the faster, the larger values
    of its kind are (a diagonal metric): long waves, which cost few bits for what they change, first. The bits move
    values towards zero (a proximal step, so that most become zero and stay so). The price of a class rises while its
    images take more than they may, and falls while they take less. So images that teach little give their bits to
    others.

    Args:
        pixels: (G, ipc, …), the values. codec: whose bytes depend on them. nbytes: that a class may take.

    Attributes:
        price: (G,), of a bit. metric: (G, 1, …), how much faster values move than others. pull: (G, ipc, …), how far
            they move towards zero at a learning rate of 1.
    """

    def __init__(self, pixels: Tensor, codec: Codec, nbytes: float):
        self.codec, self.nbytes = codec, nbytes
        self.price = torch.full((len(pixels),), AT_FIRST, device=pixels.device, dtype=pixels.dtype)
        self.pull = torch.zeros_like(pixels)
        widths = [1 / (math.log(2) * self._taken(own)[1].mean(0, keepdim=True)) for own in pixels]
        self.metric = GAIN * torch.stack(widths).clamp_max(WIDEST)

    def steer(self, pixels: Tensor) -> None:
        """Set the prices by what the images take now. It waits for the device."""
        for number, own in enumerate(pixels):
            bits, each = self._taken(own)
            more = (bits.sum() / (8 * self.nbytes) - 1).clamp(-FASTEST, FASTEST)
            self.price[number] = (self.price[number] * more.exp()).clamp(LEAST, MOST)
            self.pull[number] = self.price[number] * each * self.metric[number]

    def shrink(self, pixels: Tensor, lr: Tensor) -> None:
        """Move values (G, ipc, …) towards zero, in place."""
        pixels.copy_(pixels.sign() * (pixels.abs() - self.pull * lr).relu())

    @property
    def state(self) -> dict[str, Tensor]:
        """What a run goes on from, live."""
        return {"price": self.price, "pull": self.pull, "metric": self.metric}

    def _taken(self, own: Tensor) -> tuple[Tensor, Tensor]:
        found = self.codec.bits(own)
        assert found is not None
        return found
