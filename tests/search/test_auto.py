"""The search around the decision: what it refuses, keeps, goes on from and leaves; trials are planted, but the last test's."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import compress as cp
from compress.cli.commands import app
from compress.errors import CompressError, InputError
from compress.recipe import read_recipe
from compress.search import auto as searching
from compress.search.goals import Goals
from compress.search.trial import FAILED, Trial
from tests.pipeline.conftest import write_data
from tests.tiny_models import LONGEST, tiny_bert

DROPS = {"whole": 0.001, "whole_static_ranges": 0.02, "small_vocabulary": 0.0, "layers_1": 0.015}
MS = {"whole": 4.0, "prune_after_training_50": 2.0, "layers_1": 1.0}


class Planted:
    """Stands for `run_trial`: counts, and leaves a run.json with what was planted."""

    def __init__(self, **failing: int) -> None:
        self.ran: list[tuple[str, str]] = []
        self.failing, self.fails_all = failing, False

    def __call__(self, recipe: Mapping[str, Any], *, out: Path, judged_on: str = "selection", **options: Any) -> Trial:
        name = str(recipe["name"])
        self.ran.append((name, judged_on))
        out.mkdir(parents=True, exist_ok=True)
        if name in self.failing or self.fails_all:
            code = self.failing.get(name, 1)
            return Trial({}, FAILED, out, seconds=3.0, error="it broke", exit_code=code)
        drop, ms = DROPS.get(name, 0.03), MS.get(name, 3.0)
        shipped = {"drop": {"value": drop, "ci95": [drop - 0.01, drop + 0.01]}, "by_label": {"0": {"recall": 0.9}}}
        (out / "run").mkdir(exist_ok=True)
        (out / "run" / "run.json").write_text(json.dumps({"subjects": [{}, shipped]}))
        return Trial(
            {},
            "complete",
            out,
            judged_on,
            quality=0.9,
            speedup=8 / ms,
            p50_ms=ms,
            p95_ms=1.1 * ms,
            size_bytes=9000,
            seconds=5.0,
        )


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(cp.save(tiny_bert(labels=("0", "1")), tmp_path / "model"))


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Planted:
    trials = Planted()
    monkeypatch.setattr(searching, "run_trial", trials)
    monkeypatch.setattr(searching, "write_report", lambda folder, runs: None)
    monkeypatch.setattr(searching._Search, "_bundle", lambda self: "")
    return trials


def data_of(folder: Path) -> dict[str, str]:
    return {"train": str(write_data(folder))}


def searched(model: str, folder: Path, goals: Goals, **options: Any) -> searching.Found:
    return searching.auto(model, data_of(folder), out=folder / "out", goals=goals, max_length=LONGEST, **options)


def test_the_first_that_meets_the_goals_is_left_and_the_evaluation_part_is_measured_on_once(
    model: str, planted: Planted, tmp_path: Path
) -> None:
    done = searched(model, tmp_path, Goals(max_drop=0.01, speedup=2))
    assert planted.ran == [("whole", "selection"), ("whole", "evaluation")]
    record = json.loads((tmp_path / "out" / "auto.json").read_text())
    assert done.meets
    assert record == done.record
    assert (record["schema"], record["reason"], record["winner"]["candidate"]) == (1, "met", "whole")
    assert record["trials"][0]["predicted"]["p50_ms"] > 0
    assert done.explanation.count(". ") == 4
    assert "It meets every goal. 1 trial was made (0 failed); the search ended because" in done.explanation


def test_goals_out_of_reach_leave_the_nearest(model: str, planted: Planted, tmp_path: Path) -> None:
    done = searched(model, tmp_path, Goals(max_drop=0.01, speedup=5))
    assert not done.meets
    assert done.record["winner"]["candidate"] == "layers_1"
    assert [miss["goal"] for miss in done.record["missed"]] == ["max_drop"]
    assert planted.ran[-1] == ("layers_1", "evaluation")
    assert "layers_1" not in done.record["untried"]


def test_a_stopped_search_goes_on_without_repeating_and_other_goals_use_what_was_measured(
    model: str, planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goals = Goals(max_drop=0.01, speedup=7)

    def stopped(*given: Any, **options: Any) -> Trial:
        if len(planted.ran) == 2:
            raise KeyboardInterrupt
        return planted(*given, **options)

    monkeypatch.setattr(searching, "run_trial", stopped)
    with pytest.raises(KeyboardInterrupt):
        searched(model, tmp_path, goals)
    monkeypatch.setattr(searching, "run_trial", planted)
    searched(model, tmp_path, goals)
    selection = [ran for ran in planted.ran if ran[1] == "selection"]
    assert selection[0] == ("whole", "selection")
    assert selection.count(("whole", "selection")) == 1
    count = len(planted.ran)
    again = searched(model, tmp_path, Goals(max_drop=0.01, speedup=1.5))
    assert planted.ran[count:] == [("small_vocabulary", "evaluation")]
    assert again.meets


def test_a_folder_of_something_else_is_refused_and_left(model: str, planted: Planted, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and holds no search"):
        searched(model, tmp_path, Goals())
    assert os.listdir(tmp_path / "out") == ["mine.txt"]


def test_another_search_in_the_folder_is_refused(model: str, planted: Planted, tmp_path: Path) -> None:
    searched(model, tmp_path, Goals(speedup=2))
    with pytest.raises(InputError, match="holds a search with another model"):
        searched(model, tmp_path, Goals(speedup=2), seed=14)


def test_too_little_time_for_one_trial_says_what_is_needed_and_writes_nothing(
    model: str, planted: Planted, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"--hours 0.001 is too short for one trial: about .* are needed.* give --hours 0.0"):
        searched(model, tmp_path, Goals(), hours=0.001)
    assert not (tmp_path / "out").exists()


def test_a_model_for_other_labels_is_refused_before_any_trial_and_may_be_trained(planted: Planted, tmp_path: Path) -> None:
    other = str(cp.save(tiny_bert(labels=("a", "b", "c")), tmp_path / "other"))
    with pytest.raises(InputError, match="labels"):
        searched(other, tmp_path, Goals(speedup=2))
    assert not planted.ran
    done = searched(other, tmp_path, Goals(speedup=2), new_head=True)
    assert done.meets


def test_where_every_trial_fails_their_errors_are_told(model: str, planted: Planted, tmp_path: Path) -> None:
    planted.fails_all = True
    with pytest.raises(CompressError, match=r"no trial could be measured(.|\n)*whole: it broke"):
        searched(model, tmp_path, Goals(speedup=2))


def test_what_is_wrong_in_the_first_trial_is_wrong_input(model: str, planted: Planted, tmp_path: Path) -> None:
    planted.failing = {"whole": 2}
    with pytest.raises(InputError, match="it broke"):
        searched(model, tmp_path, Goals(speedup=2))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-drop", "-1"], "--max-drop is -1"),
        (["--p95-ms", "0"], "--p95-ms is 0"),
        (["--speedup", "20", "--p50-ms", "5"], "give one of them"),
        (["--gate", "recall.EMAIL=0.98"], "recall.EMAIL names no label of the task; allowed: 0, 1"),
        (["--gate", "EMAIL"], "recall.LABEL=FRACTION"),
        (["--target", "phone"], "--target 'phone' is unknown"),
        (["--hours", "0"], "--hours is 0"),
        (["--kind", "poetry"], "--kind 'poetry' is unknown"),
        (["--length", "4000"], "reads at most 24 tokens"),
    ],
)
def test_bad_input_is_exit_code_2_and_leaves_nothing(
    model: str, planted: Planted, tmp_path: Path, options: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["auto", "--model", model, "--data", str(write_data(tmp_path)), "--max-length", str(LONGEST)]
    result = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "out"), *options])
    assert result.exit_code == 2
    assert said in result.output + capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_goals_that_are_not_met_are_exit_code_3(model: str, planted: Planted, tmp_path: Path) -> None:
    given = ["auto", "--model", model, "--data", str(write_data(tmp_path)), "--max-length", str(LONGEST), "--json"]
    result = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "out"), "--speedup", "500"])
    assert result.exit_code == 3
    assert "speedup" in result.output


@pytest.mark.slow
@pytest.mark.matrix
def test_a_search_from_end_to_end(tmp_path: Path) -> None:
    data = {"train": str(write_data(tmp_path, 400))}
    task = cp.task(data, max_length=LONGEST, allow_unknown=True)
    teacher = cp.fine_tune(tiny_bert(labels=("0", "1")), task=task, epochs=6, batch_size=16, learning_rate=5e-3)
    saved = str(cp.save(teacher, tmp_path / "model"))
    options: dict[str, Any] = {"max_length": LONGEST, "allow_unknown": True}
    done = cp.auto(saved, data, out=tmp_path / "out", goals=Goals(max_drop=0.2, max_mb=5), hours=0.1, device="cpu", **options)
    assert done.meets
    assert {path.name for path in done.folder.iterdir()} >= {"recipe.yaml", "run", "bundle", "auto.json", "report.html"}
    assert read_recipe(done.folder / "recipe.yaml").gates.max_drop == 0.2
    assert done.record["evaluation"]["drop"] is not None
    run = json.loads((done.folder / "run" / "run.json").read_text())
    assert "judged_on" not in run["data"]
