"""Your own images, as tensors, condensed into three per class and written as npz for any other program.

python examples/own_data.py          # half a minute on two cores; writes shapes.npz
"""

import argparse
from pathlib import Path

import torch

from dm_replay import CondenseConfig, TensorPool, condense
from dm_replay.condensed.export import to_npz

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--iterations", type=int, default=100)
parser.add_argument("--out", type=Path, default=Path("shapes.npz"))
args = parser.parse_args()

# Three classes of 100 pictures (3, 16, 16) each: disks, crosses and rings in random colors under noise.
generator = torch.Generator().manual_seed(0)
y, x = torch.meshgrid(*[torch.linspace(-1, 1, 16)] * 2, indexing="ij")
radius, names = x.hypot(y), ["disk", "cross", "ring"]
shapes = torch.stack([radius < 0.6, torch.minimum(x.abs(), y.abs()) < 0.2, (radius - 0.6).abs() < 0.2])
labels = torch.arange(3).repeat_interleave(100)
colors = torch.rand(len(labels), 3, 1, 1, generator=generator)
noise = 0.2 * torch.rand(len(labels), 3, 16, 16, generator=generator)
images = ((0.8 * shapes[labels][:, None] * colors + noise) * 255).to(torch.uint8)

# From here on they might be any images: uint8 pixels (N, C, H, W), labels (N,), mean and std of each channel in [0, 1].
std, mean = torch.std_mean(images / 255, dim=(0, 2, 3))
pool = TensorPool(images, labels, mean.tolist(), std.tolist(), names)
condensed = condense(pool, CondenseConfig.preset("paper", ipc=3, iterations=args.iterations, batch_real=64), seed=0)
to_npz(condensed, args.out)
print(f"{args.out}: {len(condensed)} images stand for {int(condensed.counts.sum())}")
