"""Settings of a condensation as the plugin takes them, and a buffer as it was before an experience."""

from typing import Any

import torch
from avalanche.models import avalanche_forward
from torch import Tensor, nn

from ..matching.config import CondenseConfig
from ..matching.progress import Progress
from ..networks import check_buildable
from ..replay.job import OnStep
from ..replay.memory import DEFAULT, CondensedMemory
from ..runtime.engine import resolve_device
from ..runtime.settings import flat
from ..runtime.stages import StageBar

__all__ = ["Attempt", "OfTask", "check_begun", "condense_config", "noting"]

STAYS = ("memory", "_ahead", "_attempt", "_strategy")  # of a buffer, whatever becomes of an experience


class Attempt:
    """An experience whose training began, and the buffer at that time.

    A plugin that raises an error after the experience was condensed makes the training fail. When the experience is
    trained again its images are to count once.
    """

    def __init__(self, buffer: Any, experience: Any):
        self.experience = experience
        self._buffer = {name: value for name, value in _copied(buffer).items() if name not in STAYS}
        self._memory = _copied(buffer.memory)

    def of(self, experience: Any) -> bool:
        return self.experience is experience or self.experience.dataset is experience.dataset

    def undo(self, buffer: Any) -> None:
        vars(buffer.memory).update(self._memory)
        vars(buffer).update(self._buffer)


def _copied(owner: Any) -> dict[str, Any]:
    """Its attributes; tensors are shared, since no one changes them."""
    return {name: value.copy() if isinstance(value, dict | list) else value for name, value in vars(owner).items()}


USUAL = {name: getattr(DEFAULT, name) for name in ("iterations", "patience", "prefix_weight")}
LARGE = (3, 512, 512)  # an image that any sensible depth fits; the real one is known when an experience comes


def condense_config(config: CondenseConfig | None, settings: dict[str, Any]) -> CondenseConfig:
    """The config, or the default with these settings changed; ValueError if it cannot be run here."""
    if config is not None and settings:
        raise ValueError(f"give config or single settings, got config and {', '.join(settings)}")
    preset = settings.pop("preset", None)
    known = sorted({*flat(DEFAULT), "codec", "machine", "preset"} - {"ipc", "bytes_per_class", "size"})
    for name in settings:
        if name not in known:
            raise ValueError(f"unknown setting {name!r}; choose from {', '.join(known)}")
    if config is None:
        base = DEFAULT if preset is None else CondenseConfig.preset(preset, **USUAL)
        asked = {"patience": None} if settings.keys() & {"iterations", "seconds"} else {}
        config = base.but(**{**asked, **settings})
    if config.machine.device != "auto":
        resolve_device(config.machine.device)
    check_buildable(config.network, LARGE)
    return config


def check_begun(memory: Any, **settings: Any) -> None:
    """ValueError unless this is a memory and no setting but its own is given beside it."""
    if not isinstance(memory, CondensedMemory):
        raise ValueError(f"memory must be a CondensedMemory, got a {type(memory).__name__}")
    usual = dict(kind="condensed", real_fraction=0.0, seed=0, codec=None)
    others = {name for name, value in settings.items() if value != usual.get(name)}
    others -= {name for name in ("mem_size", "mem_bytes") if settings[name] == getattr(memory, name)}
    if others:
        raise ValueError(f"memory brings its own size and settings, got also {', '.join(sorted(others))}")


class OfTask(nn.Module):
    """A strategy's model, asked for one task."""

    def __init__(self, model: nn.Module, task: int):
        super().__init__()
        self.model, self.task = model, task

    def forward(self, images: Tensor) -> Tensor:
        return avalanche_forward(self.model, images, torch.full((len(images),), self.task, device=images.device))


def noting(bar: StageBar) -> OnStep:
    """Reads the loss, which waits for the device, only now and then."""

    def note(done: int, total: int, progress: Progress) -> None:
        if progress.iteration % 50 == 0:
            bar.note(f"loss {float(progress.loss):.3g}")

    return note
