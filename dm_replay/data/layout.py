"""Which axis of an array of images holds the channels."""

from collections.abc import Sequence

from torch import Tensor

__all__ = ["LAYOUTS", "check_planar", "planar"]

SIDE = 8  # pixels
LAYOUTS = "(N, C, H, W), (N, H, W, C) or (N, H, W)"


def planar(images: Tensor, where: object) -> Tensor:
    """Images (N, C, H, W), (N, H, W, C) or (N, H, W) as (N, C, H, W), without a copy.

    The channels are the one of the axes 1 and 3 that is 1 or 3 long; else the one that leaves square images; else the
    one that is at most half as long as each side of the images it leaves.

    Raises:
        ValueError: where both axes could be the channels, the images have no pixels, or neither 3 nor 4 axes; it names
            ``where``.
    """
    if 0 in images.shape[1:]:
        raise ValueError(f"{where}: expected images of at least one pixel, got {tuple(images.shape)}")
    if images.ndim == 3:
        return images[:, None]
    if images.ndim != 4:
        raise ValueError(f"{where}: expected images {LAYOUTS}, got {tuple(images.shape)}")
    return images.permute(0, 3, 1, 2) if _channels_last(tuple(images.shape), where) else images


def check_planar(shape: Sequence[int]) -> None:
    """ValueError for an image that is surely (H, W, C), though (C, H, W) is expected.

    That is one whose last axis alone has the length of gray or color, 1, 3 or 4, beside two that are equal, or, since
    a picture three or four pixels wide of many channels is none, at least :data:`SIDE` long.
    """
    first, second, last = shape
    square, long = first == second, min(first, second) >= SIDE
    if first > 4 and ((last in (1, 3, 4) and square) or (last in (3, 4) and long)):
        given = tuple(shape)
        raise ValueError(f"expected images (C, H, W), got {given}, which is (H, W, C): permute their axes by (2, 0, 1)")


def _channels_last(shape: tuple[int, ...], where: object) -> bool:
    one, two, three = shape[1:]
    readings = (one, (two, three)), (three, (one, two))
    rules = (
        lambda channels, sides: channels in (1, 3),
        lambda channels, sides: sides[0] == sides[1],
        lambda channels, sides: 2 * channels <= min(sides),
    )
    for rule in rules:
        first, last = (rule(*reading) for reading in readings)
        if first != last:
            return last
        if first and rule is rules[0]:
            break
    raise ValueError(
        f"{where}: cannot tell which axis of images {shape} holds the channels; "
        "give them as a TensorPool of a tensor (N, C, H, W)"
    )
