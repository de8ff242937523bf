"""Condense handwritten digits into two images per class, and ask what they are worth beside random real ones.

python examples/condense.py          # two minutes on two cores; writes digits.png and digits.pt
"""

import argparse
from pathlib import Path

from tqdm import tqdm

from dm_replay import Budget, CondenseConfig, EvalConfig, Random, condense, evaluate, load_dataset
from dm_replay.condensed.export import grid, save_picture

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--ipc", type=int, default=2, help="images per class")
parser.add_argument("--iterations", type=int, default=300, help="updates of their pixels")
parser.add_argument("--epochs", type=int, default=300, help="of each network that is trained on them alone")
parser.add_argument("--runs", type=int, default=3, help="networks")
parser.add_argument("--out", type=Path, default=Path("digits.pt"))
args = parser.parse_args()

digits = load_dataset("digits")
config = CondenseConfig.preset("paper", ipc=args.ipc, iterations=args.iterations)
with tqdm(total=config.iterations, desc="condensing") as bar:
    condensed = condense(digits.train, config, seed=0, on_step=lambda progress: bar.update())
condensed.save(args.out)
save_picture(grid(condensed), args.out.with_suffix(".png"))

for name, images in (("condensed", condensed), ("random", Random().reduce(digits.train, Budget(args.ipc), seed=0))):
    report = evaluate(images, digits.test, EvalConfig(epochs=args.epochs), runs=args.runs, seed=0)
    print(f"{name:<10} {report}")
