"""Folders of image files, read whole into memory."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

__all__ = ["image_folder", "tiny_imagenet"]

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}

Split = tuple[Tensor, Tensor]


def image_folder(root: Path) -> tuple[Split, Split, list[str]]:
    """``root/train/<class>/…`` and ``root/test/<class>/…`` (or ``root/val``) -> train, test, class names.

    Images are read as RGB, uint8 (N, 3, H, W); all of one size. The classes are train's folders, sorted.
    """
    train = _existing_folder(root / "train")
    test = next((root / name for name in ("test", "val") if (root / name).is_dir()), root / "test")
    names = _class_folders(train)
    strangers = set(_class_folders(_existing_folder(test))) - set(names)
    if strangers:
        raise ValueError(f"{test / min(strangers)} has no counterpart in {train}")
    train_files, test_files = _files_by_class(train, names), _files_by_class(test, names)
    empty = [name for name in names if not train_files[name]]
    if empty:
        raise ValueError(f"class folder {train / empty[0]} holds no images")
    return _read(train_files, train), _read(test_files, test), names


def tiny_imagenet(root: Path) -> tuple[Split, Split, list[str]]:
    """``root/tiny-imagenet-200`` as Stanford ships it; the labelled validation images are the test."""
    home = root / "tiny-imagenet-200"
    train, annotations = _existing_folder(home / "train"), home / "val" / "val_annotations.txt"
    if not annotations.is_file():
        raise ValueError(f"expected {annotations}, which says the class of each test image")
    codes = _class_folders(train)
    test_files: dict[str, list[Path]] = {code: [] for code in codes}
    for line in annotations.read_text().splitlines():
        file, code = line.split("\t")[:2]
        if code not in test_files:
            raise ValueError(f"{annotations} names class {code}, which {train} lacks")
        test_files[code].append(home / "val" / "images" / file)
    return _read(_files_by_class(train, codes), train), _read(test_files, home / "val"), _words(home, codes)


def _words(home: Path, codes: list[str]) -> list[str]:
    """The first word of each WordNet code, where words.txt is there to say it."""
    listing = home / "words.txt"
    lines = listing.read_text().splitlines() if listing.is_file() else []
    words = dict(line.split("\t", 1) for line in lines)
    return [words.get(code, code).split(",")[0] for code in codes]


def _existing_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise ValueError(f"expected the folder {folder}, with one folder of images for each class")
    return folder


def _class_folders(folder: Path) -> list[str]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != ".")
    if not names:
        raise ValueError(f"{folder} holds no folders; expected one folder of images for each class")
    return names


def _files_by_class(folder: Path, names: list[str]) -> dict[str, list[Path]]:
    return {name: sorted(filter(_is_image, (folder / name).rglob("*"))) for name in names}


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _read(files: dict[str, list[Path]], where: Path) -> Split:
    paths = [path for of_class in files.values() for path in of_class]
    if not paths:
        raise ValueError(f"{where} holds no images")
    counts = torch.tensor([len(of_class) for of_class in files.values()])
    return _decode(paths, f"reading {where.name}"), torch.arange(len(files)).repeat_interleave(counts)


def _decode(paths: list[Path], title: str) -> Tensor:
    """(N, 3, H, W) uint8. Threads help: Pillow decodes without holding the interpreter."""
    height, width = _pixels(paths[0]).shape[1:]
    images = np.empty((len(paths), 3, height, width), np.uint8)

    def place(number: int) -> None:
        pixels = _pixels(paths[number])
        if pixels.shape[1:] != (height, width):
            raise ValueError(
                f"images of unequal size: {paths[number]} is {pixels.shape[2]}x{pixels.shape[1]}, "
                f"{paths[0]} is {width}x{height}"
            )
        images[number] = pixels

    workers = ThreadPoolExecutor(os.cpu_count())
    try:
        for _ in tqdm(workers.map(place, range(len(paths))), title, len(paths), unit=" images", delay=1):
            pass
    finally:
        workers.shutdown(cancel_futures=True)
    return torch.from_numpy(images)


def _pixels(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"cannot read the image {path}: {error}") from error
