"""Image folders decoded once, into a cache of uint8 arrays that opens at once ever after.

    <root>/.dm_replay-cache/<name>-<key>/train.npy, test.npy    (N, 3, H, W) uint8
    <root>/.dm_replay-cache/<name>-<key>/pack.json              what they were made from, their sizes and checksums

Where ``root`` cannot be written the cache is in ``$XDG_CACHE_HOME/dm_replay`` (or ``~/.cache/dm_replay``), in a folder
named by a hash of ``root``; where neither can, the images are decoded into memory, as often as they are read. The key
is a hash of the relative path, size, time and label of each file: a folder that changed has another one, is packed
anew, and its old pack goes. Opening 110,000 images of 64 x 64 took 1.05 s, checking their bytes another 0.9 s, and
0.14 GB where decoding them took 22 s and 1.5 GB, on two CPU cores with the files in the system's cache.

A pack is written beside its place and renamed, so that a killed process leaves none that is incomplete; the next one to
pack clears away what it left. Where a byte of a pack is no longer what was written, the images are packed anew.
"""

import hashlib
import os
import stat
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .arrays import Split, mapped_array
from .image_files import FileList, large_pictures_refused
from .pack_store import FORMAT, PARTS, PackStore, decoded_blocks

__all__ = ["packed"]

IN_MEMORY = 256 * 2**20  # bytes of pixels; larger arrays stay in their file, mapped

Listing = Callable[[Path], tuple[FileList, FileList | None, list[str]]]


@large_pictures_refused()
def packed(
    name: str, listing: Listing, root: Path, repack: bool = False, size: int | None = None
) -> tuple[Split, Split | None, list[str]]:
    """The images that ``listing`` finds under ``root``: train, test and class names, from their pack if there is one.

    A part of at most :data:`IN_MEMORY` bytes is read into memory, a larger one is mapped.

    Args:
        repack: pack anew, even where nothing seems to have changed.
        size: pixels a side; see :func:`read_rgb`. Each size has a pack of its own.

    Raises:
        ValueError: naming the file, if an image cannot be read or has another size than the first.
    """
    root = root.absolute()
    train, test, names = listing(root)
    parts = {part: files for part, files in zip(PARTS, (train, test), strict=True) if files is not None}
    key = _fingerprint(root, parts)
    stores = [PackStore(home, name, key, size) for home in _homes(root)]
    store = max(stores, key=lambda store: store.made)
    if not repack and store.made and not store.is_whole():
        warnings.warn(f"{store.folder} is damaged: its checksum is not that of its content; packing anew", stacklevel=2)
        repack = True
    if repack or not store.made:
        roomy = next((store for store in stores if store.has_room(parts)), None)
        if roomy is None:
            warnings.warn(f"no place to pack {root} into; its images are decoded at each start", stacklevel=2)
            read = stores[0].read
            splits = {part: Split(_in_memory(part, files.files, read), files.labels) for part, files in parts.items()}
            return splits["train"], splits.get("test"), names
        store = roomy
        store.write(parts, even_if_whole=repack)
    splits = {part: _opened(store.array(part), files) for part, files in parts.items()}
    return splits["train"], splits.get("test"), names


def _homes(root: Path) -> list[Path]:
    """Where packs of the folder may lie, the best place first."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    own = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]
    return [root / ".dm_replay-cache", cache / "dm_replay" / own]


def _fingerprint(root: Path, parts: dict[str, FileList]) -> str:
    """A hash of the format, and of what says that no image has changed."""
    hashed = hashlib.sha256(f"{FORMAT}\n".encode())
    for part, (files, labels) in parts.items():
        hashed.update(f"{part} {len(files)}\n".encode())
        for file, label in zip(files, labels.tolist(), strict=True):
            try:
                about = os.stat(file)
            except OSError as error:
                raise ValueError(f"cannot read the image {file}: {error.strerror}") from error
            if not stat.S_ISREG(about.st_mode):  # reading might wait for ever
                raise ValueError(f"cannot read the image {file}: it is a pipe, a device or a folder")
            path = os.fsencode(file.removeprefix(str(root)).replace(os.sep, "/"))
            hashed.update(b"%b\0%d %d %d\n" % (path, about.st_size, about.st_mtime_ns, label))
    return hashed.hexdigest()


def _opened(file: Path, files: FileList) -> Split:
    if file.stat().st_size > IN_MEMORY:
        return Split(mapped_array(file), files.labels, mapped=True)
    return Split(torch.from_numpy(np.load(file)), files.labels)


def _in_memory(part: str, files: list[str], read: Callable[[str], np.ndarray]) -> Tensor:
    images, done = None, 0
    for block in decoded_blocks(files, f"reading {part}", read):
        images = np.empty((len(files), *block.shape[1:]), np.uint8) if images is None else images
        images[done : done + len(block)] = block
        done += len(block)
    return torch.from_numpy(images)
