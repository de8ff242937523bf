"""Whether a run may begin or go on in a folder, and with which settings."""

from dataclasses import asdict

from ..data.registry import Dataset
from ..matching.config import CondenseConfig
from ..runtime.distributed import world
from .run_folder import RunFolder
from .run_lock import check_free

__all__ = ["SNAPSHOTS", "check_out", "checkpoint_to_resume", "settings_of", "snapshots_to_take"]

SNAPSHOTS = 10


def check_out(folder: RunFolder, resume: bool, overwrite: bool) -> None:
    """ValueError unless a run may begin in the folder, or go on there if ``resume``; before data is read for it."""
    if resume and overwrite:
        raise ValueError("--resume and --overwrite exclude each other")
    folder.check_writable()
    if world().size == 1:  # of several processes one may hold it already
        check_free(folder.path)
    folder.check_record()
    _check_begun(folder, resume or overwrite)


def _check_begun(folder: RunFolder, allowed: bool) -> None:
    if folder.begun and not allowed:
        kind = "a finished run" if folder.finished else "an unfinished run"
        raise ValueError(f"{folder.path} holds {kind}; go on with --resume or begin anew with --overwrite")


def settings_of(dataset: Dataset, config: CondenseConfig, seed: int) -> dict:
    """What decides the pixels, as plain data."""
    pool = dataset.train
    data = {"real_images": len(pool), "classes": len(pool.classes), "image_shape": list(pool.shape)}
    return {"dataset": dataset.spec.name, **data, "seed": seed, **asdict(config)}


def snapshots_to_take(given: int | None, folder: RunFolder, resume: bool) -> int:
    """What was asked for, else what a resumed run was begun with."""
    begun_with = folder.begun_with() if resume and given is None else {}
    snapshots = begun_with.get("snapshots", SNAPSHOTS) if given is None else given
    if not isinstance(snapshots, int) or snapshots < 0:
        raise ValueError(f"snapshots must be a whole number of at least 0, got {snapshots}")
    return snapshots


def checkpoint_to_resume(folder: RunFolder, settings: dict, resume: bool) -> dict | None:
    """The checkpoint to go on from, None where there is none; ValueError unless it is of the same run."""
    if not folder.begun:
        return None
    _check_begun(folder, resume)
    checkpoint = folder.read_checkpoint()
    begun_with = (checkpoint or folder.read_record()).get("settings", {})
    if not begun_with:
        raise ValueError(f"{folder.record} is missing, which says how the run was made; begin anew with --overwrite")
    for name, value in settings.items():
        if begun_with.get(name) != value:
            raise ValueError(
                f"cannot resume {folder.path} with {name} {value}: it was begun with {begun_with.get(name)}"
            )
    return checkpoint
