"""A reducer of your own: the mean image of each class.

python examples/own_reducer.py          # a few seconds
"""

from dataclasses import dataclass

import torch

from dm_replay import Budget, CondensedMemory, ImageSet, Reducer, TensorPool, load_dataset


@dataclass(frozen=True)
class MeanImage(Reducer):
    """Keeps one stored image of each class: the mean of its real images."""

    def reduce(self, pool: TensorPool, budget: Budget, *, seed: int, previous: ImageSet | None = None) -> ImageSet:
        means = [pool.take(pool.of_classes([label])).mean(0) for label in pool.classes]
        return budget.store(pool, torch.stack(means)[:, None])  # (classes, images of each, C, H, W), best first


if __name__ == "__main__":
    memory = CondensedMemory(mem_size=20, kind=MeanImage())
    memory.update(load_dataset("digits").train)
    print(f"{len(memory)} images, {memory.nbytes} bytes")
