"""Checkpoints of a strategy with all its plugins and loggers, files open for writing among them."""

import contextlib
import copy
import hashlib
import io
import os
import random
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dill
import numpy as np
import torch

from ..runtime.files import atomic

__all__ = ["Pickler", "load_checkpoint", "reopened", "save_checkpoint"]

LONGEST = 10_000  # characters of a header; a longer first line is none


class Pickler(dill.Pickler):
    """dill's would open a file once more in its own mode, which empties one that was opened to be written."""

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, io.TextIOWrapper | io.BufferedWriter) or not isinstance(obj.name, str | Path):
            return NotImplemented
        if obj.mode[0] not in "wxa" or not Path(obj.name).is_file():
            return NotImplemented
        text = {} if isinstance(obj, io.BufferedWriter) else {"encoding": obj.encoding, "errors": obj.errors}
        return reopened, (str(obj.name), f"a{obj.mode[1:]}", text, obj.closed, _header(obj))


def reopened(name: str, mode: str, text: dict[str, str | None], closed: bool, header: str) -> Any:
    """The file, to be appended to. Where it is gone, its folder and its header are made anew.

    Raises:
        OSError: if it cannot be.
    """
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    file: Any = open(name, mode, **text)  # type: ignore[call-overload]  # noqa: SIM115
    if header and not os.fstat(file.fileno()).st_size:
        file.write(header)
        file.flush()
    if closed:
        file.close()
    return file


def _header(file: Any) -> str:
    """The first line of a table: rows that follow would mean nothing without it."""
    if not str(file.name).endswith(".csv") or isinstance(file, io.BufferedWriter):
        return ""
    if not file.closed:
        file.flush()
    with open(file.name, encoding=file.encoding, errors=file.errors) as written:
        line = written.readline(LONGEST)
    return line if line.endswith("\n") else ""


MAGIC = b"dm_replay.Checkpoint/1\n"
OF_AN_EXPERIENCE = (  # what a strategy keeps of its last experience, data and all, and makes anew for the next
    *("experience", "adapted_dataset", "dataloader", "mbatch", "mb_output", "loss", "_eval_streams"),
    *("current_eval_stream", "mb_it"),
)


def save_checkpoint(strategy: Any, path: str | Path) -> None:
    """Write an Avalanche strategy with its plugins, optimizer, loggers and the state of all random generators.

    To be called between experiences, after ``strategy.train``. Data is left out. A file that is there is replaced in
    one step: whatever goes wrong leaves it as it was. Classes are written by name, so that the process that loads it
    needs them under the same.

    >>> import torch
    >>> from avalanche.training.supervised import Naive
    >>> from dm_replay import DMReplayPlugin, load_checkpoint, save_checkpoint
    >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> strategy = Naive(model=model, optimizer=optimizer, plugins=[DMReplayPlugin(20)], evaluator=None)
    >>> save_checkpoint(strategy, "stream.pt")
    >>> load_checkpoint("stream.pt").clock.train_exp_counter  # experiences done
    0
    """
    resting = copy.copy(strategy)
    for name in OF_AN_EXPERIENCE:
        if name in vars(resting):
            setattr(resting, name, None)
    written = io.BytesIO()
    with _classes_by_name():
        state = {"strategy": resting, "random": _random_state()}
        torch.save(state, written, pickle_module=SimpleNamespace(__name__=__name__, Pickler=Pickler))
    content = written.getbuffer()
    with atomic(path) as temporary, open(temporary, "wb") as file:
        file.write(MAGIC + hashlib.sha256(content).digest())
        file.write(content)


def load_checkpoint(path: str | Path, device: torch.device | str | None = None) -> Any:
    """The strategy of :func:`save_checkpoint`, to go on with the next experience. Random generators are as they were.

    ``strategy.clock.train_exp_counter`` says how many experiences are done. Loading runs the code that the file names,
    as every pickle does: load your own files only. One that is damaged or something else is refused before that.
    Files that the loggers write are appended to; of those that are gone, the folder and a table's header are made anew.

    Args:
        device: where tensors and the strategy are from now on; as they were by default.

    Raises:
        ValueError: if the file is missing, damaged, or no checkpoint of this function, or a logger's file cannot be
            opened.

    >>> from dm_replay import load_checkpoint
    >>> load_checkpoint("never_written.pt")
    Traceback (most recent call last):
    ValueError: no such file: never_written.pt
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    content = path.read_bytes()
    if not content.startswith(MAGIC):
        raise ValueError(f"{path} is not a checkpoint of dm_replay.save_checkpoint")
    digest, begin = len(MAGIC), len(MAGIC) + hashlib.sha256().digest_size
    if hashlib.sha256(memoryview(content)[begin:]).digest() != content[digest:begin]:
        raise ValueError(f"{path} is a damaged checkpoint: its content is not what was written")
    try:
        with _classes_by_name(), contextlib.redirect_stdout(io.StringIO()):  # Avalanche prints a line for each device
            saved = torch.load(io.BytesIO(content[begin:]), pickle_module=dill, weights_only=False, map_location=device)
    except OSError as error:
        raise ValueError(f"{path} cannot go on with a file that its strategy writes: {error}") from error
    strategy = saved["strategy"]
    if device is not None:
        strategy.device = torch.device(device)
    _restore_random_state(saved["random"])
    return strategy


@contextlib.contextmanager
def _classes_by_name() -> Iterator[None]:
    """dill otherwise writes classes of ``torch.optim`` by value, since that package hides its modules, and fails."""
    before = dill.settings["byref"]
    dill.settings["byref"] = True
    try:
        yield
    finally:
        dill.settings["byref"] = before


def _random_state() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"python": random.getstate(), "numpy": np.random.get_state(), "torch": torch.get_rng_state(), "cuda": cuda}


def _restore_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"].cpu())
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([one.cpu() for one in state["cuda"]])
