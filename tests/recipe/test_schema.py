"""The JSON schema says what the checks say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from compress.recipe import json_schema


@pytest.fixture
def schema() -> dict[str, Any]:
    return json_schema()


def _item(schema: dict[str, Any], section: str, entry: str) -> dict[str, Any]:
    items = schema["properties"][section]["items"]["oneOf"]
    return next(item for item in items if entry in item.get("properties", {}))


def test_the_schema_is_plain_json_of_draft_2020_12(schema: dict[str, Any]) -> None:
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_top_level_has_the_sections_of_a_recipe_and_no_other(schema: dict[str, Any]) -> None:
    sections = ["name", "seed", "model", "task", "steps", "export", "benchmark", "gates"]
    assert list(schema["properties"]) == sections
    assert schema["required"] == ["model", "task"]
    assert schema["additionalProperties"] is False


def test_a_step_has_one_method_with_ranges_defaults_and_descriptions(schema: dict[str, Any]) -> None:
    item = _item(schema, "steps", "fine_tune")
    assert item["description"] == "Train the whole model on labels."
    assert (item["required"], item["additionalProperties"]) == (["fine_tune"], False)
    assert set(item["properties"]) == {"fine_tune", "as"}
    given = item["properties"]["fine_tune"]["properties"]
    assert set(given) == {"epochs", "learning_rate", "batch_size", "schedule", "shuffle"}
    assert given["epochs"]["exclusiveMinimum"] == 0
    assert given["epochs"]["description"] == "Passes over the training part, fractions included."
    assert (given["learning_rate"]["exclusiveMaximum"], given["learning_rate"]["default"]) == (1, 1e-4)
    assert given["schedule"] == {"default": "linear", "enum": ["linear", "cosine", "constant"], "type": "string"}


def test_only_a_method_that_needs_nothing_can_stand_as_a_bare_name(schema: dict[str, Any]) -> None:
    assert schema["properties"]["steps"]["items"]["oneOf"][-1] == {"type": "string", "enum": ["fine_tune"]}
    assert _item(schema, "steps", "fine_tune")["properties"]["fine_tune"]["type"] == ["object", "null"]
    assert _item(schema, "steps", "drop_layers")["properties"]["drop_layers"]["required"] == ["keep"]


def test_a_teacher_is_a_name_and_objectives_are_known_ones_with_weights(schema: dict[str, Any]) -> None:
    given = _item(schema, "steps", "distill")["properties"]["distill"]
    assert given["properties"]["teacher"]["type"] == "string"
    assert given["required"] == ["teacher", "objectives"]
    objectives = given["properties"]["objectives"]
    assert set(objectives["properties"]) == {"labels", "logits", "hidden"}
    assert (objectives["minProperties"], objectives["additionalProperties"]) == (1, False)


def test_targets_benchmark_gates_and_task_are_described(schema: dict[str, Any]) -> None:
    properties = schema["properties"]
    assert set(_item(schema, "export", "onnxruntime-cpu-int8")["properties"]) == {"onnxruntime-cpu-int8"}
    batch = properties["benchmark"]["properties"]["batch"]
    assert (batch["default"], batch["oneOf"][1]) == ([1, 8], {"minimum": 1, "type": "integer"})
    assert properties["gates"]["properties"]["max_drop"]["anyOf"][0]["maximum"] == 1
    assert "two points" in properties["gates"]["properties"]["max_drop"]["description"]
    named, mapping = properties["task"]["oneOf"]
    assert named["type"] == "string"
    assert set(mapping["properties"]) == {"kind", "data", "data_dir", "max_length", "labels"}
    assert mapping["properties"]["max_length"]["description"] == "Tokens; what is longer is cut."
    assert mapping["properties"]["kind"]["enum"] == ["text-classification"]


def test_a_target_that_cannot_be_loaded_here_is_described_without_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    from compress import targets

    monkeypatch.setitem(targets.TARGETS, "onnxruntime-cpu", "no_such_runtime_here")
    item = _item(json_schema(), "export", "onnxruntime-cpu")
    assert item["properties"]["onnxruntime-cpu"]["description"].startswith("Cannot be loaded here")
