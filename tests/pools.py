"""Small pools of so many images of each class."""

import torch
from torch.nn import functional as F

from dm_replay import TensorPool


def labels_of(counts):
    """``counts`` says how many images each class has."""
    return torch.tensor([label for label, count in counts.items() for _ in range(count)])


def noise(counts, seed=0, shape=(1, 8, 8)):
    """Gaussian noise."""
    labels = labels_of(counts)
    return TensorPool(torch.randn(len(labels), *shape, generator=torch.Generator().manual_seed(seed)), labels)


def noisy_pixels(counts, seed=0, shape=(3, 8, 8)):
    """uint8 noise, and its labels."""
    labels, generator = labels_of(counts), torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (len(labels), *shape), generator=generator).to(torch.uint8), labels


def smooth(counts, seed=0, shape=(3, 16, 16)):
    """Smooth pictures with values in [0, 1], and their labels."""
    labels, generator = labels_of(counts), torch.Generator().manual_seed(seed)
    small = torch.rand(len(labels), shape[0], 5, 5, generator=generator)
    return F.interpolate(small, shape[1:], mode="bicubic").clamp(0, 1), labels


def smooth_pixels(counts, seed=0, shape=(3, 16, 16)):
    """The same in bytes."""
    images, labels = smooth(counts, seed, shape)
    return (images * 255).round().to(torch.uint8), labels


def natural(count, shape=(3, 32, 32)):
    """Smooth pictures with some noise, (N, C, H, W), standardized."""
    images, _ = smooth({0: count}, shape=shape)
    images = images + 0.03 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    return (images - images.mean()) / images.std()
