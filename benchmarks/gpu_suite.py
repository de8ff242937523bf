"""Everything that wants a GPU, most important first: the protocol's scripts without --quick, one after another.

    python -m benchmarks.gpu_suite --list
    python -m benchmarks.gpu_suite --minutes 30       # those that are not done yet, until the time is over
    python -m benchmarks.gpu_suite --only agreement

A script that runs out of time is stopped as by Ctrl-C and goes on with the next call; what is done is noted in
runs/gpu_suite. One at a time: on an H100 beside three others condensing took 2.7 times as long as alone, and training
on 100 images, which waits for its turn at each step, 10 times. Needs the extra ``benchmarks`` and no Avalanche. Real
images from DM_DATA.
"""

import argparse
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

HOME = Path(__file__).parent.parent
GRACE = 20.0  # seconds to write a checkpoint
PAPER = "--iterations 20000 --epochs 1000"
OFFLINE = f"-m benchmarks.networks offline {PAPER} --runs 20"
CONTINUAL = f"-m benchmarks.networks continual {PAPER} --runs 3 --order 0 1 2 3 4"
PIECES = {
    "doctor": "-m dm_replay.cli doctor",
    "agreement": "-m pytest -q --device cuda -p no:cacheprovider tests/augment tests/test_gpu.py",
    "speed": "-m benchmarks.speed",
    **{
        f"{dataset}_{ipc}": f"{OFFLINE} --method random herding kmeans paper fast --dataset {dataset} --ipc {ipc}"
        for dataset in ("cifar10", "cifar100")
        for ipc in (10, 1, 50)
    },
    "cifar10_sets": f"{OFFLINE} --method random paper --seed 0 1 2 3 4 --ipc 1 10 50",
    "continual_5": f"{CONTINUAL} --steps-of-classes 5",
    "continual_10": f"{CONTINUAL} --steps-of-classes 10",
    "architectures": f"-m benchmarks.networks cross_arch {PAPER} --runs 5 --method paper",
    "search": "-m benchmarks.networks nas --iterations 20000",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="the pieces and which are done")
    parser.add_argument("--only", choices=PIECES)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument(
        "--notes", type=Path, default=HOME / "runs" / "gpu_suite", help="where it is noted what is done"
    )
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    for name in [options.only] if options.only else PIECES:
        note = options.notes / name
        if options.list or note.exists():
            print(f"{name:14} {'done' if note.exists() else 'to do':6} python {PIECES[name]}")
        elif time.monotonic() < until:
            print(f"{name:14} begins python {PIECES[name]}", flush=True)
            if went_well(PIECES[name], until - time.monotonic()):
                note.parent.mkdir(parents=True, exist_ok=True)
                note.touch()


def went_well(words: str, seconds: float) -> bool:
    """Whether a Python command ended by itself, and without an error, within so many seconds."""
    with subprocess.Popen([sys.executable, *shlex.split(words)], cwd=HOME) as job:
        try:
            return job.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            job.send_signal(signal.SIGINT)
        try:
            job.wait(GRACE)
        except subprocess.TimeoutExpired:  # begun deaf to it, or busy where it cannot be interrupted
            job.kill()
        return False


if __name__ == "__main__":
    main()
