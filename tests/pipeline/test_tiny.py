"""A tiny run is judged by nothing that a random model cannot meet."""

from __future__ import annotations

from dataclasses import replace

from compress.pipeline.tiny import tiny_plan
from compress.recipe import Plan
from compress.recipe.plan import Gates


def test_a_tiny_run_has_no_gates_and_may_be_slower(plan: Plan) -> None:
    assert tiny_plan(replace(plan, gates=Gates(min_speedup=4.0))).gates == Gates(allow_slower=True)
