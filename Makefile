PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test check

setup: .venv/ready

.venv/ready: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[demo,test]"
	touch $@

demo: setup
	$(BIN)/bert-compress run recipes/quickstart.yaml

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --dist worksteal

check: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/contract/test_direction.py
