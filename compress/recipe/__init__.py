"""READ: YAML in, a checked plan out, or every mistake at once with line and suggestion. Imports no torch."""

from __future__ import annotations

from compress.recipe.contents import Entry, summaries
from compress.recipe.plan import INPUT_MODEL, Benchmark, Export, Gates, Plan, Step
from compress.recipe.reading import read_recipe, read_recipe_text, recipe_text
from compress.recipe.schema import json_schema

__all__ = [
    "INPUT_MODEL",
    "Benchmark",
    "Entry",
    "Export",
    "Gates",
    "Plan",
    "Step",
    "json_schema",
    "read_recipe",
    "read_recipe_text",
    "recipe_text",
    "summaries",
]
