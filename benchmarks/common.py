"""Where the results of benchmarks go."""

import json
from pathlib import Path

from dm_replay.runtime.atomic_files import atomic

__all__ = ["RESULTS", "write_result"]

RESULTS = Path(__file__).parent / "results"


def write_result(name: str, content: dict) -> Path:
    """Write benchmarks/results/<name>.json, whole or not at all, and say where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
    print(f"wrote {path.relative_to(RESULTS.parent.parent)}")
    return path
