"""A buffer as it was before an experience, to be gone back to if the experience is trained again."""

from typing import Any

__all__ = ["Attempt"]

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
