"""Where a result comes from: versions, commit, device."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

import torch

from .. import __version__
from . import cpu

__all__ = ["commit", "device_name", "provenance"]

HOME = Path(__file__).resolve().parents[2]


def provenance(device: torch.device | str) -> dict:
    """Plain data for a result file: versions, this package's commit if any, the device's model."""
    packages = {name: metadata.version(name) for name in ("torch", "torchvision", "numpy")}
    versions = {"dm_replay": __version__, "python": platform.python_version(), **packages}
    return {"versions": versions, "commit": commit(), "device": device_name(device)}


def commit() -> str | None:
    """The commit of the checkout that this package runs from, "-dirty" if edited; None outside one."""
    if not (HOME / ".git").exists():
        return None
    command = ["git", "-C", str(HOME), "describe", "--always", "--abbrev=40", "--match=", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def device_name(device: torch.device | str) -> str:
    """The model of a GPU; of a CPU also how many threads PyTorch uses."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu.model()}, {torch.get_num_threads()} threads"
