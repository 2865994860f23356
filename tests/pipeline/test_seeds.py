"""Results enter the repository in one place, and nothing else is written over there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compress.errors import InputError
from compress.pipeline import results_path, write_results
from compress.recipe import Plan

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
