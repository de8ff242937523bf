"""Files with a checksum: what is written is read, and any flipped bit is found."""

import random
import zipfile

import pytest
import torch
from damage import with_bit_flipped

from dm_replay.runtime.files import is_sealed, load_sealed, save_sealed

CONTENT = {"pixels": torch.arange(12.0).view(3, 4), "settings": {"seed": 3, "names": ["ant", "bee"]}, "none": None}


@pytest.fixture
def file(tmp_path):
    save_sealed(CONTENT, tmp_path / "content.pt")
    return tmp_path / "content.pt"


def refused(path, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_sealed(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_written_is_read(file):
    read = load_sealed(file)
    assert torch.equal(read.pop("pixels"), CONTENT["pixels"])
    assert read == {name: value for name, value in CONTENT.items() if name != "pixels"}


def test_the_file_is_still_an_archive_that_torch_reads(file):
    assert torch.equal(torch.load(file, weights_only=True)["pixels"], CONTENT["pixels"])
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None and archive.comment.startswith(b"crc32:")


def test_every_flipped_bit_is_found(file):
    content = file.read_bytes()
    for place in random.Random(0).sample(range(8 * len(content)), 600):
        file.write_bytes(with_bit_flipped(content, place))
        refused(file, "checksum")


def test_flips_of_the_checksum_itself_are_found(file):
    content = file.read_bytes()
    for place in range(8 * (len(content) - 40), 8 * len(content)):
        file.write_bytes(with_bit_flipped(content, place))
        refused(file, "checksum")


def test_truncated_and_lengthened(file):
    content = file.read_bytes()
    for length in (*range(40), len(content) // 2, *range(len(content) - 40, len(content))):
        file.write_bytes(content[:length])
        refused(file, "checksum")
    file.write_bytes(content + b"\0")
    refused(file, "checksum")


def test_files_without_a_checksum(tmp_path):
    torch.save(CONTENT, tmp_path / "plain.pt")
    assert not is_sealed(tmp_path / "plain.pt")
    refused(tmp_path / "plain.pt", "has no checksum")
    refused(tmp_path / "absent.pt", "no such file")


class Dangerous:
    def __reduce__(self):
        return (print, ("code ran while loading",))


def test_no_code_is_run(tmp_path, capsys):
    save_sealed({"settings": Dangerous()}, tmp_path / "code.pt")
    refused(tmp_path / "code.pt", r"not readable \(UnpicklingError while reading it\)")
    assert "code ran" not in capsys.readouterr().out
