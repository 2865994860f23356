"""The command compare: what it prints, its limits, and folders that are measured for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compress.recipe.plan import Benchmark
from tests.cli.calling import PLAN, call, stand_in
from tests.reporting.results import MACHINE, right, run, subject


def folder(path: Path, answers: Sequence[int], **told_of: Any) -> str:
    path.mkdir()
    (path / "run.json").write_text(json.dumps(run([subject("teacher", [1] * 1000), subject("int8", answers, **told_of)])))
    return str(path)


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    """Two runs: the second loses ten points, is half again as slow and a fifth larger."""
    return (
        folder(tmp_path / "a", right(1000, 100)),
        folder(tmp_path / "b", right(1000, 200), ms=3.0, size_bytes=1200),
    )


def test_without_limits_it_tells_what_changed_and_leaves_with_0(two: tuple[str, str]) -> None:
    result = call("compare", *two)
    assert result.exit_code == 0, result.stderr
    assert "recipe: the same" in result.stdout
    assert ["int8", "90.0", "%", "80.0", "%"] in [line.split()[:5] for line in result.stdout.splitlines()]
    assert "1.50" in result.stdout
    assert "regression" not in result.stdout


@pytest.mark.parametrize(
    ("limits", "code", "listed"),
    [
        (["--max-drop", "0.1"], 0, []),
        (["--max-drop", "0.005"], 3, ["accuracy lost 10 points"]),
        (
            ["--max-drop", "0.005", "--max-slower", "0.1", "--max-larger", "0.1"],
            3,
            ["lost", "slower by 50.0 %", "larger by 20.0 %"],
        ),
        (["--max-slower", "0.5", "--max-larger", "0.2"], 0, []),
        (["--max-drop", "0.1", "--prove"], 3, ["not shown to be within it"]),
    ],
)
def test_a_regression_beyond_a_limit_is_exit_code_3_with_all_of_them(
    limits: list[str], code: int, listed: list[str], two: tuple[str, str]
) -> None:
    result = call("compare", *two, *limits)
    assert result.exit_code == code
    assert all(text in result.stderr for text in listed)
    assert ("regression:" in result.stdout) == bool(listed)
    assert bool(result.stderr) == bool(listed)
    as_json = json.loads(call("compare", *two, *limits, "--format", "json").stdout)
    assert as_json == json.loads(call("compare", *two, *limits, "--json").stdout)
    assert as_json.get("exit_code", 0) == code
    assert len(as_json["regressions"]) == len(listed)


def test_markdown_is_for_a_pull_request(two: tuple[str, str]) -> None:
    result = call("compare", *two, "--max-drop", "0.005", "--format", "markdown")
    assert result.exit_code == 3
    assert result.stdout.startswith("### What changed from ")
    assert "| int8 | 90.0 % | 80.0 % |" in result.stdout


@pytest.mark.parametrize("option", ["--max-drop", "--max-slower", "--max-larger"])
@pytest.mark.parametrize("value", ["-0.1", "1%", "nan", "inf", "", "101", "\u0663"])
def test_a_limit_that_is_no_fraction_is_refused(option: str, value: str, two: tuple[str, str]) -> None:
    result = call("compare", *two, f"{option}={value}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"{option} is {value!r}; allowed: a fraction")


def test_what_is_no_result_is_wrong_input(two: tuple[str, str], tmp_path: Path) -> None:
    for given in (str(tmp_path / "nowhere"), str(tmp_path)):
        result = call("compare", two[0], given, "--format", "json")
        assert result.exit_code == 2
        assert "give a run folder" in json.loads(result.stdout)["error"]
    assert call("compare", *two, "--format", "html").exit_code == 2


def test_two_shipped_folders_are_measured_beside_each_other_on_a_recipe_s_task(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, two: tuple[str, str]
) -> None:
    seen: dict[str, Any] = {}

    entries = [subject("before", right(1000, 0)), subject("after", right(1000, 100), ms=2.0)]
    measured = SimpleNamespace(machine=MACHINE, versions={}, subjects=entries)
    task = SimpleNamespace(fingerprint="f", describe=lambda: {"kind": "text-classification"})

    def measure(subjects: Any, **asked: Any) -> Any:
        seen.update(asked, names=[given.name for given in subjects], paths=[given.path for given in subjects])
        return measured

    export = tmp_path / "a" / "export" / "int8"
    for path, target in ((export, "onnxruntime-cpu"), (tmp_path / "shipped", "onnxruntime-cpu-int8")):
        path.mkdir(parents=True)
        (path / "model.onnx").touch()
        (path / "config.json").write_text("{}")
        (path / "bert_compress.json").write_text(json.dumps({"schema": 1, "target": target}))
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    record["subjects"][-1]["path"] = "export/int8"
    (tmp_path / "a" / "run.json").write_text(json.dumps(record))
    stand_in(monkeypatch, "compress.tasks", task=lambda **_: task, TASKS={}, DEFAULT_KIND="text-classification")
    stand_in(monkeypatch, "compress.benchmark.measurement", measure=measure)
    monkeypatch.setattr("compress.recipe.read_recipe", lambda path: PLAN)
    result = call("compare", two[0], str(tmp_path / "shipped"), "--task-of", "r.yaml", "--max-drop", "0.01")
    assert result.exit_code == 3, result.stderr
    assert seen["paths"] == [export, tmp_path / "shipped"]
    assert (seen["names"], seen["length"]) == (["before", "after"], Benchmark().length)
    assert "target: onnxruntime-cpu -> onnxruntime-cpu-int8" in result.stdout
    assert "versions: the same" in result.stdout
    assert "file: accuracy lost 10 points" in result.stderr
