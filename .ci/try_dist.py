"""Builds sdist and wheel into dist/ and tries the wheel in an environment of its own, from an empty folder.

Nothing of the checkout can be imported there, and of third-party packages only what the wheel's metadata asks for: the
environment sees links to these packages, and no others, of the environment that runs this script. So a dependency that
is used but not declared is missing, and six gigabytes are not installed twice. With --full they are, from the index.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

HOME = Path(__file__).resolve().parents[1]
DIST = HOME / "dist"
NAME = "dm_replay"
TRIALS = (
    ["python", "-c", f"import {NAME}, sys; assert 'avalanche' not in sys.modules; print({NAME}.__file__)"],
    ["python", "-c", f"from {NAME} import *"],
    ["dm-replay", "doctor"],
    ["dm-replay", "demo", "--seeds", "1", "--iterations", "10", "--out", "demo"],
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="install the wheel with its dependencies from the index")
    full = parser.parse_args().full
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        python = environment(Path(folder) / "venv", wheel, full)
        try_wheel(python, Path(folder) / "empty")


def build(folder: Path) -> Path:
    """The wheel, once sdist and wheel are in dist/, are in order, and the sdist builds the same wheel."""
    for old in (DIST, HOME / "build"):  # setuptools takes deleted modules from an earlier build into the wheel
        shutil.rmtree(old, ignore_errors=True)
    run(sys.executable, "-m", "build", "--sdist", "--wheel", "--outdir", DIST, HOME)
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    shutil.unpack_archive(sdist, folder / "sdist", filter="data")
    (unpacked,) = (folder / "sdist").iterdir()
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder / "again", unpacked)
    files = contents(wheel)
    if contents(folder / "again" / wheel.name) != files:
        raise SystemExit("the wheel of the sdist is another one than that of the checkout")
    strangers = [name for name in files if not name.startswith((f"{NAME}/", f"{NAME}-"))]
    if strangers or f"{NAME}/py.typed" not in files:
        raise SystemExit(f"expected {NAME} with py.typed and nothing else in the wheel, got {strangers}")
    return wheel


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def environment(home: Path, wheel: Path, full: bool) -> Path:
    """The interpreter of a fresh environment with the wheel and what it depends on."""
    venv.create(home)
    python = home / "bin" / "python"
    pip = sys.executable, "-m", "pip", "--python", python
    if full:
        run(*pip, "install", "--quiet", wheel)
        return python
    packages = Path(output(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"))
    link_dependencies(wheel, home / "dependencies")
    (packages / "dependencies.pth").write_text(f"{home / 'dependencies'}\n")
    if subprocess.run([python, "-I", "-c", f"import {NAME}"], capture_output=True, cwd=home).returncode == 0:
        raise SystemExit(f"{NAME} can be imported before the wheel is installed")
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel)
    run(*pip, "check")
    return python


def link_dependencies(wheel: Path, folder: Path) -> None:
    """Link what the distributions consist of that a wheel requires, and those that they require in turn."""
    folder.mkdir()
    (about,) = (text for name, text in contents(wheel).items() if name.endswith(".dist-info/METADATA"))
    lines = about.decode().partition("\n\n")[0].splitlines()
    wanted = [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")]
    known: set[tuple[str, frozenset[str]]] = set()
    extras: frozenset[str] = frozenset()
    waiting = [(text, extras) for text in wanted]
    while waiting:
        text, extras = waiting.pop()
        requirement = Requirement(text)
        key = re.sub(r"[-_.]+", "-", requirement.name).lower(), frozenset(requirement.extras)
        applies = requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in extras | {""})
        if not applies or key in known:
            continue
        known.add(key)
        try:
            distribution = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:  # of an extra that this pip did not see; what is missing, pip check tells
            continue
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(distribution.locate_file(top))))
        waiting += [(text, key[1]) for text in distribution.requires or ()]


def try_wheel(python: Path, folder: Path) -> None:
    folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    kept["OMP_NUM_THREADS"] = "1"  # its work is so small that a second thread is mostly waited for
    for words in TRIALS:
        started = time.perf_counter()
        subprocess.run([python.parent / words[0], *words[1:]], cwd=folder, env=kept, check=True)
        print(f"[{' '.join(words)[:60]}: {time.perf_counter() - started:.0f} s]", flush=True)
    where = output(python, "-I", "-c", f"import {NAME}; print({NAME}.__file__)")
    if not Path(where).resolve().is_relative_to(python.parents[1].resolve()):
        raise SystemExit(f"expected the wheel's {NAME}, got {where}")


def run(*words: str | Path) -> None:
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(f"[{' '.join(map(str, words[1:6]))}: {done.returncode or 'well'}]", flush=True)
    if done.returncode:
        raise SystemExit(done.stdout)


def output(*words: str | Path) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
