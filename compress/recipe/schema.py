"""Write the JSON schema of a whole recipe, from which editors complete and check it while it is typed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import compress.methods as methods
import compress.objectives as objectives
import compress.tasks as tasks
from compress import targets
from compress.recipe.checking import DATA_KEYS, DEFAULT_KIND, DEFAULT_SEED, JOINABLE, LARGEST_SEED
from compress.recipe.contents import docstring, meanings
from compress.recipe.plan import Benchmark, Gates
from compress.recipe.signatures import Table, argument_model, load_signature, names_a_step, public_name, takes_any_key
from compress.tasks.data.files import listed

Schema = dict[str, Any]

_NAME = {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}
_DATA = {
    "train": f"File to learn from: {listed()}.",
    "validation": "File that is only ever measured on.",
    "text": "Column of the text, or of the first text of a pair; a list of several joins them in its order.",
    "pair": "Column of the second text of a pair, or a list of several.",
    "label": "Column of the label.",
    "quoting": "How a field with a tab, comma or quote in it is quoted.",
    "separator": "Between joined texts; a line's end if left out.",
    "parted_by": "What ends a text of plain text (.txt): line, the default, or paragraph.",
}
_LIST: Schema = {"items": {"type": "string", "minLength": 1}, "minItems": 2, "uniqueItems": True}


def json_schema() -> Schema:
    """Return the JSON schema (draft 2020-12) of a recipe, from the tables and the signatures in them.

    Imports every method and target; one that cannot be imported here is described without its arguments.
    """
    definitions: Schema = {}
    properties: Schema = {
        "name": {"type": "string", "description": "The run's folder is called by it; else by the file."},
        "seed": {"type": "integer", "minimum": 0, "maximum": LARGEST_SEED, "default": DEFAULT_SEED},
        "model": {"type": "string", "minLength": 1, "description": "Hub name, folder, or package:NAME."},
        "task": _task(definitions),
        "steps": {
            "type": ["array", "null"],
            "description": "Methods, read top to bottom: a torch model in, a torch model out.",
            "items": {"oneOf": _items(methods.METHODS, {"as": _NAME}, definitions)},
        },
        "export": {
            "type": ["array", "null"],
            "description": "Targets: the last model in, one folder of files out for each.",
            "items": {"oneOf": _items(targets.TARGETS, {}, definitions)},
        },
        "benchmark": _benchmark(definitions),
        "gates": _arguments(Gates, inspect.getdoc(Gates) or "", definitions),
    }
    schema: Schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A recipe of bert-compress",
        "type": "object",
        "properties": properties,
        "required": ["model", "task"],
        "anyOf": [{"required": ["steps"]}, {"required": ["export"]}],
        "additionalProperties": False,
    }
    return {**schema, "$defs": definitions} if definitions else schema


def _items(table: Table, beside: Mapping[str, Schema], definitions: Schema) -> list[Schema]:
    """Return what an item of a list can be: a mapping for each entry, or the bare name of one."""
    items: list[Schema] = []
    bare: list[str] = []
    for entry, module in table.items():
        text = docstring(module, public_name(entry))
        try:
            function = load_signature(table, entry)
        except ImportError as err:
            arguments: Schema = {"type": ["object", "null"], "description": f"Cannot be loaded here: {err}"}
        else:
            text = text or inspect.getdoc(function) or ""
            arguments = _arguments(function, text, definitions)
        if not arguments.get("required"):
            bare.append(entry)
            arguments["type"] = ["object", "null"]
        items.append(
            {
                "type": "object",
                "description": text.partition("\n")[0],
                "properties": {entry: arguments, **beside},
                "required": [entry],
                "additionalProperties": False,
            }
        )
    return [*items, {"type": "string", "enum": bare}] if bare else items


def _arguments(function: Callable[..., Any], text: str, definitions: Schema, leave_out: tuple[str, ...] = ()) -> Schema:
    """Return the schema of a function's arguments, with what is written about each."""
    schema = argument_model(function, leave_out).model_json_schema(ref_template="#/$defs/{model}")
    definitions.update(schema.pop("$defs", {}))
    properties = schema.setdefault("properties", {})
    texts = meanings(function, text, list(properties))
    for name, said in properties.items():
        said.pop("title", None)
        if name in texts:
            said["description"] = texts[name]
        if names_a_step(name):
            said["description"] = f"Name of an earlier step, or 'model'. {said.get('description', '')}".strip()
        if name == "objectives":
            properties[name] = _objectives(said)
    return {
        "type": "object",
        "description": text.partition("\n")[0],
        "properties": properties,
        "required": schema.get("required", []),
        "additionalProperties": False,
    }


def _objectives(said: Schema) -> Schema:
    weights = {
        name: {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": docstring(module, public_name(name)).partition("\n")[0],
        }
        for name, module in objectives.OBJECTIVES.items()
    }
    kept: Schema = {key: value for key, value in said.items() if key in ("description", "default")}
    return {
        **kept,
        "type": "object",
        "minProperties": 1,
        "properties": weights,
        "additionalProperties": False,
    }


def _task(definitions: Schema) -> Schema:
    data: Schema = {
        "type": "object",
        "properties": {
            key: {"type": ["string", "array", "null"], "description": _DATA[key], **_LIST}
            if key in JOINABLE
            else {"type": ["string", "null"], "description": _DATA[key]}
            for key in DATA_KEYS
        },
        "required": ["train"],
        "additionalProperties": False,
    }
    mapping: Schema = {"type": "object", "properties": {}, "additionalProperties": True}
    function = getattr(tasks, "task", None)
    if function is not None:
        mapping = _arguments(function, inspect.getdoc(function) or "", definitions, ("kind", "data"))
        mapping["additionalProperties"] = takes_any_key(function)
    named = {"type": "string", "minLength": 1, "description": "Name of a data set."}
    kind = {"enum": list(tasks.TASKS), "default": DEFAULT_KIND, "description": "What is predicted."}
    mapping["properties"] = {"kind": kind, "data": {"oneOf": [named, data]}, **mapping["properties"]}
    mapping["required"] = ["data"]
    return {"oneOf": [{**named, "description": f"A data set for {DEFAULT_KIND}."}, mapping]}


def _benchmark(definitions: Schema) -> Schema:
    schema = _arguments(Benchmark, inspect.getdoc(Benchmark) or "", definitions)
    for key in ("batch", "length", "threads"):
        said = schema["properties"][key]
        outside = {name: said.pop(name) for name in ("description", "default") if name in said}
        said["uniqueItems"] = True
        schema["properties"][key] = {**outside, "oneOf": [said, said["items"]]}
    return schema
