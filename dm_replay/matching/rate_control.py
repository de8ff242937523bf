"""Condensing through a code whose images take as many bytes as they need: what is learned has to be worth its bits."""

import math

import torch
from torch import Tensor

from ..condensed.codec import Codec

__all__ = ["LOOKS", "RateControl"]

LOOKS = 10  # iterations between two looks at what images take
PRICES = 1e-4, 1e-3, 1e3  # of a bit, in the loss: the least, the first, the most
FASTEST = 0.5  # powers of e by which a price moves at a look
FARTHEST = 20.0  # standard deviations of images: values that are usually larger move as fast as these
GAIN = 2.0  # so that the learning rate of pixels serves these values, too


class RateControl:
    """Keeps the images of each class within its bytes while they are condensed.

    What falls is the matching loss and a price times the images' bits. Values that are usually large move faster (a
    diagonal metric). In natural images these are the long waves, which cost few bits for what they change. The bits
    move values towards zero, by a proximal step: most become zero and stay so. The price of a class rises while its
    images take more than they may, and falls while they take less. So images that teach little give their bits to
    others.

    Args:
        pixels: (G, ipc, …), the values. codec: one whose :meth:`~Codec.bits` depend on them.
        nbytes: that a class may take; None: as many as its images take now. bound: of the root mean square of an
            image's gradient: of one that has lost its last bit and is flat it is a thousand times the usual.

    Attributes:
        allowed: (G,), bits of a class. price: (G,), of a bit. metric: (G, 1, …), how much faster values move than
            others. pull: (G, ipc, …), how far they move towards zero at a learning rate of 1.
    """

    def __init__(self, pixels: Tensor, codec: Codec, nbytes: int | None, bound: float):
        self.codec, self.bound = codec, bound
        taken, each = zip(*map(self._taken, pixels), strict=True)
        self.allowed = torch.stack(taken) if nbytes is None else torch.full_like(torch.stack(taken), 8.0 * nbytes)
        self.price, self.pull = torch.full_like(self.allowed, PRICES[1]), torch.zeros_like(pixels)
        usual = torch.stack([1 / (math.log(2) * own.mean(0, keepdim=True)) for own in each])
        self.metric = GAIN * usual.clamp_max(FARTHEST)

    def steer(self, pixels: Tensor) -> None:
        """Set the prices by what the images take now. It waits for the device, and for the CPU."""
        for number, own in enumerate(pixels):
            taken, each = self._taken(own)
            more = (taken / self.allowed[number]).log().clamp(-FASTEST, FASTEST)
            self.price[number] = (self.price[number] * more.exp()).clamp(PRICES[0], PRICES[2])
            self.pull[number] = self.price[number] * each * self.metric[number]

    def shrink(self, pixels: Tensor, lr: Tensor) -> None:
        """Move values (G, ipc, …) towards zero, in place."""
        pixels.copy_(pixels.sign() * (pixels.abs() - self.pull * lr).relu())

    @property
    def state(self) -> dict[str, Tensor]:
        """What a run goes on from, live."""
        return {"allowed": self.allowed, "price": self.price, "metric": self.metric, "pull": self.pull}

    def _taken(self, own: Tensor) -> tuple[Tensor, Tensor]:
        """Bits of a class, 0-d, and what a unit more of each value takes, (ipc, …)."""
        found = self.codec.bits(own)
        if found is None:
            raise ValueError(f"images by {self.codec} all take as many bytes")
        return found[0].sum(), found[1]
