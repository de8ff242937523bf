"""Machine: where work runs and how, the same for condensing and for evaluation."""

from dataclasses import dataclass

from .engine import COMPILE, PRECISIONS, Activations, Engine, choose
from .plain import Plain
from .validation import check_choices

__all__ = ["Machine"]


@dataclass(frozen=True)
class Machine(Plain):
    """A device and what it may do.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1", ...
        precision: of work without a gradient, and of matrix products in training: "bfloat16", "float32" (the reference)
            or "auto". On a GPU float32 convolutions use TF32 where PyTorch is set to, as it is by default.
        compile: "yes", "no", or "auto" for where it earns back its half minute.
        memory_budget: GiB of device memory for the activations of the gradient-free work, and likewise, at another
            time, of the work with a gradient. It bounds the images at a time; networks with BatchNorm need all at once.

    Raises:
        ValueError: for a value that is out of its range or none of its choices.

    >>> from dm_replay import EvalConfig, Machine
    >>> EvalConfig(machine=Machine("cpu", compile="no")).machine.precision
    'auto'
    """

    device: str = "auto"
    precision: str = "auto"
    compile: str = "auto"
    memory_budget: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choices(self, precision=PRECISIONS, compile=COMPILE)
        if not 0 < self.memory_budget < 2**40:
            raise ValueError(
                f"memory_budget must be above 0 GiB, got {self.memory_budget}, and what a machine can have"
            )

    def engine(self, image_size: tuple[int, int], images: int, activations: Activations) -> Engine:
        """The engine for a job that embeds so many images (H, W) in all, see :func:`choose`."""
        return choose(self.device, self.precision, self.compile, image_size, images, self.memory_budget, activations)
