from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.errors import InputError
from compress.pipeline import Surroundings, seeds
from compress.recipe import Plan
from compress.recipe.checking import LARGEST_SEED


@pytest.mark.parametrize("wrong", [-1, LARGEST_SEED + 1])
def test_a_seed_that_is_none_is_told_before_the_run_of_another(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, wrong: int
) -> None:
    monkeypatch.setattr(seeds, "run", lambda *_: pytest.fail("a seed ran"))
    with pytest.raises(InputError, match=rf"but {wrong} is none; use 0 to {LARGEST_SEED}"):
        seeds.run_seeds(plan, [1, 2, wrong])


def test_each_seed_is_told_of_as_it_begins(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(seeds, "run", lambda plan, around: told.append(plan.seed) or {})
    around = Surroundings(out=tmp_path, progress=lambda what, done, total, **_: told.append((what, done, total)))
    seeds.run_seeds(plan, [7, 9], around)
    assert told == [("seed", 0, 2), 7, ("seed", 1, 2), 9]


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
