"""The command `landscape`: what it is asked for, what it says, and what it refuses before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import compress as cp
from tests.cli.calling import call
from tests.tiny_models import tiny_bert, toy_task

FEW = ("--examples", "8", "--points", "3", "--directions", "2", "--probes", "2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models and a recipe of the task that they are for."""
    for name, seed in (("a", 3), ("b", 4)):
        cp.save(tiny_bert(seed=seed), tmp_path / name)
    split = toy_task(train=80).train
    rows = "".join(f"{text}\t{label}\n" for text, label in zip(split.texts, split.labels, strict=True))
    (tmp_path / "rows.tsv").write_text(f"text\tlabel\n{rows}")
    task = f"{{data: {{train: {tmp_path / 'rows.tsv'}}}, max_length: 16}}"
    recipe = f"name: demo\nmodel: {tmp_path / 'a'}\ntask: {task}\n"
    (tmp_path / "recipe.yaml").write_text(f"{recipe}steps: [{{drop_layers: {{keep: [0]}}}}]\n")
    return tmp_path


def asked(folder: Path, *more: str) -> Any:
    """The answer to a call about both models."""
    models = (str(folder / "a"), str(folder / "b"))
    return call("landscape", *models, "--task-of", str(folder / "recipe.yaml"), "--out", str(folder / "out"), *FEW, *more)


def test_it_writes_and_says_what_there_is_and_computes_it_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = asked(folder)
    assert result.exit_code == 0, result.stderr
    record = json.loads((folder / "out" / "landscape.json").read_text())
    assert result.stdout.splitlines() == [*record["answer"], f"written: {folder / 'out' / 'landscape.json'}"]
    assert [entry["name"] for entry in record["models"]] == ["a", "b"]
    assert {path.name for path in (folder / "out").iterdir()} == {"landscape.json", "lines.svg", "rise.svg"}
    monkeypatch.setattr("compress.landscapes.loss.SampleLoss._of", lambda *_: pytest.fail("computed again"))
    again = asked(folder, "--json", "--quiet", "--no-figures")
    assert json.loads(again.stdout) == {"path": str(folder / "out" / "landscape.json"), **record}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--points", "1"], "--points is '1'; allowed: a whole number from 2 to 1,001."),
        (["--examples", "none"], "--examples is 'none'"),
        (["--directions", "0"], "--directions is '0'"),
        (["--probes", "0"], "--probes is '0'"),
        (["--plane-points", "1"], "--plane-points is '1'"),
        (["--seed", "-1"], "--seed is '-1'"),
        (["--radius", "0"], "landscape.radius is 0.0; allowed: a number above 0, at most 10."),
        (["--part", "evaluation"], "landscape.part is 'evaluation'; allowed: train or selection"),
        (["--plane"], "landscape.plane needs three models or more, but there are 2"),
        (["--task-of", "{folder}/nothing.yaml"], "there is no such file"),
        (["--task-of", "{folder}/a"], "no run.json"),
        (["--out", "{folder}/recipe.yaml"], "which is no folder"),
        (["--cache", "{folder}/a"], "a cache is a folder of its own"),
        (["--data-dir", "{folder}/nowhere"], "which is no folder"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(folder: Path, arguments: list[str], expected: str) -> None:
    result = asked(folder, *(argument.format(folder=folder) for argument in arguments))
    assert (result.exit_code, result.stdout) == (2, "")
    assert expected in result.stderr
    assert not (folder / "out").exists()


def test_what_no_model_is_is_refused(folder: Path) -> None:
    for name, expected in (("nowhere/x/y", "is no folder"), ("recipe.yaml", "is a file")):
        out = ("--task-of", str(folder / "recipe.yaml"), "--out", str(folder / "out"))
        result = call("landscape", str(folder / name), *out)
        assert (result.exit_code, result.stdout) == (2, "")
        assert expected in result.stderr
    result = call("landscape", str(folder / "a"), "--out", str(folder / "out"))
    assert "--task-of is missing" in result.stderr
    assert result.exit_code == 2
