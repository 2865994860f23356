"""The command `sweep`: what it says, and what it refuses before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compress.search import sweep as sweeps
from tests.cli.calling import call
from tests.search.sweep_files import sweep_file


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """Answer in place of a sweep; the list is of what was asked for."""
    calls: list[dict[str, Any]] = []

    def answer(file: Path, **options: Any) -> dict[str, Any]:
        calls.append({"file": file, **options})
        values = {"quality": 0.91234, "p50_ms": 2.0}
        trials = [
            {"number": 0, "values": values, "overrides": {"seed": 3}},
            {"number": 1, "values": None, "overrides": {"seed": 4}},
        ]
        shared = {"schema": 1, "folder": str(tmp_path), "objectives": {"quality": "maximize", "p50_ms": "minimize"}}
        evaluation = [{"number": 0, "quality": 0.9}] if options["evaluate"] else []
        return {**shared, "space": {"seed": {}}, "trials": trials, "front": [0], "ended": "hours", "evaluation": evaluation}

    monkeypatch.setattr(sweeps, "sweep", answer)
    return calls


def test_the_front_is_a_table_and_json_is_the_file(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    result = call("sweep", "a.yaml", "seed=3", "--workers", "2", "--evaluate", "--no-figures")
    assert result.exit_code == 0, result.stderr
    head, row, said, written = result.stdout.splitlines()
    assert head.split() == ["trial", "quality", "p50_ms", "evaluated", "seed"]
    assert row.split() == ["0", "0.9123", "2", "0.9", "3"]
    assert said == "2 trials, 1 of them failed; the budget of hours is spent"
    assert written == f"written: {tmp_path / 'sweep.json'}"
    assert asked[0]["workers"] == 2
    assert asked[0]["overrides"] == ["seed=3"]
    assert (asked[0]["evaluate"], asked[0]["figures"]) == (True, False)
    record = json.loads(call("sweep", "a.yaml", "--json").stdout)
    assert (record["path"], record["schema"], record["front"]) == (str(tmp_path / "sweep.json"), 1, [0])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--workers", "0"], "--workers is '0'; allowed: a whole number from 1 to 256."),
        (["sweep.space={steps.distil.epochs: {low: 1, high: 3}}"], "did you mean 'distill'?"),
        (["sweep.storage=nosuchkind://host/a"], "cannot be used"),
    ],
)
def test_wrong_input_exits_with_2_and_writes_nothing(tmp_path: Path, words: list[str], said: str) -> None:
    result = call("sweep", str(sweep_file(tmp_path)), "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "c"), *words)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]
