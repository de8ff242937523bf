"""Whether two ways of computing the same thing agree, but for rounding."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["Disagreement", "check_compiled", "difference", "tolerance"]

# What rounding may do to a loss or a gradient, as ‖a − b‖ / ‖b‖. A product rounds by 2^-9 in bfloat16 and by 2^-11 in
# TF32, which GPUs take for float32 convolutions. With bfloat16 on a CPU (ConvNet-128 with every norm, activation and
# pooling, a few images of digits and CIFAR-10) losses moved by 0.01 to 4 %, pixel gradients by 0.3 to 7 % and a
# training's updates by 0.5 to 13 %, most with max pooling; TF32 should do a quarter of that. Faults are larger: a stale
# random number, a class left out or a factor of two change these by 30 % and more. Networks with sigmoids and no norm,
# whose features hardly differ between images, have their loss on CIFAR-10 moved by 30 %: they are rightly refused.
TOLERANCE = {torch.bfloat16: 0.25, torch.float32: 0.1}


class Disagreement(Exception):
    """Two ways of computing the same thing gave different values; the message says which and by how much."""


def tolerance(dtype: torch.dtype) -> float:
    """How far results may lie from each other if one of them was computed in ``dtype``."""
    return TOLERANCE.get(dtype, TOLERANCE[torch.float32])


def difference(got: Tensor, expected: Tensor) -> float:
    """‖got − expected‖ / ‖expected‖, infinite where either is not finite; of integers, how many differ, in 1."""
    got, expected = (t.detach().cpu() for t in (got, expected))
    if not expected.is_floating_point():
        return float((got != expected).double().mean())
    got, expected = got.double(), expected.double()
    if not (got.isfinite().all() and expected.isfinite().all()):
        return float("inf")
    return float((got - expected).norm() / expected.norm().clamp_min(torch.finfo(torch.float64).tiny))


def check_compiled(fast: Callable, function: Callable, args: Sequence, dtype: torch.dtype) -> None:
    """Raise :class:`Disagreement` unless ``fast(*args)`` and its gradients agree with the plain function's."""
    for name, got, expected in zip(("result", "gradient"), _values(fast, args), _values(function, args), strict=False):
        error = difference(got, expected)
        if not error <= tolerance(dtype):
            raise Disagreement(f"its {name} differs by {error:.0%} (allowed {tolerance(dtype):.0%})")


def _values(function: Callable, args: Sequence) -> list[Tensor]:
    """What a function gives and, if it carries one, the gradient to all in its arguments that asks for one."""
    result = function(*args)
    if not result.requires_grad:
        return [result]
    modules = (parameter for arg in args if isinstance(arg, nn.Module) for parameter in arg.parameters())
    leaves = [leaf for leaf in (*args, *modules) if isinstance(leaf, Tensor) and leaf.requires_grad]
    gradients = torch.autograd.grad(result.sum(), leaves)
    return [result, torch.cat([gradient.flatten() for gradient in gradients])]
