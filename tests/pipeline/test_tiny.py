"""A tiny run is judged by nothing that a random model cannot meet, and its model is as large as the steps need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from compress.pipeline import RunOptions, run
from compress.pipeline.tiny import tiny_plan, tiny_sizes
from compress.recipe import Plan, read_recipe
from compress.recipe.plan import Gates
from tests.pipeline.conftest import write_recipe

STUDENT = """
  - fine_tune: {epochs: 1, batch_size: 8}
    as: teacher
  - build_student: {KEYS}
  - distill: {teacher: teacher, objectives: {logits: 1.0}, epochs: 1, batch_size: 8}
"""


def plan_with(folder: Path, keys: str) -> Plan:
    return read_recipe(write_recipe(folder, steps=STUDENT.replace("KEYS", keys)))


def test_a_tiny_run_has_no_gates_and_may_be_slower(plan: Plan) -> None:
    assert tiny_plan(replace(plan, gates=Gates(min_speedup=4.0))).gates == Gates(allow_slower=True)


def test_the_model_has_the_layers_that_a_step_keeps(plan: Plan) -> None:
    assert tiny_sizes(plan) == {"layers": 2, "width": 32, "intermediate": 64, "heads": 4, "positions": 128}
    deep = replace(plan.steps[1], arguments={"keep": [0, 4, 2]})
    assert tiny_sizes(replace(plan, steps=(plan.steps[0], deep))) == tiny_sizes(plan) | {"layers": 5}
    segments = replace(plan.steps[1], method="swap_attention", arguments={"kind": "transformer_xl", "segment": 512})
    assert tiny_sizes(replace(plan, steps=(plan.steps[0], segments))) == tiny_sizes(plan) | {"positions": 512}
    exits = replace(plan.steps[1], method="early_exit", arguments={"layers": [0, 3]})
    assert tiny_sizes(replace(plan, steps=(plan.steps[0], exits))) == tiny_sizes(plan) | {"layers": 5}


def test_a_recipe_without_steps_gets_the_smallest_model(plan: Plan) -> None:
    assert tiny_sizes(replace(plan, steps=())) == {"layers": 2, "width": 32, "intermediate": 64, "heads": 4, "positions": 128}


@pytest.mark.parametrize(("layers", "expected"), [(1, 2), (4, 5), ("last", 2), ([3, 6], 2)])
def test_the_model_is_deeper_than_what_a_step_leaves_of_it(plan: Plan, layers: Any, expected: int) -> None:
    fewer = replace(plan.steps[1], arguments={"layers": layers})
    assert tiny_sizes(replace(plan, steps=(plan.steps[0], fewer)))["layers"] == expected


@pytest.mark.parametrize(("width", "expected"), [(288, 292), (0.75, 32), (8, 32)])
def test_the_model_is_wider_than_what_a_step_leaves_of_it(plan: Plan, width: float, expected: int) -> None:
    narrower = replace(plan.steps[1], arguments={"width": width})
    assert tiny_sizes(replace(plan, steps=(plan.steps[0], narrower)))["width"] == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("kind: bert, layers: 4, width: 312, intermediate: 1200, heads: 12", (5, 312, 1200, 12)),
        ("shape: tinybert4", (5, 312, 1200, 12)),
        ("shape: tinybert4, layers: 3", (4, 312, 1200, 12)),
        ("heads: 6", (2, 36, 64, 6)),
        ("kind: albert, groups: 3, embedding: 128", (3, 128, 64, 4)),
        ("kind: mobilebert, shape: mobilebert", (2, 32, 64, 4)),
        ("kind: distilbert, keep: [1, 6]", (7, 32, 64, 4)),
    ],
)
def test_the_model_is_as_large_as_the_student_that_is_cut_from_it(
    tmp_path: Path, keys: str, expected: tuple[int, ...]
) -> None:
    assert tuple(tiny_sizes(plan_with(tmp_path, keys)).values()) == (*expected, 128)


@pytest.mark.slow
@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize(
    ("keys", "width"),
    [
        ("shape: tinybert4", 312),
        ("kind: distilbert", 32),
        ("kind: albert, groups: 3, embedding: 16", 16),
        ("kind: mobilebert, layers: 3, width: 64", 16),
    ],
)
def test_a_recipe_with_a_student_of_any_kind_runs(tmp_path: Path, keys: str, width: int) -> None:
    record = run(plan_with(tmp_path, keys), RunOptions(out=tmp_path / "out", tiny=True, device="cpu"))
    assert [step["method"] for step in record["steps"]] == ["fine_tune", "build_student", "distill"]
    weights = load_file(tmp_path / "out" / "steps" / "3-distill" / "model.safetensors")
    assert next(table for name, table in weights.items() if name.endswith("word_embeddings.weight")).shape[1] == width


def test_the_model_divides_as_the_steps_ask(plan: Plan) -> None:
    """Three modules need three layers or more each; 48 relation heads a width of 48."""
    steps = (replace(plan.steps[0], arguments={"modules": 3}), replace(plan.steps[0], arguments={"relation_heads": 48}))
    sizes = tiny_sizes(replace(plan, steps=steps))
    assert (sizes["layers"], sizes["width"]) == (6, 48)
