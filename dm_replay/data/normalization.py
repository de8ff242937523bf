"""The mean and standard deviation of a normalization, per channel in units of [0, 1]."""

from collections.abc import Sequence

__all__ = ["check_normalization", "check_units"]


def check_normalization(channels: int, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    """ValueError unless there is a value for each channel, where any are given, and :func:`check_units` takes them."""
    for name, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) != channels:
            raise ValueError(f"expected {channels} values of {name}, one for each channel, got {len(values)}")
    if std is not None and not min(std) > 0:
        raise ValueError(f"std must be above 0 in every channel, got {tuple(std)}")
    check_units(mean, std)


def check_units(mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    """ValueError for values that pixels of [0, 1] cannot have, as those of bytes are."""
    for name, values in (("mean", mean), ("std", std)):
        for value in values or ():
            if not 0 <= value <= 1:
                raise ValueError(
                    f"{name} is in units of pixels from 0 to 1, got {value:g}: divide mean and std of bytes by 255"
                )
