PYTHON ?= python3
BIN := .venv/bin
FLOORS := .venv-floors
KEEP ?= torch
PROCESSES ?= logical

.PHONY: setup demo test test-matrix check docs floors

setup: .venv/ready

.venv/ready: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[demo,docs,test]"
	touch $@

demo: setup
	$(BIN)/bert-compress run recipes/quickstart.yaml

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --dist worksteal -m "not matrix"

test-matrix: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --dist worksteal -m matrix

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/contract/test_direction.py
	$(BIN)/mkdocs build --strict --quiet

# docs/ as a site in site/; `python -m tools.docs` brings its tables and its reference up to date first
docs: setup
	$(BIN)/python -m tools.docs
	$(BIN)/mkdocs build --strict

# The lowest versions that setup.cfg states, in an environment of their own; KEEP names what is as constraints.txt has it
floors: $(FLOORS)/ready
	OMP_NUM_THREADS=1 $(FLOORS)/bin/python -m pytest --numprocesses $(PROCESSES) --dist worksteal -m "(not slow or floors) and not matrix"

$(FLOORS)/ready: setup.cfg pyproject.toml constraints.txt tools/floors.py
	$(PYTHON) -m venv --clear $(FLOORS)
	$(PYTHON) tools/floors.py write $(KEEP:%=--keep %) > $(FLOORS)/floors.txt
	$(FLOORS)/bin/pip install --quiet --constraint $(FLOORS)/floors.txt torch
	$(FLOORS)/bin/pip install --quiet --constraint $(FLOORS)/floors.txt --editable ".[demo,docs,openvino,test]"
	$(FLOORS)/bin/pip check
	$(FLOORS)/bin/python tools/floors.py check $(KEEP:%=--keep %)
	touch $@
