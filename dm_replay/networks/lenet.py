"""LeNet-5 (LeCun et al. 1998) with ReLU and max pooling, as the condensation papers use it."""

from torch import nn

from .base import Network, first_padding

__all__ = ["LeNet"]

KERNEL = 5
UNPADDED = 16  # pixels a side, from which two convolutions and two poolings leave something without padding


class LeNet(Network):
    """Two convolutions of 5 × 5 (6 and 16 channels), each halved by max pooling, then linear layers of 120 and 84.

    Args:
        image_shape: (C, H, W), of any size from 8 × 8. Below 16 pixels the convolutions are padded to keep
            the size; 28 × 28 are padded to 32 × 32 by the first one.
        classes: width of the head.
    """

    smallest = 8

    def __init__(self, image_shape: tuple[int, int, int], classes: int):
        super().__init__()
        self.check_size(image_shape)
        channels, height, width = image_shape
        padding = 0 if min(height, width) >= UNPADDED else KERNEL // 2
        first = first_padding(image_shape, padding)
        for padded in (first, padding):
            height, width = ((side + 2 * padded - KERNEL + 1) // 2 for side in (height, width))
        layers: list[nn.Module] = []
        for inside, outside, padded in ((channels, 6, first), (6, 16, padding)):
            layers += [nn.Conv2d(inside, outside, KERNEL, padding=padded), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        layers.append(nn.Flatten())
        for inside, outside in ((16 * height * width, 120), (120, 84)):
            layers += [nn.Linear(inside, outside), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(84, classes)
