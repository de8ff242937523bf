# Every target sets up everything it needs in .venv first.
PYTHON ?= python3
OUT ?= runs/demo

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint types docs dist check clean

demo: $(READY)
	$(BIN)/dm-replay demo --out $(OUT)

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build

# Builds sdist and wheel into dist/ and tries the wheel without the checkout.
dist: $(READY)
	$(BIN)/python .ci/try_dist.py

check: lint types docs test dist

$(READY): setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "dm_replay needs Python 3.11 or newer: make PYTHON=..."'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable '.[test,dev,docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info
