"""The command that runs a recipe: what it asks the pipeline for, and what it prints."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from compress.errors import GateMissed
from compress.recipe.plan import Plan
from tests.cli.calling import EXAMPLES, PLAN, call, stand_in


@dataclass
class RunOptions:
    out: Path
    cache: Path | None
    device: str
    tiny: bool
    progress: Any
    log_with: tuple[str, ...]
    force: bool = False
    shared_cache: str | None = None
    copy_to: str | None = None


@dataclass
class Pipeline:
    """What the command line asked the pipeline for."""

    record: dict[str, Any] = field(default_factory=lambda: json.loads((EXAMPLES / "example_run.json").read_text("utf-8")))
    around: list[RunOptions] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    written: list[Any] = field(default_factory=list)
    missed: bool = False

    def run(self, plan: Plan, around: RunOptions) -> dict[str, Any]:
        self.around.append(around)
        print("a library prints")
        return self.record

    def run_seeds(self, plan: Plan, seeds: list[int], around: RunOptions) -> list[dict[str, Any]]:
        self.seeds = seeds
        return [self.run(plan, around) for _ in seeds]

    def run_folder(self, plan: Plan, out: Path | None, tiny: bool) -> Path:
        return out or Path("runs") / plan.name

    def results_path(self, plan: Plan) -> Path:
        return Path("recipes/results/demo.json")

    def write_results(self, plan: Plan, records: list[Any]) -> Path:
        self.written.append(records)
        return self.results_path(plan)

    def raise_for_gates(self, record: dict[str, Any]) -> None:
        if self.missed:
            raise GateMissed("max_drop is 0.03, limit 0.01")


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    made = Pipeline()
    names = ("run", "run_seeds", "results_path", "write_results", "raise_for_gates", "run_folder")
    stand_in(monkeypatch, "compress.pipeline", RunOptions=RunOptions, **{name: getattr(made, name) for name in names})
    monkeypatch.setattr("compress.recipe.read_recipe", lambda path, overrides: PLAN)
    return made


def test_run_prints_the_table_and_where_the_report_is(pipeline: Pipeline) -> None:
    result = call("run", "a.yaml")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split()[0] == "name"
    assert lines[1].split()[0] == pipeline.record["subjects"][0]["name"]
    assert lines[-1] == f"report: {Path('runs/demo/report.html')}"
    assert "a library prints" in result.stderr


def test_run_passes_its_options_on(pipeline: Pipeline, tmp_path: Path) -> None:
    arguments = [
        "run",
        "a.yaml",
        "--out",
        str(tmp_path / "o"),
        "--cache",
        str(tmp_path / "c"),
        "--tiny",
        "--device",
        "cpu",
        "--log-with",
        "tensorboard",
        "--force",
        "--json",
    ]
    result = call(*arguments)
    around = pipeline.around[0]
    assert (around.out, around.cache, around.device, around.tiny) == (tmp_path / "o", tmp_path / "c", "cpu", True)
    assert around.log_with == ("tensorboard",)
    assert around.force
    assert json.loads(result.stdout) == pipeline.record


def test_overrides_reach_the_recipe(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def read(path: Path, overrides: list[str]) -> Plan:
        seen.append((path, overrides))
        return PLAN

    monkeypatch.setattr("compress.recipe.read_recipe", read)
    assert call("run", "a.yaml", "seed=3", "--tiny", "steps.teacher.epochs=1").exit_code == 0
    assert seen == [(Path("a.yaml"), ["seed=3", "steps.teacher.epochs=1"])]


def test_seeds_are_run_one_by_one_and_recorded(pipeline: Pipeline) -> None:
    result = call("run", "a.yaml", "--seeds", "1, 2,3", "--record")
    assert result.exit_code == 0
    assert pipeline.seeds == [1, 2, 3]
    assert pipeline.written == [[pipeline.record] * 3]
    for number in (1, 2, 3):
        assert str(Path(f"runs/demo/seed-{number}/report.html")) in result.stdout
    document = json.loads(call("run", "a.yaml", "--seeds", "7", "--json").stdout)
    assert document == {"schema": 1, "runs": [pipeline.record]}


def test_one_run_can_be_recorded_without_seeds(pipeline: Pipeline) -> None:
    assert call("run", "a.yaml", "--record").exit_code == 0
    assert pipeline.written == [[pipeline.record]]


def test_a_tiny_run_is_not_recorded(pipeline: Pipeline) -> None:
    assert call("run", "a.yaml", "--tiny", "--record").exit_code == 2
    assert (pipeline.around, pipeline.written) == ([], [])


@pytest.mark.parametrize("seeds", ["1,x", "-1", "1,,2", "1.5"])
def test_seeds_that_are_no_numbers_are_refused(seeds: str, pipeline: Pipeline) -> None:
    result = call("run", "a.yaml", "--seeds", seeds)
    assert (result.exit_code, pipeline.around) == (2, [])
    assert repr(seeds) in result.stderr


def test_a_missed_gate_is_told_after_everything_was_written(pipeline: Pipeline) -> None:
    pipeline.missed = True
    result = call("run", "a.yaml", "--record")
    assert result.exit_code == 3
    assert len(pipeline.written) == 1
    assert "report: " in result.stdout
    assert result.stderr.endswith("max_drop is 0.03, limit 0.01\n")
    document = json.loads(call("run", "a.yaml", "--json").stdout)
    assert document == pipeline.record | {"error": "max_drop is 0.03, limit 0.01", "exit_code": 3}


def test_a_process_that_is_not_the_first_prints_nothing(pipeline: Pipeline) -> None:
    pipeline.record = {}
    result = call("run", "a.yaml", "--json")
    assert (result.exit_code, result.stdout) == (0, "")


def test_numbers_that_json_cannot_say_become_null(monkeypatch: pytest.MonkeyPatch, pipeline: Pipeline) -> None:
    pipeline.record = {"seconds": float("nan"), "path": Path("a")}
    assert json.loads(call("run", "a.yaml", "--json").stdout) == {"seconds": None, "path": "a"}
