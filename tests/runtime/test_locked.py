"""A run's folder belongs to one process at a time, and nothing of the lock outlives it."""

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from dm_replay.runtime.files import LOCK, check_free, locked

HOLD = """
import sys, time
from pathlib import Path
from dm_replay.runtime.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path/run."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def sign(folder, **changes):
    folder.mkdir(exist_ok=True)
    about = {"pid": 1, "host": socket.gethostname(), "since": "2020-01-01 00:00:00", **changes}
    (folder / LOCK).write_text(json.dumps(about))


def test_nothing_is_left(tmp_path):
    folder = tmp_path / "a" / "b" / "run"
    with locked(folder):
        assert [path.name for path in folder.iterdir()] == [LOCK]
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyError), locked(folder):
        raise KeyError
    assert not list(tmp_path.iterdir())
    with locked(folder):
        (folder / "file").write_text("")
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_the_second_is_told_who_holds_it(holder, tmp_path):
    who = rf"run is in use by process {holder.pid} on {socket.gethostname()} since {time.strftime('%Y')}-.*--out"
    for attempt in (lambda: locked(tmp_path / "run").__enter__(), lambda: check_free(tmp_path / "run")):
        with pytest.raises(ValueError, match=who):
            attempt()
    assert (tmp_path / "run" / LOCK).exists()


def test_a_killed_process_holds_nothing(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (tmp_path / "run" / LOCK).exists()
    check_free(tmp_path / "run")
    with locked(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / LOCK).read_text())["pid"] == os.getpid()
    assert not (tmp_path / "run" / LOCK).exists()


@pytest.mark.parametrize("content", ["", "[1, 2", "[1, 2]", '{"pid": 3}'])
def test_what_is_no_signature_is_taken_over(tmp_path, content):
    (tmp_path / LOCK).write_text(content)
    with locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_on_another_machine_is_taken_over_with_a_word(tmp_path):
    sign(tmp_path / "run", host="elsewhere")
    check_free(tmp_path / "run")
    left = "run was left by process 1 on elsewhere since 2020-01-01 00:00:00, and is taken over"
    with pytest.warns(UserWarning, match=left), locked(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / LOCK).read_text())["host"] == socket.gethostname()
    assert not (tmp_path / "run" / LOCK).exists()


def test_a_process_at_work_on_another_machine_is_left_alone(holder, tmp_path):
    """Network file systems carry the lock to other machines: what it says of its holder does not matter."""
    sign(tmp_path / "run", host="elsewhere")
    for attempt in (lambda: locked(tmp_path / "run").__enter__(), lambda: check_free(tmp_path / "run")):
        with pytest.raises(ValueError, match="run is in use by process 1 on elsewhere since 2020-.*wait for it"):
            attempt()
    assert json.loads((tmp_path / "run" / LOCK).read_text())["host"] == "elsewhere"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_nothing_can_be_locked_it_says_so(tmp_path, monkeypatch, number):
    def unsupported(*_):
        raise OSError(number, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    for _ in range(2):
        with pytest.warns(UserWarning, match="cannot be locked: start no second process"), locked(tmp_path / "run"):
            assert json.loads((tmp_path / "run" / LOCK).read_text())["pid"] == os.getpid()
        assert not list(tmp_path.iterdir())


def test_never_two_at_once(tmp_path):
    """Threads that lock, remove and make the same folder again."""
    inside, most, taken = [], [], []

    def work():
        for _ in range(200):
            try:
                with locked(tmp_path / "a" / "run"):
                    inside.append(1)
                    most.append(len(inside))
                    taken.append(1)
                    inside.pop()
            except ValueError:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken and max(most) == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
