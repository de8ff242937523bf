"""Image files: which a folder holds, the class of each, and their pixels in eight bits."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

__all__ = ["FileList", "image_folder", "imagenet", "large_pictures_refused", "pixels_of", "read_rgb", "tiny_imagenet"]

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
TESTS = ("test", "val")
Identity = tuple[int, int]


class FileList(NamedTuple):
    """The paths of one part's image files, class by class, with labels (N,). Plain strings: there may be millions."""

    files: list[str]
    labels: Tensor


def image_folder(root: Path) -> tuple[FileList, FileList | None, list[str]]:
    """``root/train/<class>/…`` and ``root/test/<class>/…``, or val -> train, test, class names.

    Or ``root/<class>/…`` alone, which has no test. The classes are train's folders, sorted. Links are followed. Hidden
    files and folders, and those that archives of a Mac leave, are none.
    """
    parts = ("train", *TESTS)
    return _in_parts(root, TESTS) if any((root / part).is_dir() for part in parts) else _for_training(root)


def _in_parts(root: Path, tests: Sequence[str]) -> tuple[FileList, FileList, list[str]]:
    """``root/train/<class>/…`` and the first there is of the folders ``tests``."""
    train = _existing_folder(root / "train")
    test = next((root / name for name in tests if (root / name).is_dir()), root / tests[0])
    names = _class_folders(train)
    strangers = set(_class_folders(_existing_folder(test))) - set(names)
    if strangers:
        raise ValueError(f"{test / min(strangers)} has no counterpart in {train}")
    train_files, test_files = _training_files(train, names), _files_by_class(test, names)
    return _listed(train_files, train), _listed(test_files, test), names


def _for_training(root: Path) -> tuple[FileList, None, list[str]]:
    """``root/<class>/…``. A folder with folders alone is rather a part of a dataset than a class."""
    names = _class_folders(root)
    files = _training_files(root, names)
    for name in names:
        if not any(os.path.dirname(file) == os.path.join(root, name) for file in files[name]):
            raise ValueError(f"expected the folder {root / 'train'}, or images in {root / name} itself, as of a class")
    return _listed(files, root), None, names


def _training_files(folder: Path, names: list[str]) -> dict[str, list[str]]:
    """The images of each class, of which each has some."""
    files = _files_by_class(folder, names)
    empty = [name for name in names if not files[name]]
    if empty:
        raise ValueError(f"class folder {folder / empty[0]} holds no images")
    return files


def imagenet(root: Path) -> tuple[FileList, FileList, list[str]]:
    """ILSVRC's ``train/<code>/…`` and ``val/<code>/…``, in ``root/imagenet`` or in ``root`` itself.

    Its own ``test`` has no labels, and is left alone.
    """
    return _in_parts(root / "imagenet" if (root / "imagenet").is_dir() else root, ("val",))


def tiny_imagenet(root: Path) -> tuple[FileList, FileList, list[str]]:
    """``root/tiny-imagenet-200`` as Stanford ships it; the labelled validation images are the test."""
    home = root / "tiny-imagenet-200"
    train, annotations = _existing_folder(home / "train"), home / "val" / "val_annotations.txt"
    if not annotations.is_file():
        raise ValueError(f"expected {annotations}, which says the class of each test image")
    codes = _class_folders(train)
    test_files: dict[str, list[str]] = {code: [] for code in codes}
    for line in filter(str.strip, annotations.read_text().splitlines()):
        file, _, rest = line.partition("\t")
        code = rest.partition("\t")[0]
        if code not in test_files:
            raise ValueError(f"{annotations} names class {code or repr(line)}, which {train} lacks")
        test_files[code].append(os.path.join(home, "val", "images", file))
    return _listed(_files_by_class(train, codes), train), _listed(test_files, home / "val"), _words(home, codes)


def _words(home: Path, codes: list[str]) -> list[str]:
    """The first word of each WordNet code, where words.txt is there to say it."""
    listing = home / "words.txt"
    lines = listing.read_text().splitlines() if listing.is_file() else []
    words = dict(line.split("\t", 1) for line in lines if "\t" in line)
    return [words.get(code, code).split(",")[0] for code in codes]


def _existing_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise ValueError(f"expected the folder {folder}, with one folder of images for each class")
    return folder


def _class_folders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not _is_hidden(entry.name) and _is_folder(entry))
    if not names:
        raise ValueError(f"{folder} holds no folders; expected one folder of images for each class")
    return names


def _files_by_class(folder: Path, names: list[str]) -> dict[str, list[str]]:
    """The images of each class, in the order of their paths, folder by folder."""
    files: dict[str, list[str]] = {name: [] for name in names}
    for name, found in files.items():
        path = os.path.join(folder, name)
        if os.path.isdir(path):
            found += sorted(
                _images_under(path, frozenset(map(_identity, Path(path).resolve().parents))),
                key=lambda file: file.split(os.sep),
            )
    return files


def _images_under(folder: str, above: frozenset[Identity]) -> Iterator[str]:
    """Those of folders that are links, too. ``above``: the folders that this one is in."""
    own = _identity(folder)
    if own in above:
        raise ValueError(f"{folder} is a link that leads back to a folder that it is in; remove it")
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_hidden(entry.name):
                continue
            if _is_folder(entry):
                yield from _images_under(entry.path, above | {own})
            elif _is_picture(entry.name):
                yield entry.path


def _is_folder(entry: os.DirEntry) -> bool:
    """ValueError for a link that leads nowhere, unless it has a picture's name: reading that says what is wrong."""
    if not entry.is_symlink():
        return entry.is_dir()
    if not os.path.exists(entry.path) and not _is_picture(entry.name):
        raise ValueError(f"{entry.path} is a link that leads nowhere; remove it")
    return os.path.isdir(entry.path)


def _identity(folder: str | Path) -> Identity:
    """The same for a folder and all links to it."""
    about = os.stat(folder)
    return about.st_dev, about.st_ino


def _is_picture(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _listed(files: dict[str, list[str]], where: Path) -> FileList:
    paths = [path for of_class in files.values() for path in of_class]
    if not paths:
        raise ValueError(f"{where} holds no images")
    counts = torch.tensor([len(of_class) for of_class in files.values()])
    return FileList(paths, torch.arange(len(files)).repeat_interleave(counts))


KEPT = ("L", "LA", "RGB", "RGBA")
SIXTEEN_BITS = ("PNG", "PPM")  # formats whose mode "I" is 16 bits a pixel; in TIFF it is 32


def read_rgb(path: str | Path, size: int | None = None) -> np.ndarray:
    """The picture in a file as RGB: (3, H, W) uint8. Sixteen bits are scaled to eight, v / 257 rounded.

    Args:
        size: pixels a side of the square that is wanted: the shorter side is scaled to it, and the middle kept. What
            EXIF says of the orientation is ignored, as torchvision ignores it.

    Raises:
        ValueError: naming the file, if it is no picture, damaged, larger than :data:`PIL.Image.MAX_IMAGE_PIXELS` or of
            32 bits a channel, whose range is unknown.
    """
    try:
        with Image.open(path) as image:
            most = Image.MAX_IMAGE_PIXELS
            if most is not None and image.width * image.height > most:
                got = f"{image.width}x{image.height} pixels"
                raise ValueError(f"{got} are more than the {most:,} that a picture may have")
            if size is not None:
                image.draft("RGB", (2 * size, 2 * size))  # a large JPEG is decoded at a fraction of its size
            rgb = _eight_bits(image).convert("RGB")
            if size is not None:
                rgb = ImageOps.fit(rgb, (size, size), Image.Resampling.BICUBIC)  # which averages where it shrinks
            return np.asarray(rgb).transpose(2, 0, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"cannot read the image {path}: {error}") from error


def pixels_of(image: Image.Image) -> np.ndarray:
    """A Pillow image as (C, H, W), uint8, with the channels it has; palettes become RGB.

    Raises:
        ValueError: for 32 bits a channel, whose range is unknown.
    """
    image = _eight_bits(image)
    if image.mode not in KEPT:
        image = image.convert("L" if image.mode == "1" else "RGB")
    return np.ascontiguousarray(np.atleast_3d(np.asarray(image)).transpose(2, 0, 1))


@contextmanager
def large_pictures_refused() -> Iterator[None]:
    """Inside, Pillow does not also warn of a picture that :func:`read_rgb` refuses for its size."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in SIXTEEN_BITS):
        values = np.asarray(image).astype(np.int64).clip(0, 65_535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode in ("F", "I"):
        kind = "floats" if image.mode == "F" else "32-bit integers"
        raise ValueError(f"its pixels are {kind}, whose range is unknown; expected 8 or 16 bits a channel")
    return image
