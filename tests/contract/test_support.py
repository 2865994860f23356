"""Each kind of task, family, method and target run together, or are refused before anything is computed, as docs/ shows."""

from __future__ import annotations

import importlib
from itertools import product
from pathlib import Path

import pytest

from compress.methods import METHODS
from compress.targets import TARGETS
from compress.tasks import TASKS
from compress.tasks.kind import load_kind
from tests.contract import support
from tests.contract.support import FAMILIES, RUNS, Export
from tests.tiers import mostly_matrix
from tests.tiny_models import ALIKE

TOLD = support.read()
EXPORTS = {Export(*row[:4]): row[4] for row in TOLD["exports"]}
HEADLESS = [pair for pair in product(TASKS, FAMILIES) if not support.has_head(*pair)]
SAMPLE = [
    ("token-classification", "modernbert", "distill"),
    ("regression", "albert", "prune_width"),
    ("multi-label-classification", "mobilebert", "prune_to_latency"),
    ("text-classification", "static", "prune_heads"),
]
ALWAYS = [
    next(export for export in EXPORTS if EXPORTS[export] == RUNS),
    next(export for export in EXPORTS if EXPORTS[export] != RUNS),
]
AGAIN = "where that is meant, `python -m tests.contract.support` and `python -m tools.docs` write it down"


@pytest.mark.parametrize(("kind", "family", "method"), mostly_matrix(support.method_cells(), always=SAMPLE))
def test_a_method_runs_or_is_refused_before_anything_is_computed(kind: str, family: str, method: str, tmp_path: Path) -> None:
    assert support.method_outcome(kind, family, method, tmp_path) == TOLD["methods"][kind][family][method], AGAIN


@pytest.mark.parametrize(("kind", "family"), HEADLESS)
def test_a_family_without_the_head_of_a_kind_is_refused_when_it_is_loaded(kind: str, family: str, tmp_path: Path) -> None:
    assert support.no_head(kind, family, tmp_path) == TOLD["methods"][kind][family], AGAIN
    assert f"a {family} has no head" in TOLD["methods"][kind][family]


@pytest.mark.slow
@pytest.mark.parametrize("cell", mostly_matrix(((export,) for export in EXPORTS), always=[(export,) for export in ALWAYS]))
def test_a_file_answers_as_the_model_does_or_is_refused_by_its_shape(cell: Export, tmp_path: Path) -> None:
    assert support.export_outcome(cell, tmp_path) == EXPORTS[cell], AGAIN


def test_what_is_written_down_is_of_all_that_there_is() -> None:
    assert TOLD["methods"].keys() == TASKS.keys()
    for kind, families in TOLD["methods"].items():
        assert families.keys() == set(FAMILIES)
        for family, methods in families.items():
            assert isinstance(methods, str) if (kind, family) in HEADLESS else methods.keys() == METHODS.keys()
    assert list(EXPORTS) == support.export_cells(TOLD["methods"]), AGAIN
    assert TOLD["arguments"] == support.ARGUMENTS
    assert TOLD["alike"] == ALIKE


def leaves(target: str) -> bool:
    """Whether a target has files for models with exits."""
    return getattr(importlib.import_module(TARGETS[target]), "LEAVES", False)


def test_every_two_of_method_family_kind_and_target_that_can_be_had_were_shipped() -> None:
    able = {
        (kind, family, method)
        for kind, family, method in support.method_cells()
        if TOLD["methods"][kind][family][method] == RUNS
    }
    heads = {kind: load_kind(kind).head.architecture for kind in TASKS}
    ran = {export for export, outcome in EXPORTS.items() if outcome == RUNS}
    written = {
        (kind, family, target)
        for kind, family in product(TASKS, FAMILIES)
        for target in TARGETS
        if (kind, family) not in HEADLESS and not support.refuses(target, kind, family)
    }
    assert {(export.method, export.target) for export in ran if export.method} == {
        (method, target)
        for kind, family, method in able
        for target in TARGETS
        if (kind, family, target) in written and (method != "early_exit" or leaves(target))
    }
    assert {(export.kind, export.target) for export in ran} == {(kind, target) for kind, _, target in written}
    pairs = {(export.family, export.method) for export in EXPORTS if export.method == "early_exit"}  # some targets refuse it
    assert pairs | {(export.family, export.method) for export in ran if export.method} == {
        (family, method) for _, family, method in able
    }
    wanted = {(heads[kind], family) for kind, family in product(TASKS, FAMILIES) if (kind, family) not in HEADLESS}
    assert {(heads[export.kind], export.family, export.target) for export in EXPORTS} == {
        (*pair, target) for pair, target in product(wanted, TARGETS)
    }


def test_a_refusal_names_what_stands_against_it() -> None:
    """The method or what it does, and what of the family or of the kind of task is in its way."""
    for kind, family, method in support.method_cells():
        said = TOLD["methods"][kind][family][method]
        if said != RUNS:
            answers = ("answers for each token", "answers with vectors", "which compares vectors")
            assert family in said.lower() or kind in said or any(what in said for what in answers), said
