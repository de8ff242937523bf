"""What stored values are drawn as: one affine map for each channel."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["ChannelMap"]


class ChannelMap:
    """(v − mean) / std per channel, where v is a stored value or, of uint8 pixels, pixel / 255.

    >>> import torch
    >>> from dm_replay.data.channel_map import ChannelMap
    >>> ChannelMap([2.0], [4.0]).then([0.5], [2.0])(torch.full((1, 1, 1), 12.0)).item()  # (12 - 2) / 4 - 0.5, halved
    1.0
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        self.mean, self.std = tuple(mean), tuple(std)
        self._tensors: dict[torch.device, tuple[Tensor, ...]] = {}

    def then(self, mean: Sequence[float], std: Sequence[float]) -> "ChannelMap":
        """This one, and (x − mean) / std of what it gives."""
        center = (shift + scale * m for shift, scale, m in zip(self.mean, self.std, mean, strict=True))
        return ChannelMap(tuple(center), tuple(scale * s for scale, s in zip(self.std, std, strict=True)))

    def __call__(self, images: Tensor) -> Tensor:
        """Stored (…, C, H, W) -> float32, a copy."""
        mean, std, factor, shift = self._on(images.device)
        if images.dtype == torch.uint8:
            return images.float() * factor + shift
        return (images - mean).div_(std)  # floats may lie far from 0, where only x − mean is exact

    def _on(self, device: torch.device) -> tuple[Tensor, ...]:
        """(C, 1, 1) each; made once, since making them waits for the device."""
        if device not in self._tensors:
            mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
            self._tensors[device] = tuple(t.to(device) for t in (mean, std, 1 / (255 * std), -mean / std))
        return self._tensors[device]
