"""Measurements of dm_replay: ``python -m benchmarks.NAME``; results are lines of benchmarks/results, see results.py."""
