"""The official way of doing it, written anew for comparison: what it costs, not how to do it.

It keeps each habit of the official code that costs time: a loop over classes, a permutation of the whole class to take
256 images, augmentation with a Python list of one matrix per image, a fresh network each iteration, a DataLoader over a
handful of images, one network at a time, float32, nothing compiled. Its results are those of this project's step up to
random draws; tests hold the one against the other.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

__all__ = ["Condenser", "augment", "convnet", "train_and_test"]

FAMILIES = ("color", "crop", "cutout", "flip", "scale", "rotate")


def convnet(shape: tuple[int, int, int], classes: int, depth: int = 3, width: int = 128) -> nn.Sequential:
    channels, side, blocks = shape[0], shape[1], []
    for _ in range(depth):
        norm = nn.GroupNorm(width, width)
        blocks += [nn.Conv2d(channels, width, 3, padding=1), norm, nn.ReLU(inplace=True), nn.AvgPool2d(2)]
        channels, side = width, side // 2
    return nn.Sequential(nn.Sequential(*blocks, nn.Flatten()), nn.Linear(width * side * side, classes))


def augment(x: Tensor, family: str, seed: int, siamese: bool) -> Tensor:
    """One family for the whole batch; a seed gives the same draw again, shared by all images if ``siamese``."""
    generator = torch.Generator().manual_seed(seed)
    u, v, w = torch.rand(3, len(x), generator=generator)
    if siamese:
        u, v, w = (draw[:1].expand(len(x)) for draw in (u, v, w))
    return globals()[f"_{family}"](x, u, v, w).contiguous()


def _color(x, u, v, w):
    u, v, w = (draw.to(x.device)[:, None, None, None] for draw in (u, v, w))
    x = x + (u - 0.5)
    gray = x.mean(1, keepdim=True)
    x = (x - gray) * (2 * v) + gray
    mean = x.mean((1, 2, 3), keepdim=True)
    return (x - mean) * (w + 0.5) + mean


def _crop(x, u, v, w):
    reach, (height, width) = int(x.shape[2] * 0.125 + 0.5), x.shape[2:]
    down, right = (((draw * (2 * reach + 1)).floor() - reach).long().to(x.device)[:, None, None] for draw in (u, v))
    image, row, column = _positions(x, height, width)
    padded = F.pad(x, (1, 1, 1, 1))
    row, column = (row + down + 1).clamp(0, height + 1), (column + right + 1).clamp(0, width + 1)
    return padded.permute(0, 2, 3, 1).contiguous()[image, row, column].permute(0, 3, 1, 2)


def _cutout(x, u, v, w):
    size = x.shape[2] // 2
    down, right = ((draw * (x.shape[2] + 1)).floor().long().to(x.device)[:, None, None] for draw in (u, v))
    image, row, column = _positions(x, size, size)
    mask = torch.ones(len(x), *x.shape[2:], device=x.device)
    row, column = (
        (step + shift - size // 2).clamp(0, x.shape[2] - 1) for step, shift in ((row, down), (column, right))
    )
    mask[image, row, column] = 0
    return x * mask[:, None]


def _flip(x, u, v, w):
    return torch.where(u.to(x.device)[:, None, None, None] < 0.5, x.flip(3), x)


def _scale(x, u, v, w):
    sx, sy = (draw * (1.2 - 1 / 1.2) + 1 / 1.2 for draw in (u, v))
    return _sampled(x, [[[sx[i], 0, 0], [0, sy[i], 0]] for i in range(len(x))])


def _rotate(x, u, v, w):
    a = (u - 0.5) * 2 * 15 / 180 * math.pi
    matrices = [[[torch.cos(a[i]), torch.sin(-a[i]), 0], [torch.sin(a[i]), torch.cos(a[i]), 0]] for i in range(len(x))]
    return _sampled(x, matrices)


def _sampled(x, matrices):
    theta = torch.tensor(matrices, dtype=torch.float)
    return F.grid_sample(x, F.affine_grid(theta, x.shape, align_corners=False).to(x.device), align_corners=False)


def _positions(x, height, width):
    axes = (torch.arange(size, device=x.device) for size in (len(x), height, width))
    return torch.meshgrid(*axes, indexing="ij")


class Condenser:
    """Distribution matching over normalized float images (N, C, H, W), all of which lie on the device."""

    def __init__(self, images: Tensor, labels: Tensor, ipc: int, batch: int = 256, depth: int = 3):
        self.images, self.batch, self.ipc, self.depth = images, batch, ipc, depth
        self.rows = [(labels == label).nonzero()[:, 0] for label in labels.unique()]
        self.pixels = torch.cat([self._draw(c, ipc) for c in range(len(self.rows))]).requires_grad_()
        self.optimizer = torch.optim.SGD([self.pixels], lr=1.0, momentum=0.5)

    def step(self) -> float:
        network = convnet(self.images.shape[1:], len(self.rows), self.depth).to(self.images.device)
        network.requires_grad_(False)
        loss = torch.zeros((), device=self.images.device)
        for c in range(len(self.rows)):
            real, synthetic = self._draw(c, self.batch), self.pixels[c * self.ipc : (c + 1) * self.ipc]
            family, seed = FAMILIES[int(torch.randint(6, ()))], int(torch.randint(100_000, ()))
            real, synthetic = (augment(x, family, seed, siamese=True) for x in (real, synthetic))
            loss = loss + ((network[0](real).detach().mean(0) - network[0](synthetic).mean(0)) ** 2).sum()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def _draw(self, c: int, size: int) -> Tensor:
        rows = self.rows[c]
        return self.images[rows[torch.randperm(len(rows))[:size]]]


def train_and_test(
    images: Tensor, labels: Tensor, test: tuple[Tensor, Tensor], epochs: int, classes: int, depth: int = 3
) -> float:
    """One network, trained and tested through DataLoaders; the accuracy, a fraction."""
    network = convnet(images.shape[1:], classes, depth).to(images.device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    loader = DataLoader(TensorDataset(images, labels), batch_size=256, shuffle=True)
    for _ in range(epochs):
        for x, y in loader:
            x = augment(x, FAMILIES[int(torch.randint(6, ()))], int(torch.randint(100_000, ())), siamese=False)
            loss = F.cross_entropy(network(x), y)
            loss.item()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    right = 0
    for x, y in DataLoader(TensorDataset(*test), batch_size=256):
        right += (network(x.to(images.device)).argmax(1).cpu() == y).sum().item()
    return right / len(test[1])
