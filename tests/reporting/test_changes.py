from __future__ import annotations

import copy
from typing import Any

import pytest

from compress.reporting.changes import changes, data_changes, plain_changes, recipe_changes
from tests.reporting.results import run, subject

RECIPE: dict[str, Any] = {
    "name": "demo",
    "model": "m",
    "task": {"kind": "text-classification", "data": "sst2"},
    "steps": [
        {"fine_tune": {"epochs": 3}, "as": "teacher"},
        {"drop_layers": {"keep": [0, 2, 5]}, "as": "drop_layers"},
        {"distill": {"teacher": "teacher", "epochs": 3, "objectives": {"logits": 0.9}}, "as": "distill"},
    ],
    "export": [{"onnxruntime-cpu": {}}, {"onnxruntime-cpu-int8": {"weight_bits": 8}}],
}


def changed(**values: Any) -> dict[str, Any]:
    return copy.deepcopy(RECIPE) | values


def said(before: Any, after: Any) -> list[str]:
    return [str(change) for change in recipe_changes(before, after)]


def test_an_argument_is_told_by_its_path_and_both_values() -> None:
    other = changed()
    other["steps"][2]["distill"]["epochs"] = 5
    other["steps"][2]["distill"]["objectives"]["logits"] = 1.0
    other["task"]["data"] = "mrpc"
    assert said(RECIPE, other) == [
        "task.data: sst2 -> mrpc",
        "steps[2].distill.epochs: 3 -> 5",
        "steps[2].distill.objectives.logits: 0.9 -> 1.0",
    ]
    assert said(RECIPE, RECIPE) == []


def test_a_step_that_is_put_in_moves_no_other_one_and_what_stands_behind_it_is_still_compared() -> None:
    other = changed()
    other["steps"].insert(1, {"prune_heads": {"keep": 6}, "as": "prune_heads"})
    other["steps"][3]["distill"]["epochs"] = 4
    assert said(RECIPE, other) == ['steps[1].prune_heads: added: {"keep": 6}', "steps[3].distill.epochs: 3 -> 4"]
    assert said(other, RECIPE) == ['steps[1].prune_heads: removed, was {"keep": 6}', "steps[2].distill.epochs: 4 -> 3"]


def test_an_export_and_a_key_that_are_gone_are_told_as_such() -> None:
    other = changed(export=[{"onnxruntime-cpu-int8": {"weight_bits": 7, "activations": "static"}}])
    del other["model"]
    assert said(RECIPE, other) == [
        "model: removed, was m",
        "export[0].onnxruntime-cpu: removed, was {}",
        "export[0].onnxruntime-cpu-int8.weight_bits: 8 -> 7",
        "export[0].onnxruntime-cpu-int8.activations: added: static",
    ]


@pytest.mark.parametrize(("before", "after"), [(1, True), (0, False), (None, 0), ([1], [1, 2]), ("a", None), ({}, [])])
def test_values_of_other_kinds_are_other_values(before: Any, after: Any) -> None:
    assert len(plain_changes({"a": before}, {"a": after})) == 1


def test_a_long_value_is_cut() -> None:
    (change,) = plain_changes({"text": "a"}, {"text": "b" * 10_000})
    assert len(str(change)) < 200


def test_steps_that_no_run_writes_are_compared_all_the_same() -> None:
    assert said({"steps": ["x", 3]}, {"steps": ["x"]}) == ["steps[1].3: removed, was 3"]


def test_rows_are_told_by_the_part_in_which_they_are_others() -> None:
    before = {"name": "d", "fingerprint": "1", "splits": {name: {"examples": 9, "fingerprint": name} for name in "te"}}
    after = copy.deepcopy(before) | {"fingerprint": "2"}
    after["splits"]["t"] |= {"examples": 10, "fingerprint": "other"}
    assert [str(change) for change in data_changes(before, after)] == [
        "data.splits.t.examples: 9 -> 10",
        "data.splits.t: other rows",
    ]


def test_rows_of_records_without_marks_of_parts_are_told_as_a_whole() -> None:
    before = {"fingerprint": "1", "splits": {"train": {"examples": 9}}}
    assert [str(change) for change in data_changes(before, before | {"fingerprint": "2"})] == [
        "data: other rows, in some part"
    ]
    assert data_changes(before, before) == []


def test_seeds_commits_versions_and_machines_are_compared() -> None:
    before, after = run([subject("int8", [1])]), run([subject("int8", [1])], seed=14)
    after |= {
        "commit": "b",
        "versions": {"onnxruntime": "1.33.0", "openvino": "1"},
        "machine": before["machine"] | {"cores": 8},
    }
    listed = {room: [str(change) for change in listed_there] for room, listed_there in changes([before], [after]).items()}
    assert listed == {
        "recipe": ["seed: 13 -> 14"],
        "data": [],
        "versions": ["commit: null -> b", "onnxruntime: 1.32.0 -> 1.33.0", "openvino: added: 1"],
        "machine": ["cores: 2 -> 8"],
    }
