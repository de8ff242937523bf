"""Image sets of given stored values or of random images, and what two sets have in common."""

import torch

from dm_replay import Budget, ImageSet, Random


def of_values(values, labels, codec, shape=None, **about):
    """Stored images of values as they are; images are of the values' shape where no other is given."""
    shape = shape or tuple(values.shape[1:])
    return ImageSet.from_values(values, torch.as_tensor(labels), codec.fit(shape), shape, **about)


def random_set(pool, ipc, seed=0):
    """Random whole images, so many of each class."""
    return Random().reduce(pool, Budget(ipc), seed=seed)


def stored_alike(one, other):
    """Whether two sets store the same, bit by bit, and decode it alike."""
    own, others = (part.stored.fields() for part in (one, other))
    same = own.keys() == others.keys() and all(torch.equal(own[name], others[name]) for name in own)
    affine = [part.affine for part in (one, other)]
    mapped = affine == [None, None] if None in affine else torch.equal(*affine)
    return same and mapped and one.codec == other.codec and one.shape == other.shape


def stored_tiles(values):
    """The tiles of mosaics (N, C, H, W) of 2 x 2: (4 N, C, H / 2, W / 2)."""
    height, width = (side // 2 for side in values.shape[2:])
    return values.unfold(2, height, height).unfold(3, width, width).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def kept_by(codec, images):
    """The codec fitted to images, what it stores of them, and their values before and after."""
    codec = codec.fit(tuple(images.shape[1:]))
    values = codec.encode(images)
    stored = codec.store(values)
    return codec, stored, values, codec.read(stored, torch.arange(len(images)))
