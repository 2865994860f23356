"""`key=value` on the command line."""

from __future__ import annotations

import pytest

from compress.errors import InputError
from compress.recipe import read_recipe_text


def test_values_are_set_by_dotted_paths_and_read_as_yaml(recipe: str) -> None:
    overrides = ["seed=3", "task.data_dir=../x", "benchmark.batch=[1, 4]", "gates.max_drop=5e-2", "name=other"]
    plan = read_recipe_text(recipe, overrides)
    assert (plan.seed, plan.name, plan.task["data_dir"]) == (3, "other", "../x")
    assert (plan.benchmark.batch, plan.gates.max_drop) == ((1, 4), 0.05)


@pytest.mark.parametrize("step", ["teacher", "fine_tune", "0"])
def test_a_step_is_named_by_its_name_its_method_or_its_number(recipe: str, step: str) -> None:
    assert read_recipe_text(recipe, [f"steps.{step}.epochs=1"]).steps[0].arguments["epochs"] == 1


def test_an_option_of_an_export_is_set_where_the_target_stands_as_a_bare_name(recipe: str) -> None:
    plan = read_recipe_text(recipe, ["export.onnxruntime-cpu-int8.per_channel=false"])
    assert plan.exports[1].options == {"per_channel": False}


def test_short_forms_are_unfolded() -> None:
    text = "model: m\ntask: sst2\nsteps: [fine_tune]\n"
    plan = read_recipe_text(text, ["task.data_dir=d", "steps.fine_tune.epochs=2", "steps.fine_tune.as=big"])
    assert plan.task == {"kind": "text-classification", "data": "sst2", "data_dir": "d"}
    assert (plan.steps[0].name, plan.steps[0].arguments["epochs"]) == ("big", 2)


def test_whole_sections_can_be_replaced_added_and_emptied(recipe: str) -> None:
    plan = read_recipe_text(recipe, ["export=[]", "benchmark={rounds: 2}", "steps.drop_layers={keep: [1]}", "gates="])
    assert (plan.exports, plan.benchmark.rounds, plan.benchmark.baseline) == ((), 2, None)
    assert plan.gates.max_drop is None
    assert plan.steps[1].arguments == {"keep": [1]}


def test_items_of_lists_are_set_by_their_number(recipe: str) -> None:
    assert read_recipe_text(recipe, ["steps.drop_layers.keep.2=4"]).steps[1].arguments["keep"] == [0, 2, 4]


def test_the_later_override_wins_and_the_value_may_hold_an_equals_sign(recipe: str) -> None:
    plan = read_recipe_text(recipe, ["seed=1", "seed=2", "task.data=a=b"])
    assert (plan.seed, plan.task["data"]) == (2, "a=b")


def test_an_override_mends_a_mistake_of_the_file(recipe: str) -> None:
    assert read_recipe_text(recipe.replace("seed: 13", "seed: x"), ["seed=4"]).seed == 4


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sede=3", "sede: unknown key; did you mean 'seed'?"),
        ("seed=x", 'seed: "x" is not allowed'),
        ("seed.x=3", 'seed: {"x": 3} is not allowed'),
        ("steps.distil.epochs=1", "steps: 'distil' is an unknown step; did you mean 'distill'?"),
        ("steps.distill.epohcs=1", "steps[2] distill.epohcs: unknown key; did you mean 'epochs'?"),
        ("steps.distill.epochs=0", "steps[2] distill.epochs: 0 is not allowed; allowed: a number above 0"),
        ("steps.9.epochs=1", "steps: '9' is an unknown step"),
        ("steps.drop_layers.keep.7=1", "steps[1] drop_layers.keep: '7' is no item of the list; allowed: 0 to 2"),
        ("export.onnxruntime-gpu.x=1", "export: 'onnxruntime-gpu' is an unknown export; did you mean 'onnxruntime-cpu'?"),
        ("task.kind=x", 'task.kind: "x" is an unknown kind of task'),
        ("seed", "this is no override; write key=value"),
        ("=3", "this is no override"),
        ("a..b=3", "this is no override"),
        ("seed=[1", "the value cannot be read"),
        ("task.data={train: a, train: b}", "train: this key is there twice"),
    ],
)
def test_a_wrong_override_is_named_itself(recipe: str, override: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_recipe_text(recipe, [override])
    assert str(caught.value).startswith(f"override '{override}': {said}")
    assert "\n" not in str(caught.value)


def test_a_method_that_stands_twice_is_ambiguous() -> None:
    with pytest.raises(InputError, match="'fine_tune' is more than one step; use its number: 0, 1"):
        read_recipe_text("model: m\ntask: t\nsteps: [fine_tune, fine_tune]\n", ["steps.fine_tune.epochs=1"])


def test_mistakes_of_the_file_come_before_those_of_overrides(recipe: str) -> None:
    with pytest.raises(InputError) as caught:
        read_recipe_text(recipe.replace("seed: 13", "seed: x"), ["nam=3"])
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == ["recipe", "override 'nam=3'"]
