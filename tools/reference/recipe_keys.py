"""The page about a recipe's keys, from the JSON schema that editors check with."""

from __future__ import annotations

from typing import Any

from compress.recipe import json_schema
from compress.record import MISSING
from tools.reference.prose import cell, page, table, value

Schema = dict[str, Any]
TOLD = {
    "seed": "Of every random choice.",
    "data": "The name of a known data set, or files and their columns: see [below](#taskdata).",
    "steps": "A list of [methods](methods.md), read top to bottom: `- NAME: {key: value}`, with `as: NAME` beside it to name "
    "its model for later steps.",
    "export": "A list of [targets](targets.md): `- NAME: {key: value}`, or the bare name.",
}
WORDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a mapping",
    "string": "a text",
}
LIMITS = (("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"), ("exclusiveMaximum", "below"))


def recipe_page() -> str:
    """Tell every key of a recipe outside of steps and exports, with what is allowed and the default."""
    schema = json_schema()
    keys: Schema = schema["properties"]
    rows = [
        (f"`{key}`", _needed(schema, key, said), TOLD.get(key) or _sections(key) or cell(said.get("description", "")))
        for key, said in keys.items()
    ]
    task = next(form for form in keys["task"]["oneOf"] if "properties" in form)
    data = next(form for form in task["properties"]["data"]["oneOf"] if "properties" in form)
    parts = []
    for name, section in (("task", task), ("task.data", data), ("benchmark", keys["benchmark"]), ("gates", keys["gates"])):
        parts += [f"## {name}", cell(section.get("description", "")), _section(section)]
    return page(
        "Recipe keys",
        "A recipe is YAML. Unknown and duplicate keys are errors with a suggestion; `bert-compress check RECIPE` finds every "
        "mistake at once, and `bert-compress check --schema` prints the JSON schema from which this page is made.",
        "## The recipe",
        table(("key", "default", "what it means"), rows),
        *parts,
    )


def _sections(key: str) -> str:
    return f"See [below](#{key})." if key in ("task", "benchmark", "gates") else ""


def _needed(schema: Schema, key: str, said: Schema) -> str:
    if key in schema.get("required", []):
        return "required"
    return value(said["default"]) if "default" in said else MISSING


def _section(section: Schema) -> str:
    rows = [
        (f"`{key}`", cell(_allowed(said)), _needed(section, key, said), TOLD.get(key) or cell(said.get("description", "")))
        for key, said in section["properties"].items()
    ]
    return table(("key", "allowed", "default", "what it means"), rows)


def _allowed(said: Schema) -> str:
    if "oneOf" in said or "anyOf" in said:
        return ", or ".join(dict.fromkeys(_allowed(option) for option in said.get("oneOf") or said["anyOf"]))
    if "enum" in said:
        return ", ".join(f"`{option}`" for option in said["enum"])
    kinds = said.get("type", "anything")
    if kinds == "array":
        return f"a list, each item {_allowed(said.get('items', {}))}"
    text = " or ".join(WORDS.get(str(kind), str(kind)) for kind in (kinds if isinstance(kinds, list) else [kinds]))
    limits = [f"{word} {said[key]}" for key, word in LIMITS if key in said]
    if "pattern" in said:
        limits.append(f"`{said['pattern']}`")
    return " ".join([text, ", ".join(limits)]).strip()
