"""The methods that train have the same knobs with the same defaults, which a recipe, a caller and mypy see as their own."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from compress.errors import InputError
from compress.methods import METHODS
from compress.recipe import json_schema, read_recipe
from compress.recipe.signatures import load_function

ROOT = Path(__file__).parents[2]
STEP_KNOBS = {
    "batch_size": 64,
    "accumulate": 1,
    "schedule": "linear",
    "warmup": 0.1,
    "weight_decay": 0.01,
    "clip_norm": 1.0,
    "dropout": None,
    "layer_decay": 1.0,
}
KNOBS = {**STEP_KNOBS, "average": 0.0, "patience": None}
EPOCHS_AND_RATES = {
    "fine_tune": (3, 1e-4),
    "distill": (3, 2e-4),
    "theseus": (3, 1e-4),
    "prune_weights": (5, 1e-4),
    "prune_cofi": (5, 1e-4),
    "quantize_aware": (1, 2e-5),
    "early_exit": (3, 1e-4),
}
STEPS_ALONE = ("prune_cofi", "early_exit")
"""Methods that keep the last epoch."""
OTHERS = {"prune_heads": (1, 3e-5, {"batch_size": 64}), "prune_to_latency": (1, 1e-4, {"batch_size": 64, "average": 0.0})}
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
CALLS = """\
from typing import Any
from compress.methods.fine_tune import fine_tune
from compress.methods.prune_cofi import prune_cofi

def call(one: Any) -> None:
    fine_tune(one, task=one, batch_size=8, patience=None)
    fine_tune(one, task=one, bathc_size=8)
    fine_tune(one, task=one, batch_size="8")
    prune_cofi(one, teacher=one, task=one, fraction=0.5, patience=2)
"""


def _defaults(method: str) -> dict[str, Any]:
    if method in OTHERS:
        epochs, rate, knobs = OTHERS[method]
        return {"epochs": epochs, "learning_rate": rate, **knobs}
    epochs, rate = EPOCHS_AND_RATES[method]
    return {"epochs": epochs, "learning_rate": rate, **(STEP_KNOBS if method in STEPS_ALONE else KNOBS)}


def test_these_are_all_methods_that_train() -> None:
    trains = {name for name in METHODS if "epochs" in inspect.signature(load_function(METHODS, name)).parameters}
    assert trains == {*EPOCHS_AND_RATES, *OTHERS}


@pytest.mark.parametrize("method", [*EPOCHS_AND_RATES, *OTHERS])
def test_a_method_has_its_knobs_with_their_defaults_and_no_others(method: str) -> None:
    parameters = inspect.signature(load_function(METHODS, method)).parameters
    of_speeds = {"schedule"} if method == "prune_to_latency" else set()  # the speed-ups on its way
    known = ({"epochs", "learning_rate", *KNOBS} & set(parameters)) - of_speeds
    assert {name: parameters[name].default for name in known} == _defaults(method)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT / "recipes")))
def test_a_recipe_is_resolved_with_what_it_gives_and_every_default_that_it_leaves(path: Path) -> None:
    written = [item if isinstance(item, dict) else {item: {}} for item in yaml.safe_load(path.read_text())["steps"] or []]
    for step, item in zip(read_recipe(path).steps, written, strict=True):
        if step.method in EPOCHS_AND_RATES or step.method in OTHERS:
            expected = _defaults(step.method) | (item[step.method] or {})
            expected["learning_rate"] = float(expected["learning_rate"])  # to YAML 1.1, 1e-4 is a text
            assert {name: step.arguments[name] for name in expected} == expected


def test_a_run_shows_every_knob() -> None:
    (step,) = (entry for entry in read_recipe(ROOT / "recipes/sst2/distilbert.yaml").resolved()["steps"] if "distill" in entry)
    assert set(step["distill"]) >= {*KNOBS}


@pytest.mark.parametrize("method", EPOCHS_AND_RATES)
def test_the_schema_tells_each_knob_with_its_meaning(method: str) -> None:
    items = json_schema()["properties"]["steps"]["items"]["oneOf"]
    properties = next(schema["properties"][method]["properties"] for schema in items if method in schema.get("properties", {}))
    for name, default in _defaults(method).items():
        assert properties[name]["default"] == default
        assert properties[name]["description"].endswith(".")


def test_what_one_method_adds_to_a_knob_is_told_of_it_alone() -> None:
    items = json_schema()["properties"]["steps"]["items"]["oneOf"]
    properties = {
        name: schema["properties"][name]["properties"]
        for schema in items
        for name in schema.get("properties", {})
        if name != "as"
    }
    assert properties["prune_weights"]["average"]["description"].endswith(", under the last masks.")
    assert properties["fine_tune"]["average"]["description"].endswith("averaged into the result; 0 takes the last.")


@pytest.mark.parametrize("method", EPOCHS_AND_RATES)
def test_a_caller_that_misspells_a_knob_is_told_all_options_before_anything_runs(method: str) -> None:
    knobs = STEP_KNOBS if method in STEPS_ALONE else KNOBS
    with pytest.raises(
        InputError, match=rf"^{method} has no option bathc_size; .*epochs, learning_rate, {', '.join(knobs)}\.$"
    ):
        load_function(METHODS, method)(None, bathc_size=8)


@pytest.mark.slow
def test_mypy_knows_the_knobs(tmp_path: Path) -> None:
    (tmp_path / "calls.py").write_text(CALLS)
    command = [sys.executable, "-m", "mypy", "--config-file", "setup.cfg", str(tmp_path / "calls.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    errors = [line.partition("calls.py:")[2] for line in done.stdout.splitlines() if ": error: " in line]
    assert errors == [
        '7: error: Unexpected keyword argument "bathc_size" for "fine_tune"; did you mean "batch_size"?  [call-arg]',
        '8: error: Argument "batch_size" to "fine_tune" has incompatible type "str"; expected "int"  [arg-type]',
        '9: error: Unexpected keyword argument "patience" for "prune_cofi"  [call-arg]',
    ], done.stderr


def test_the_reference_tells_the_knobs_once_and_each_method_links_to_them() -> None:
    page = (ROOT / "docs/reference/methods.md").read_text(encoding="utf-8")
    assert page.count("Batches per optimizer step.") == page.count("\n## Training knobs\n") == 1
    sections = {part.partition("\n")[0]: part for part in page.split("\n## ")[1:]}
    for method in EPOCHS_AND_RATES:
        assert "(#training-knobs)" in sections[method]
    assert all(f"| `{name}` |" in sections["Training knobs"] for name in KNOBS)
