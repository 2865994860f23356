"""A preset stands for values of the knobs that are left out."""

from __future__ import annotations

import inspect

import pytest
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.methods.distill import distill
from compress.methods.drop_layers import drop_layers
from compress.recipe import read_recipe_text
from compress.tasks.labelled import Task
from compress.training.presets import PRESETS, SMALL_ROWS, preset_for
from compress.training.step_context import StepContext

RECIPE = """
model: any
task: any
steps:
  - distill: {{teacher: model, objectives: {{logits: 1.0}}{more}}}
export: [onnxruntime-cpu]
"""


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_names_knobs_alone(name: str) -> None:
    assert PRESETS[name].keys() <= inspect.signature(distill).parameters.keys() - {"objectives", "teacher", "preset"}


@pytest.mark.parametrize("name", PRESETS)
def test_a_recipe_is_resolved_to_a_presets_values_where_it_says_nothing(name: str) -> None:
    plain, chosen, own = (
        read_recipe_text(RECIPE.format(more=more)).steps[0].arguments
        for more in ("", f", preset: {name}", f", preset: {name}, epochs: 2")
    )
    assert chosen == {**plain, "preset": name, **PRESETS[name]}
    assert own == {**chosen, "epochs": 2}


def test_a_call_from_python_takes_the_same_values(model: PreTrainedModel, toy: Task) -> None:
    student, run = drop_layers(model, keep=[0]), StepContext(device="cpu")
    distill(student, teacher=model, task=toy, objectives={"logits": 1.0}, preset="small_data", epochs=2, run=run)
    small = -(-len(toy.train) // 16)
    assert run.facts["optimizer_steps"] == 2 * small


@pytest.mark.parametrize("name", ["tiny_data", 3])
def test_an_unknown_preset_is_refused(name: object, model: PreTrainedModel, toy: Task) -> None:
    with pytest.raises(InputError, match=r"distill\.preset is"):
        distill(model, teacher=model, task=toy, objectives={"logits": 1.0}, preset=name)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="small_data"):
        read_recipe_text(RECIPE.format(more=f", preset: {name}"))


def test_data_is_small_below_twenty_thousand_rows() -> None:
    assert (preset_for(SMALL_ROWS - 1), preset_for(SMALL_ROWS)) == ("small_data", "large_data")
