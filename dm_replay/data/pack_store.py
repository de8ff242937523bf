"""The files of one pack: written whole or not at all, checked when opened.

``pack.json`` has the checksum of each array and ends in one of its own: see :func:`checksum`.
"""

import contextlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from tqdm import tqdm

from ..runtime.files import blocks_of, checksum
from .image_files import FileList, read_rgb

__all__ = ["FORMAT", "PARTS", "PackStore", "decoded_blocks"]

FORMAT = 1
PARTS = ("train", "test")
SPARE = 64 * 2**20  # bytes that a disk must have beyond a pack


class PackStore:
    """The place of the pack of a dataset ``name`` with a fingerprint ``key`` in the folder ``home``.

    Args:
        size: pixels a side that pictures are scaled to; see :func:`read_rgb`.
    """

    def __init__(self, home: Path, name: str, key: str, size: int | None = None):
        self.home, self.name, self.key, self.read = home, name, key, partial(read_rgb, size=size)
        self.folder = home / f"{name}{'' if size is None else f'-{size}'}-{key[:16]}"
        self.asked = time.time()

    def array(self, part: str) -> Path:
        return self.folder / f"{part}.npy"

    @property
    def made(self) -> float:
        """When the pack was made, in seconds; 0 where it is missing, incomplete, of other files or another format."""
        record = self._record
        try:
            sizes = {part: self.array(part).stat().st_size for part in record.get("bytes", PARTS)}
        except OSError:
            return 0.0
        same = (record.get("format"), record.get("key"), record.get("bytes")) == (FORMAT, self.key, sizes)
        return record["made"] if same else 0.0

    def is_whole(self) -> bool:
        """Whether every byte of the arrays is as it was written: reads them once, some 2 GiB a second."""
        sums = self._record.get("checksums", {})
        found = {part: _checksum(self.array(part), f"checking {part}") for part in sums}
        return bool(sums) and found == sums

    @property
    def _record(self) -> dict:
        """What :meth:`write` noted; {} where there is nothing, or not what was written."""
        try:
            text = (self.folder / "pack.json").read_text()
            record = json.loads(text)
            del record["checksum"]
            return record if text == _signed(record) else {}
        except (OSError, ValueError, TypeError, KeyError):
            return {}

    def has_room(self, parts: dict[str, FileList]) -> bool:
        """Whether the pack could be written here, by the rights and by the space."""
        nearest = next(p for p in (self.home, *self.home.absolute().parents) if p.exists())
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            return False
        pixels = sum(len(files) * self.read(files[0]).size for files, _ in parts.values())
        return shutil.disk_usage(nearest).free >= pixels + SPARE

    def write(self, parts: dict[str, FileList], even_if_whole: bool = False) -> None:
        """Decode the images into the pack. Of processes that ask at the same time one does the work."""
        self.home.mkdir(parents=True, exist_ok=True)
        with self._alone() as alone:
            if self.made > (self.asked if even_if_whole else 0):
                return
            if alone:
                self._clear(r"\.[0-9a-f]{16}-.*")
            self._write(parts)
            self._clear(rf"(-\d+)?-(?!{self.key[:16]})[0-9a-f]{{16}}")

    def _write(self, parts: dict[str, FileList]) -> None:
        temporary = Path(tempfile.mkdtemp(dir=self.home, prefix=f"{self.name}.{self.key[:16]}-"))
        try:
            sums = {
                part: _write_array(temporary / f"{part}.npy", files.files, f"packing {part}", self.read)
                for part, files in parts.items()
            }
            sizes = {part: (temporary / f"{part}.npy").stat().st_size for part in parts}
            record = {"format": FORMAT, "key": self.key, "made": time.time(), "bytes": sizes, "checksums": sums}
            with _synced(temporary / "pack.json") as file:
                file.write(_signed(record).encode())
            temporary.chmod(0o755)
            shutil.rmtree(self.folder, ignore_errors=True)
            temporary.rename(self.folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    @contextlib.contextmanager
    def _alone(self) -> Iterator[bool]:
        """Inside, no other process packs into this home; yields False where the system cannot promise it."""
        lock = FileLock(self.home / ".lock", fallback_to_soft=False)
        with contextlib.suppress(OSError):  # files cannot be locked here, or this one is another user's
            try:
                lock.acquire(timeout=0)
            except Timeout:
                tqdm.write("waiting for another process, which is packing the images", file=sys.stderr)
                lock.acquire()
        try:
            yield lock.is_locked
        finally:
            lock.release()

    def _clear(self, pattern: str) -> None:
        """Remove what earlier versions of the folder, at any size, and processes that were killed, have left."""
        for entry in self.home.iterdir():
            if re.fullmatch(re.escape(self.name) + pattern, entry.name):
                shutil.rmtree(entry, ignore_errors=True)


def _checksum(array: Path, title: str) -> int:
    """Of a file, with a bar."""
    size = array.stat().st_size
    with open(array, "rb") as file, tqdm.wrapattr(file, "read", size, desc=title, delay=1) as watched:
        return checksum(blocks_of(watched, size))


def _signed(record: dict) -> str:
    """A record as the text of its file, its own checksum last."""
    text = json.dumps(record, indent=2)
    return json.dumps({**record, "checksum": checksum([text.encode()])}, indent=2)


def _write_array(file: Path, pictures: list[str], title: str, read: Callable[[str], np.ndarray]) -> int:
    """All pictures, block by block: no more than a block is ever in memory. Returns the checksum of the file."""
    total = 0
    with _synced(file) as out:
        for number, block in enumerate(decoded_blocks(pictures, title, read)):
            if number == 0:
                header = _header((len(pictures), *block.shape[1:]))
                total = checksum([header])
                out.write(header)
            total = checksum([block.data], total)
            out.write(block.data)
    return total


def _header(shape: tuple[int, ...]) -> bytes:
    """Of an .npy file of uint8 pixels."""
    written = io.BytesIO()
    np.lib.format.write_array_header_1_0(written, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return written.getvalue()


@contextlib.contextmanager
def _synced(file: Path) -> Iterator:
    with open(file, "wb") as out:
        yield out
        out.flush()
        os.fsync(out.fileno())


BLOCK = 16 * 2**20  # bytes of pixels decoded at a time; 1,365 pictures of 64 x 64


def decoded_blocks(
    files: Sequence[str], title: str, read: Callable[[str], np.ndarray] = read_rgb
) -> Iterator[np.ndarray]:
    """The pictures as (B, 3, H, W) uint8, in order and of one size, with a bar; each block takes the place of the last.

    Threads help: Pillow decodes without holding the interpreter.

    Args:
        read: a file to (3, H, W) uint8.
    """
    with tqdm(total=len(files), desc=title, unit=" images", delay=1) as bar:
        shape = read(files[0]).shape
        buffer = np.empty((max(1, min(len(files), BLOCK // max(1, int(np.prod(shape))))), *shape), np.uint8)

        def place(row: int, file: str) -> None:
            pixels = read(file)
            if pixels.shape != shape:
                sizes = (f"{name} is {s[2]}x{s[1]}" for name, s in ((file, pixels.shape), (files[0], shape)))
                raise ValueError(f"images of unequal size: {', '.join(sizes)}")
            buffer[row] = pixels

        workers = ThreadPoolExecutor(os.cpu_count())
        try:
            for begin in range(0, len(files), len(buffer)):
                block = files[begin : begin + len(buffer)]
                for _ in workers.map(place, range(len(block)), block):
                    bar.update()
                yield buffer[: len(block)]
        finally:
            workers.shutdown(cancel_futures=True)
