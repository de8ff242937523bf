"""Settings of an evaluation."""

from dataclasses import dataclass, replace

from ..augment.siamese import SiameseAugment
from ..runtime.machine import Machine
from ..runtime.plain import Plain
from ..runtime.validation import check_whole_numbers

__all__ = ["EvalConfig"]


@dataclass(frozen=True)
class EvalConfig(Plain):
    """How a network is trained on a condensed set; the defaults are the paper's.

    Args:
        epochs: the schedule runs epochs + 1 of them and divides the learning rate by 10 after epoch epochs // 2 + 1,
            where the momentum starts afresh, as in the official code.
        steps: a budget instead of ``epochs``: exactly so many steps, whatever the number of images; the learning rate
            falls after half of them.
        batch: images per step.
        lr, momentum, weight_decay: of the networks' SGD.
        augment: families drawn for each image of each step, joined by "_", or "none"; "auto" is all of them, but "flip"
            only where the test pool says that a mirror image means the same.
        parallel_networks: networks trained at once; 0 for as many as suit the device, see :func:`networks_at_once`.
        machine: where and how it runs; ``precision`` is that of the matrix work (autocast; parameters stay float32).

    Raises:
        ValueError: for a value that is out of its range or none of its choices.

    >>> from dm_replay import EvalConfig
    >>> EvalConfig(epochs=300).resolve(flip_invariant=False).augment
    'color_crop_cutout_scale_rotate'
    """

    epochs: int = 1000
    steps: int | None = None
    batch: int = 256
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: str = "auto"
    parallel_networks: int = 0
    machine: Machine = Machine()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole_numbers(self, epochs=1, batch=1, parallel_networks=0)
        if self.steps is not None:
            check_whole_numbers(self, steps=1)
        if not self.lr > 0 or not 0 <= self.momentum < 1 or not self.weight_decay >= 0:
            raise ValueError(
                "expected lr > 0, momentum in [0, 1) and weight_decay >= 0, "
                f"got {self.lr}, {self.momentum} and {self.weight_decay}"
            )
        SiameseAugment.parse(self.augment)

    def for_images(self, images: int) -> "EvalConfig":
        """The same with the ``epochs`` whose schedule has room for ``steps`` on so many images; 2 passes at least."""
        if self.steps is None:
            return self
        return replace(self, epochs=max(1, -(-self.steps // self.steps_of_pass(images)) - 1))

    def steps_of_pass(self, images: int) -> int:
        """Steps that show each of so many images once."""
        return -(-images // self.batch)

    def schedule(self, images: int) -> tuple[int, int]:
        """Steps in all on so many images, and those after which the learning rate falls."""
        if self.steps is not None:
            return self.steps, -(-self.steps // 2)
        each = self.steps_of_pass(images)
        return (self.epochs + 1) * each, (self.epochs // 2 + 2) * each

    def passes(self, images: int) -> int:
        """Epochs in all on so many images, the last of a budget in steps perhaps unfinished."""
        return -(-self.schedule(images)[0] // self.steps_of_pass(images))

    def resolve(self, flip_invariant: bool) -> "EvalConfig":
        """The same with the families that an ``augment`` of "auto" stands for."""
        return replace(self, augment=SiameseAugment.parse(self.augment, flip_invariant).name)
