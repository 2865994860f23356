"""Results enter the repository in one place, and nothing else is written over there."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.errors import InputError
from compress.pipeline import RunOptions, results_path, seeds, write_results
from compress.recipe import Plan
from compress.recipe.checking import LARGEST_SEED

EXAMPLE = Path(__file__).parents[1] / "example_run.json"


@pytest.fixture
def recorded(plan: Plan, tmp_path: Path) -> Plan:
    """A recipe in a folder called recipes."""
    path = tmp_path / "recipes" / "sst2" / "small.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("name: small")
    return replace(plan, path=path)


def test_results_are_written_over_earlier_results(recorded: Plan) -> None:
    records: list[dict[str, Any]] = [json.loads(EXAMPLE.read_text(encoding="utf-8"))]
    for some in (records, records * 2):
        path = write_results(recorded, some)
        assert json.loads(path.read_text(encoding="utf-8")) == {"schema": 1, "runs": some}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": 1, "runs": [3]}', '{"schema": 2, "runs": []}', "mine"])
def test_what_holds_no_results_is_not_written_over(recorded: Plan, text: str) -> None:
    assert recorded.path is not None
    path = recorded.path.parents[1] / "results" / "sst2" / "small.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(InputError, match="--record would write over"):
        results_path(recorded)
    assert path.read_text() == text


def test_a_link_in_the_place_of_results_is_not_followed(recorded: Plan, tmp_path: Path) -> None:
    path = results_path(recorded)
    path.parent.mkdir(parents=True)
    (tmp_path / "mine.json").write_text('{"schema": 1, "runs": []}')
    path.symlink_to(tmp_path / "mine.json")
    with pytest.raises(InputError, match="--record would write over"):
        results_path(recorded)


@pytest.mark.parametrize("wrong", [-1, LARGEST_SEED + 1])
def test_a_seed_that_is_none_is_told_before_the_run_of_another(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, wrong: int
) -> None:
    monkeypatch.setattr(seeds, "run", lambda *_: pytest.fail("a seed ran"))
    with pytest.raises(InputError, match=rf"but {wrong} is none; use 0 to {LARGEST_SEED}"):
        seeds.run_seeds(plan, [1, 2, wrong])


def test_each_seed_is_told_of_as_it_begins(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(seeds, "run", lambda plan, around: calls.append(plan.seed) or {})
    around = RunOptions(out=tmp_path, progress=lambda what, done, total, **_: calls.append((what, done, total)))
    seeds.run_seeds(plan, [7, 9], around)
    assert calls == [("seed", 0, 2), 7, ("seed", 1, 2), 9]


def test_results_that_cannot_be_written_are_told_before_the_run(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    own = replace(plan, path=recipes / "sst2" / "small.yaml")
    assert seeds.results_path(own) == recipes / "results" / "sst2" / "small.json"
    with monkeypatch.context() as closed:
        closed.setattr(os, "access", lambda *_: False)
        with pytest.raises(InputError, match=r"--record writes .*small\.json, but .*recipes is no place"):
            seeds.results_path(own)
    (recipes / "results").write_text("", encoding="utf-8")
    with pytest.raises(InputError, match="results is no place to write it to"):
        seeds.results_path(own)
