PYTHON ?= python3
BIN := .venv/bin
FLOORS := .venv-floors
KEEP ?= torch
PROCESSES ?= logical
OPTIONS ?=
export NO_MKDOCS_2_WARNING := 1

.PHONY: help setup demo test test-matrix check docs floors

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/ready ## make .venv, and install the toolkit with all that its tests need

.venv/ready: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[demo,docs,test]"
	touch $@

demo: setup ## run recipes/quickstart.yaml on real weights and data
	$(BIN)/bert-compress run recipes/quickstart.yaml

test: setup ## run the tests, but for the matrix
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --dist worksteal -m "not matrix"

test-matrix: setup ## run whole tables (kinds, targets, recipes, old runtimes), the wheel, and what takes long
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --dist worksteal -m matrix $(OPTIONS)

check: setup ## look at lint, format, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/contract/test_direction.py
	$(BIN)/mkdocs build --strict

docs: setup ## write docs/ as a site to site/, its tables and its reference brought up to date first
	$(BIN)/python -m tools.docs
	$(BIN)/mkdocs build --strict

floors: $(FLOORS)/ready ## run quick tests with the lowest versions of setup.cfg; KEEP names what stays as constraints.txt has it
	OMP_NUM_THREADS=1 $(FLOORS)/bin/python -m pytest --numprocesses $(PROCESSES) --dist worksteal -m "(not slow or floors) and not matrix"

$(FLOORS)/ready: setup.cfg pyproject.toml constraints.txt tools/floors.py
	$(PYTHON) -m venv --clear $(FLOORS)
	$(PYTHON) tools/floors.py write $(KEEP:%=--keep %) > $(FLOORS)/floors.txt
	$(FLOORS)/bin/pip install --quiet --constraint $(FLOORS)/floors.txt torch
	$(FLOORS)/bin/pip install --quiet --constraint $(FLOORS)/floors.txt --editable ".[demo,docs,openvino,test]"
	$(FLOORS)/bin/pip check
	$(FLOORS)/bin/python tools/floors.py check $(KEEP:%=--keep %)
	touch $@
