"""NoImages: in the place of images that a dataset lacks."""

from typing import Any, NoReturn

from .pool import TensorPool

__all__ = ["NoImages"]


class NoImages(TensorPool):
    """A pool that is none: whatever it is asked, it says what is missing, as a ValueError of one line.

    >>> from dm_replay.data.no_images import NoImages
    >>> len(NoImages("there are no test images"))
    Traceback (most recent call last):
    ValueError: there are no test images
    """

    def __init__(self, missing: str):
        self._missing = missing

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # of copying and pickling
            raise AttributeError(name)
        raise ValueError(vars(self)["_missing"])

    def __getstate__(self) -> dict[str, Any]:
        return vars(self)
