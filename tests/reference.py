"""The method once more, slowly: loops written from the equations, one class and one image at a time.

Nothing here is shared with the package but the drawn numbers (the rows of ``SiameseAugment.sample``).
"""

import torch
from torch.nn import functional as F


def augment_image(image, row):
    """One image (C, H, W) under one row of parameters, step by step as PROTOCOL lists them."""
    matrix, color, box = row.to(image.dtype)
    image = warp_image(image, matrix)
    brightness, saturation, contrast = color
    image = image + brightness
    image = (image - image.mean(0, keepdim=True)) * saturation + image.mean(0, keepdim=True)
    image = (image - image.mean()) * contrast + image.mean()
    keep = torch.ones_like(image)
    top, bottom, left, right = (int(v) for v in box)
    for y in range(max(top, 0), min(bottom, image.shape[1])):
        for x in range(max(left, 0), min(right, image.shape[2])):
            keep[:, y, x] = 0
    return image * keep


def warp_image(image, matrix):
    """Bilinear resampling by PyTorch's own sampler: pixels from the center -> its normalized coordinates."""
    height, width = image.shape[1:]
    linear, shift = matrix[:, :2].clone(), matrix[:, 2].clone()
    linear[0, 1] *= height / width
    linear[1, 0] *= width / height
    shift = shift * torch.tensor([2 / width, 2 / height], dtype=image.dtype)
    theta = torch.cat([linear, shift[:, None]], 1)[None]
    grid = F.affine_grid(theta, [1, *image.shape], align_corners=False)
    return F.grid_sample(image[None], grid, align_corners=False)[0]


def matching_loss(network, real, synthetic, params, batch_statistics, weights=None):
    """Sum over classes of the squared distance of mean features; real and synthetic are lists of (B, C, H, W)."""
    real = [torch.stack([augment_image(x, params.take(g)) for x in images]) for g, images in enumerate(real)]
    fake = [torch.stack([augment_image(x, params.take(g)) for x in images]) for g, images in enumerate(synthetic)]
    if batch_statistics:
        real_features = network.embed(torch.cat(real)).split([len(x) for x in real])
        fake_features = network.embed(torch.cat(fake)).split([len(x) for x in fake])
    else:
        real_features = [network.embed(x) for x in real]
        fake_features = [network.embed(x) for x in fake]
    loss = 0.0
    for one, other in zip(real_features, fake_features, strict=True):
        for length in range(1, len(other) + 1):
            weight = (length == len(other)) if weights is None else weights[length - 1]
            loss = loss + weight * ((one.detach().mean(0) - other[:length].mean(0)) ** 2).sum()
    return loss


def train(network, images, labels, epochs, batch, draws, steps=None):
    """The evaluation schedule, one image at a time; draws() gives an epoch's (augmentation rows, order)."""
    lr, momenta, done = 0.01, [torch.zeros_like(p) for p in network.parameters()], 0
    for epoch in range(epochs + 1):
        params, order = draws()
        for rows in order.split(batch):
            if steps is not None and done == -(-steps // 2):
                lr, momenta = lr * 0.1, [torch.zeros_like(p) for p in network.parameters()]
            if steps is not None and done == steps:
                return network
            done += 1
            augmented = torch.stack([augment_image(images[i], params.take(i)) for i in rows])
            loss = F.cross_entropy(network(augmented), labels[rows])
            gradients = torch.autograd.grad(loss, list(network.parameters()))
            with torch.no_grad():
                for parameter, gradient, momentum in zip(network.parameters(), gradients, momenta, strict=True):
                    momentum.mul_(0.9).add_(gradient + 5e-4 * parameter)
                    parameter.sub_(lr * momentum)
        if steps is None and epoch == epochs // 2 + 1:
            lr, momenta = lr * 0.1, [torch.zeros_like(p) for p in network.parameters()]
    return network


def slow_decode(stored, tiles, enlarging="linear"):
    """One stored image and one tile at a time."""
    height, width = stored.shape[2:]
    places = [(row, column) for row in range(tiles) for column in range(tiles)]
    cut = [slow_tile(image, *place, tiles) for image in stored for place in places]
    return torch.stack([slow_enlarge(tile, height, width, enlarging) for tile in cut])


def slow_tile(plane, row, column, tiles):
    height, width = plane.shape[1:]
    top, bottom = row * height // tiles, (row + 1) * height // tiles
    left, right = column * width // tiles, (column + 1) * width // tiles
    return plane[:, top:bottom, left:right]


def slow_enlarge(tile, height, width, enlarging):
    """One tile (C, h, w), by PyTorch's own interpolation; if it is to be sharp, then row by row and by column."""
    mode = {"linear": "bilinear", "sharp": "bicubic"}[enlarging]
    image = F.interpolate(tile[None], (height, width), mode=mode, align_corners=False)[0]
    if enlarging == "linear":
        return image
    for axis, reach in ((1, round(height / tile.shape[1]) - 1), (2, round(width / tile.shape[2]) - 1)):
        lines = image.movedim(axis, 0)
        last = len(lines) - 1
        means = [
            torch.stack([lines[min(max(near, 0), last)] for near in range(at - max(reach, 0), at + max(reach, 0) + 1)])
            for at in range(len(lines))
        ]
        image = torch.stack([2 * line - mean.mean(0) for line, mean in zip(lines, means, strict=True)]).movedim(0, axis)
    return image
