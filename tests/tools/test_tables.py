"""Result tables: means over seeds by hand."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.errors import InputError
from compress.tasks.per_example import packed
from tools.tables import read_folder, read_results, recipes_table, results_table

EXAMPLE = Path(__file__).parents[1] / "example_run.json"


@pytest.fixture
def run() -> dict[str, Any]:
    """A run with two torch models and two files."""
    record: dict[str, Any] = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    return record


@pytest.fixture
def other_seed(run: dict[str, Any]) -> dict[str, Any]:
    """The same with another seed, whose file is better and slower."""
    other = copy.deepcopy(run)
    other["recipe"]["seed"] = 14
    shipped = other["subjects"][3]
    shipped |= {"metrics": {"accuracy": 801 / 872}, "drop": {"value": -1 / 872}, "size_bytes": 17_820_000}
    shipped["latency"][0] |= {"p50_ms": 1.6, "speedup": 4.0}
    shipped["latency"][2] |= {"examples_per_second": 439.0}
    return other


def row_of(table: str, name: str) -> list[str]:
    line = next(line for line in table.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_one_seed_shows_its_drop_with_the_interval(run: dict[str, Any]) -> None:
    table = results_table([run])
    assert table.splitlines()[0] == (
        "| model | accuracy, % | drop, points (95 %) | MB | MB in memory | MACs | p50, ms | speed-up | examples/s, batch 8 |"
    )
    shipped = row_of(table, "onnxruntime-cpu-int8")
    assert shipped[1:] == ["89.9", "1.8 (0.1 to 3.6)", "17.6", "42", "171 M", "0.80", "8.0\u00d7", "1,561"]


def test_further_rows_have_columns_where_there_are_some(run: dict[str, Any]) -> None:
    for subject in run["subjects"]:
        subject["further"] = {
            "examples": 2805,
            "metrics": {"accuracy": 0.871},
            "drop": {"value": 0.012, "ci95": [0.002, 0.022]},
        }
    table = results_table([run])
    assert "| drop, points (95 %) | accuracy, % of 2,805 further rows | drop there, points | MB |" in table
    assert row_of(table, "onnxruntime-cpu-int8")[3:5] == ["87.1", "1.2 (0.2 to 2.2)"]
    assert row_of(table, "teacher")[3:5] == ["87.1", "\u2013"]


def test_the_baseline_has_no_drop(run: dict[str, Any]) -> None:
    assert row_of(results_table([run]), "teacher")[1:] == [
        "91.7",
        "\u2013",
        "90.9",
        "218",
        "342 M",
        "6.40",
        "1.0\u00d7",
        "195",
    ]


def test_several_seeds_show_means_and_the_spread_of_the_metric(run: dict[str, Any], other_seed: dict[str, Any]) -> None:
    table = results_table([run, other_seed])
    assert row_of(table, "onnxruntime-cpu-int8")[1:] == [
        "90.9 (89.9 to 91.9)",  # (784 + 801) / 2 / 872
        "0.9",  # (16 - 1) / 2 / 872
        "17.7",
        "42",
        "171 M",
        "1.20",
        "6.0\u00d7",
        "1,000",
    ]
    assert "drop, points |" in table
    assert "seeds 13, 14: means, in brackets the lowest and the highest" in table


def test_several_seeds_whose_examples_are_kept_show_the_interval_over_both(
    run: dict[str, Any], other_seed: dict[str, Any]
) -> None:
    """The baseline is always right, the file loses nothing with one seed and a tenth with the other: 0 to 10 points."""
    for record, wrong in ((run, 0), (other_seed, 200)):
        for subject in record["subjects"]:
            right = np.ones((2000, 2))
            right[: wrong if subject is record["subjects"][-1] else 0, 0] = 0
            subject["examples"] = packed(right, "accuracy")
    table = results_table([run, other_seed])
    assert "| drop, points (95 %) |" in table.splitlines()[0]
    assert re.fullmatch(r"0\.9 \(0\.0 to (9|10|11)\.\d\)", row_of(table, "onnxruntime-cpu-int8")[2])
    del run["subjects"][0]["examples"]
    assert "| drop, points |" in results_table([run, other_seed]).splitlines()[0]


def test_subjects_stand_in_the_order_of_the_flow(run: dict[str, Any]) -> None:
    names = [line.split(" | ")[0].removeprefix("| ") for line in results_table([run]).splitlines()[2:6]]
    assert names == ["teacher", "student", "onnxruntime-cpu", "onnxruntime-cpu-int8"]


def test_the_line_below_tells_machine_seed_and_data(run: dict[str, Any]) -> None:
    assert results_table([run]).splitlines()[-1] == (
        "Measured on Example CPU 2.0 GHz (4 cores) at batch 1, length 32, 1 thread; seed 13; data: sst2, source "
        "https://huggingface.co/datasets/stanfordnlp/sst2, licence CC0, 872 examples."
    )


def test_a_licence_that_nobody_states_is_said_to_be_missing(run: dict[str, Any]) -> None:
    run["data"]["licence"] = None
    assert "licence not stated" in results_table([run])


def test_a_value_that_one_seed_lacks_is_a_dash_and_no_mean_of_the_others(
    run: dict[str, Any], other_seed: dict[str, Any]
) -> None:
    other_seed["subjects"][3] |= {"size_bytes": None, "metrics": {}}
    assert row_of(results_table([run, other_seed]), "onnxruntime-cpu-int8")[1:4] == ["\u2013", "0.9", "\u2013"]


def test_an_untimed_run_shows_dashes(run: dict[str, Any]) -> None:
    for subject in run["subjects"]:
        subject["latency"] = []
    assert row_of(results_table([run]), "student")[6:] == ["\u2013", "\u2013", "\u2013"]


def test_names_do_not_break_the_table(run: dict[str, Any]) -> None:
    run["subjects"][1]["name"] = "a|b\n<b>"
    assert r"| a\|b \<b> | 90.5 |" in results_table([run])


def test_runs_of_two_machines_are_refused(run: dict[str, Any], other_seed: dict[str, Any]) -> None:
    other_seed["machine"]["cpu"] = "Another CPU"
    with pytest.raises(InputError, match="measured on 2 machines"):
        results_table([run, other_seed])


def test_no_run_is_refused() -> None:
    with pytest.raises(InputError, match="no run to show"):
        results_table([])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"schema": 1, "runs"', "cannot be read as JSON"),
        ("[]", "holds a list"),
        ("{}", "no results of schema 1"),
        ('{"schema": 2, "runs": [{"subjects": [{}]}]}', "no results of schema 1, but schema 2"),
        ('{"schema": 1, "runs": []}', "no results of schema 1"),
        ('{"schema": 1, "runs": [{"subjects": [{}]}, {}]}', "run 2 of 2 has no subjects"),
        ('{"schema": 1, "runs": [{"subjects": "teacher"}]}', "run 1 of 1 has no subjects"),
    ],
)
def test_damaged_results_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_results(path)


def test_recipes_stand_beside_each_other_with_their_intervals(run: dict[str, Any], other_seed: dict[str, Any]) -> None:
    other_seed["subjects"][3] |= {"truncated": 37, "metrics_ci95": {"accuracy": [0.9, 0.935]}}
    table = recipes_table({"dense": [run], "long": [other_seed], "both": [run, other_seed]})
    lines = table.splitlines()
    assert lines[0] == "| recipe | file | accuracy, % (95 %) | drop from teacher, points (95 %) | texts cut | MB | p50, ms |"
    shipped = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "| onnxruntime-cpu-int8 |" in line]
    assert [row[0] for row in shipped] == ["dense", "long", "both"]
    assert shipped[0][2:] == ["89.9 (87.7 to 91.7)", "1.8 (0.1 to 3.6)", "0", "17.6", "0.80"]
    assert shipped[1][2:] == ["91.9 (90.0 to 93.5)", "\u22120.1", "37", "17.8", "1.60"]
    assert shipped[2][2:4] == ["90.9 (89.9 to 91.9)", "0.9 (\u22120.1 to 1.8)"]
    assert "; seeds 13, 14: means, in brackets the lowest and the highest; data: sst2" in lines[-1]
    assert not any(line.startswith("| dense | teacher |") for line in lines)


def test_recipes_with_other_baselines_are_refused(run: dict[str, Any], other_seed: dict[str, Any]) -> None:
    other_seed["subjects"][0]["name"] = "long"
    with pytest.raises(InputError, match=r"against teacher, long; .* same benchmark.baseline"):
        recipes_table({"dense": [run], "long": [other_seed]})


def test_a_folder_of_two_tasks_is_refused(run: dict[str, Any], other_seed: dict[str, Any], tmp_path: Path) -> None:
    other_seed["data"]["name"] = "mrpc"
    for name, record in (("a", run), ("b", other_seed)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"schema": 1, "runs": [record]}))
    with pytest.raises(InputError, match=r"mrpc, sst2.* keep a folder for each"):
        read_folder(tmp_path)
