import subprocess
import sys

import pytest

from dm_replay.runtime import hardware

FAULTS = """
import resource, sys, torch
from dm_replay.runtime import hardware
kept = sys.argv[1] == "kept" and hardware.keep_memory()
for turn in range(21):
    if turn == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 * 2**20, dtype=torch.uint8).add_(1)
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(way: str) -> tuple[str, int]:
    lines = subprocess.run([sys.executable, "-c", FAULTS, way], capture_output=True, text=True, check=True).stdout
    kept, faults = lines.split()
    return kept, int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_kept_memory_brings_no_new_pages():
    (_, given_back), (kept, faults) = page_faults("given back"), page_faults("kept")
    if kept != "True":
        pytest.skip("the C library has no mallopt")
    assert faults < 0.5 * given_back or given_back < 1000


def test_without_mallopt_it_says_so(monkeypatch):
    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: object())
    assert hardware.keep_memory() is False
