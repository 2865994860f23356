"""A recipe is checked in full without torch, and by the very signatures that the methods and targets have."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compress.methods import METHODS
from compress.recipe import json_schema
from compress.recipe.signatures import argument_model, load_function, recipe_parameters
from compress.targets import TARGETS

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "onnxruntime", "onnx", "onnx_ir", "onnxscript", "datasets", "numpy", "scipy", "openvino")
WITHOUT_TORCH = """
import inspect, json, sys
from pathlib import Path
from compress.targets import TARGETS
from compress.methods import METHODS
from compress.recipe import json_schema, read_recipe
from compress.recipe.signatures import argument_model, load_signature, recipe_parameters

checked = [read_recipe(path).name for path in sorted(Path("recipes").rglob("*.yaml"))]
functions = {}
for table in (METHODS, TARGETS):
    for entry in table:
        function = load_signature(table, entry)
        functions[entry] = {
            "signature": str(inspect.signature(function)), "parameters": repr(recipe_parameters(function)),
            "text": inspect.getdoc(function), "schema": argument_model(function).model_json_schema(),
            "is wrong together": hasattr(function, "wrong_together"), "name": function.__name__, "module": function.__module__,
        }
print(json.dumps({"checked": checked, "told": functions, "schema": json_schema(), "imported": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def without_torch() -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_recipe_is_checked_in_full_without_torch(without_torch: dict[str, Any]) -> None:
    assert len(without_torch["checked"]) == len(list((ROOT / "recipes").rglob("*.yaml"))) > 0
    assert not set(HEAVY) & set(without_torch["imported"])
    assert not {*METHODS.values(), *TARGETS.values()} & set(without_torch["imported"])


@pytest.mark.parametrize(("table", "entry"), [(table, entry) for table in (METHODS, TARGETS) for entry in table])
def test_what_is_told_without_an_import_is_what_the_function_says(
    table: dict[str, str], entry: str, without_torch: dict[str, Any]
) -> None:
    function = load_function(table, entry)
    assert without_torch["told"][entry] == {
        "signature": str(inspect.signature(function)),
        "parameters": repr(recipe_parameters(function)),
        "text": inspect.getdoc(function),
        "schema": argument_model(function).model_json_schema(),
        "is wrong together": hasattr(function, "wrong_together"),
        "name": function.__name__,
        "module": function.__module__,
    }


def test_the_schema_for_editors_is_the_same_with_and_without_torch(without_torch: dict[str, Any]) -> None:
    for table in (METHODS, TARGETS):
        for entry in table:
            load_function(table, entry)
    assert without_torch["schema"] == json.loads(json.dumps(json_schema()))
