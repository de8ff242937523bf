"""Class-incremental digits in plain PyTorch, without Avalanche: a condensed memory and mini-batches from it.

python examples/plain_torch.py          # half a minute on two cores
"""

import argparse

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from dm_replay import CondenseConfig, CondensedMemory, ReplayLoader, SiameseAugment, build_network, load_dataset

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--iterations", type=int, default=100, help="updates of the condensed images per task")
parser.add_argument("--epochs", type=int, default=8, help="of training per task")
args = parser.parse_args()

digits = load_dataset("digits")
families = "color_crop_cutout_scale_rotate"  # no mirror images: they are other digits, or none
for size in (0, 20):
    config = CondenseConfig.preset("paper", iterations=args.iterations, augment=families, prefix_weight=0.05)
    memory = CondensedMemory(mem_size=max(size, 1), config=config, seed=0)
    network = build_network("convnet:width=32,depth=2", digits.spec.shape, classes=10, seed=0)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for task in torch.arange(10).split(2):
        real = digits.train.subset(task)
        data = TensorDataset(real.take(torch.arange(len(real))), real.labels)
        loader = DataLoader(data, batch_size=32, shuffle=True)
        if len(memory):
            augment = SiameseAugment.parse(families)
            loader = ReplayLoader(loader, *memory.to_set(), rows=32, augment=augment)  # type: ignore[assignment]
        for x, y in (batch for _ in range(args.epochs) for batch in loader):
            optimizer.zero_grad()
            cross_entropy(network(x), y).backward()
            optimizer.step()
        if size:
            memory.update(real)
    found = network.eval()(digits.test.take(torch.arange(len(digits.test)))).argmax(1)
    print(f"{size} images in memory: {100 * (found == digits.test.labels).float().mean():.1f} %")
