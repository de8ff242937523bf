"""Pure kernels. Grouped images are (G, B, C, H, W): G classes of B images; parameters have one row per group."""

import torch
from torch import Tensor

__all__ = ["color", "cutout", "warp"]

ADJOINT_REACH = 1.5  # pixels; three candidates a side cover every preimage within it


def warp(x: Tensor, matrix: Tensor) -> Tensor:
    """Bilinear affine resampling with zeros outside: out(q) = x(A q + t).

    Args:
        x: (G, B, C, H, W).
        matrix: (G, 2, 3), rows ``[A | t]``, in pixels from the image center, columns (x) before rows (y). Integer
            shifts and mirrorings are exact copies. For the gradient each row of A⁻¹ may sum to at most 1.5 in
            absolute value, which holds up to a scale of 1.5 and a rotation of 45°.

    The gradient is the adjoint as a gather, not a scatter: it needs no atomics, so it is deterministic on every device.

    >>> import torch
    >>> from dm_replay.augment.kernels import warp
    >>> x = torch.arange(4.0).view(1, 1, 1, 1, 4)
    >>> warp(x, torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]])).flatten().tolist()  # x(q + 1)
    [1.0, 2.0, 3.0, 0.0]
    """
    return _Warp.apply(x, matrix) if x.requires_grad else _resample(x, *_forward_taps(matrix, x.shape[-2:]))


class _Warp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, matrix):
        ctx.save_for_backward(matrix)
        return _resample(x, *_forward_taps(matrix, x.shape[-2:]))

    @staticmethod
    def backward(ctx, gradient):
        (matrix,) = ctx.saved_tensors
        return _resample(gradient, *_adjoint_taps(matrix, gradient.shape[-2:])), None


def _centered_grid(like: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Pixel positions from the center, (1, H, W) each: x, y."""
    y = torch.arange(height, dtype=like.dtype, device=like.device) - (height - 1) / 2
    x = torch.arange(width, dtype=like.dtype, device=like.device) - (width - 1) / 2
    return x.expand(1, height, width), y[:, None].expand(1, height, width)


def _transform(matrix: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    a = matrix[:, :, :, None, None]
    return a[:, 0, 0] * x + a[:, 0, 1] * y + a[:, 0, 2], a[:, 1, 0] * x + a[:, 1, 1] * y + a[:, 1, 2]


def _hat(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp_min(0)


def _flat_index(x: Tensor, y: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Centred integer positions -> (indices clamped into the image, whether they were inside)."""
    column, row = x + (width - 1) / 2, y + (height - 1) / 2
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long(), inside


def _forward_taps(matrix: Tensor, size: torch.Size) -> tuple[Tensor, Tensor]:
    """The four neighbours of every source position: indices and weights, (4, G, H, W) each."""
    height, width = size
    source_x, source_y = _transform(matrix, *_centered_grid(matrix, height, width))
    half_x, half_y = (width - 1) / 2 % 1, (height - 1) / 2 % 1
    left, top = (source_x - half_x).floor() + half_x, (source_y - half_y).floor() + half_y
    indices, weights = [], []
    for step_y in (0, 1):
        for step_x in (0, 1):
            index, inside = _flat_index(left + step_x, top + step_y, height, width)
            weight = _hat(source_x - left - step_x) * _hat(source_y - top - step_y)
            indices.append(index)
            weights.append(weight * inside)
    return torch.stack(indices), torch.stack(weights)


def _adjoint_taps(matrix: Tensor, size: torch.Size) -> tuple[Tensor, Tensor]:
    """For every source pixel the outputs that may have read it: indices and weights, (9, G, H, W) each."""
    height, width = size
    source_x, source_y = _centered_grid(matrix, height, width)
    linear, shift = matrix[:, :, :2], matrix[:, :, 2:]
    inverse = _inverse(linear)
    preimage = _transform(torch.cat([inverse, -inverse @ shift], 2), source_x, source_y)
    half_x, half_y = (width - 1) / 2 % 1, (height - 1) / 2 % 1
    first_x = (preimage[0] - ADJOINT_REACH - half_x).ceil() + half_x
    first_y = (preimage[1] - ADJOINT_REACH - half_y).ceil() + half_y
    indices, weights = [], []
    for step_y in range(3):
        for step_x in range(3):
            x, y = first_x + step_x, first_y + step_y
            index, inside = _flat_index(x, y, height, width)
            read_x, read_y = _transform(matrix, x, y)
            indices.append(index)
            weights.append(_hat(read_x - source_x) * _hat(read_y - source_y) * inside)
    return torch.stack(indices), torch.stack(weights)


def _inverse(linear: Tensor) -> Tensor:
    a, b, c, d = linear[:, 0, 0], linear[:, 0, 1], linear[:, 1, 0], linear[:, 1, 1]
    adjugate = torch.stack([torch.stack([d, -b], 1), torch.stack([-c, a], 1)], 1)
    return adjugate / (a * d - b * c)[:, None, None]


def _resample(x: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    groups, height, width = len(x), x.shape[-2], x.shape[-1]
    planes = x.reshape(groups, -1, height * width)
    out = torch.zeros_like(planes)
    for index, weight in zip(indices, weights, strict=True):
        index = index.reshape(groups, 1, -1).expand_as(planes)
        out = out + planes.gather(2, index) * weight.reshape(groups, 1, -1).to(x.dtype)
    return out.reshape(x.shape)


def color(x: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Shift by ``brightness``, then spread the channels about the pixel's gray, then the pixels about the image's mean.

    Written as one affine map of x: with gray g (mean over C) and mean m (over C, H, W),
    ``c·s·x + (c − c·s)·g + (1 − c)·m + b``; neutral parameters (0, 1, 1) give x back exactly.

    Args:
        x: (G, B, C, H, W); brightness, saturation, contrast: (G,).

    >>> import torch
    >>> from dm_replay.augment.kernels import color
    >>> pixel = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 3, 1, 1)
    >>> color(pixel, torch.tensor([0.5]), torch.tensor([0.0]), torch.tensor([1.0])).flatten().tolist()  # gray, lighter
    [1.0, 1.0, 1.0]
    """
    b, s, c = (p.to(x.dtype)[:, None, None, None, None] for p in (brightness, saturation, contrast))
    gray = x.mean(2, keepdim=True)
    mean = gray.mean((3, 4), keepdim=True)
    return c * s * x + (c - c * s) * gray + ((1 - c) * mean + b)


def cutout(x: Tensor, box: Tensor) -> Tensor:
    """Zero a rectangle. x: (G, B, C, H, W); box: (G, 4) as top, bottom, left, right in pixels, ends excluded.

    >>> import torch
    >>> from dm_replay.augment.kernels import cutout
    >>> cutout(torch.ones(1, 1, 1, 2, 3), torch.tensor([[0, 2, 1, 3]])).flatten().tolist()
    [1.0, 0.0, 0.0, 1.0, 0.0, 0.0]
    """
    top, bottom, left, right = box[:, :, None, None].unbind(1)
    y = torch.arange(x.shape[-2], device=x.device)[:, None]
    x_ = torch.arange(x.shape[-1], device=x.device)
    inside = (y >= top) & (y < bottom) & (x_ >= left) & (x_ < right)
    return x.masked_fill(inside[:, None, None], 0)
