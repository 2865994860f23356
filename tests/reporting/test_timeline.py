"""The steps in the order of time."""

from __future__ import annotations

from typing import Any

import pytest

from compress.reporting.timeline import epoch_scores, timeline

DASH = "\u2013"


def test_a_step_tells_its_effect_and_its_part_of_the_whole_time() -> None:
    cut = {
        "name": "cut",
        "method": "drop_layers",
        "arguments": {"keep": [0, 2]},
        "status": "computed",
        "why": "new",
        "seconds": 15,
        "parameters_before": 22_700_000,
        "parameters": 17_400_000,
        "metrics": {},
    }
    tune = {
        "name": "tune",
        "method": "fine_tune",
        "arguments": {"learning_rate": 1e-4, "epochs": 3},
        "status": "reused",
        "seconds": 60,
        "parameters_before": 1_000_000,
        "parameters": 1_000_000,
        "metrics": {"accuracy": 0.905},
        "examples_per_second": 131.6,
        "peak_memory_bytes": 1.5e9,
    }
    first, second = timeline({"steps": [cut, tune]})["rows"]
    assert first["parameters"] == "22.7 M \u2192 17.4 M"
    assert (first["share"], first["seconds"], first["metrics"], first["pace"]) == (0.2, "15.0 s", DASH, DASH)
    assert first["arguments"] == "keep: [0, 2]"
    assert second["parameters"] == "1.00 M"
    assert (second["share"], second["metrics"], second["pace"], second["memory"]) == (0.8, "accuracy 90.5 %", "132", "1.5 GB")
    assert second["arguments"] == "learning_rate: 0.0001, epochs: 3"


def test_a_step_of_which_nothing_is_known_shows_dashes() -> None:
    (row,) = timeline({"steps": [{}]})["rows"]
    cells = {row[key] for key in ("name", "method", "status", "seconds", "parameters", "metrics", "pace", "memory")}
    assert cells == {DASH}


def test_a_step_that_mixed_layers_tells_what_the_head_reads_of_each() -> None:
    mixed, torn = timeline({"steps": [{"layer_mix": [0.25, 0.125, 0.625]}, {"layer_mix": [0.5, "much"]}]})["rows"]
    assert mixed["shares"] == "embeddings 25.0 %, layer 1 12.5 %, layer 2 62.5 %"
    assert torn["shares"] == ""


def test_steps_follow_each_other_and_the_rest_of_the_run_comes_last() -> None:
    steps = [
        {"name": "a", "status": "reused", "seconds": 30.0},
        {"name": "b", "status": "computed", "seconds": 10.0},
        {"name": "c", "status": "computed", "seconds": 40.0},
    ]
    times = timeline({"steps": steps, "seconds": 70.0})  # 50 of them computed steps, 20 the rest: 100 in all
    assert [(row["start"], row["share"], row["is_reused"]) for row in times["rows"]] == [
        (0.0, 0.3, True),
        (0.3, 0.1, False),
        (0.4, 0.4, False),
    ]
    assert times["rest"] == {"seconds": "20.0 s", "start": 0.8, "share": 0.2}
    assert times["sentence"].startswith("2 of 3 steps were computed in 50.0 s; 1 stood in the cache")


def test_without_steps_there_is_no_timeline() -> None:
    assert timeline({"seconds": 3.0}) == {}


@pytest.mark.parametrize("run", [{"steps": [{"seconds": 0}]}, {"steps": [{"seconds": None}, {}], "seconds": 0}])
def test_steps_that_took_no_time_divide_nothing(run: dict[str, Any]) -> None:
    assert {(row["start"], row["share"]) for row in timeline(run)["rows"]} == {(0.0, 0.0)}


@pytest.mark.parametrize(
    ("epochs", "scores"),
    [
        (None, ("", [])),
        ([{"loss": 0.5}], ("", [])),
        ([{"selection_f1": 0.25, "loss": 0.5}, {"selection_f1": 0.5}], ("selection f1", [(1, 25.0), (2, 50.0)])),
        ([{"perplexity": 12.0}, {"perplexity": None}], ("perplexity", [(1, 12.0)])),
    ],
)
def test_the_score_after_each_epoch(epochs: Any, scores: Any) -> None:
    assert epoch_scores({"epochs": epochs}) == scores
