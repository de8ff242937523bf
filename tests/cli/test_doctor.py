"""The report of a machine, on smaller measurements than a user gets."""

import json

import pytest

from dm_replay.cli import doctor
from dm_replay.runtime import hardware

PARTS = ["versions", "commit", "system", "cpu", "devices", "engine", "self_check", "measured"]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(hardware, "SIZES", dict.fromkeys(("cpu", "gpu"), (64, 2**16)))
    for name, value in {"FEW_CLASSES": 2, "FEW_IMAGES": 4, "NETWORK": "convnet:width=8"}.items():
        monkeypatch.setattr(doctor, name, value)


def test_the_report_for_people(cli):
    lines = cli("doctor", "--device", "cpu").splitlines()
    begun = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert list(dict.fromkeys(begun)) == [
        "versions", "commit", "system", "cpu", "compiler", "devices", "engine", "self-check", "measured"
    ]  # fmt: skip
    text = "\n".join(lines)
    for name in ("dm_replay", "python", "torch", "torchvision", "avalanche-lib", "numpy"):
        assert f"{name} " in lines[0]
    for choice in ("device cpu: as asked for", "dtype ", "compiled ", "chunk "):
        assert f"            {choice}" in text
    assert "condensation: passed" in text and "evaluation: passed" in text
    assert "matrix product" in text and "s for an uncompiled step on 8 images of 32x32" in text


def test_the_report_for_machines(cli):
    report = json.loads(cli("doctor", "--json", "--device", "cpu"))
    assert list(report) == PARTS
    assert report["engine"]["device"] == "cpu" and set(report["engine"]["reasons"]) == {
        "device", "dtype", "compiled", "chunk"
    }  # fmt: skip
    assert [found["wrong"] for found in report["self_check"].values()] == [None, None]
    assert report["measured"]["seconds"] > 0 and report["measured"]["floor"] > 0


def test_what_fails_is_in_the_report(cli, monkeypatch):
    """A report is wanted most where things fail."""

    def broken(*args, **how):
        raise RuntimeError("CUDA error: no kernel image is available\nand more")

    monkeypatch.setattr(doctor, "condense", broken)
    monkeypatch.setattr(doctor.matching_check, "probe", broken)
    text = cli("doctor", "--device", "cpu")
    assert "condensation: the fast path raised RuntimeError: CUDA error: no kernel image is available" in text
    assert "measured    RuntimeError: CUDA error: no kernel image is available\n" in text
    assert "evaluation: passed" in text and "and more" not in text


def test_a_device_that_is_not_there(refused):
    assert "device 'nothing' cannot be used" in refused("doctor", "--device", "nothing")
