"""The tables of contents are whole: each file once, each entry with the function, the docstring and the types that it owes."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from compress import methods, objectives, targets, tasks
from compress.recipe.contents import meanings, summaries
from compress.recipe.signatures import argument_model, public_name

TABLES = {
    "methods": (methods, methods.METHODS, set()),
    "objectives": (objectives, objectives.OBJECTIVES, {"layer_map", "nested", "outputs"}),
    "targets": (targets, targets.TARGETS, {"exporting", "manifest", "refusing"}),
    "tasks": (
        tasks,
        tasks.TASKS,
        {
            "abstaining",
            "by_group",
            "chance",
            "compared_vectors",
            "correlations",
            "cutting",
            "emphasis",
            "encoding",
            "groups",
            "kin",
            "kind",
            "known",
            "labelled",
            "labels",
            "laid_texts",
            "looking",
            "masked_pieces",
            "parts",
            "per_example",
            "ranking_scores",
            "reading",
            "reliability",
            "scores",
            "single_labels",
            "span_answers",
            "split",
            "squad_scores",
            "tagged_words",
            "tags",
            "text_scores",
            "texts",
            "tokenizing",
            "unknown",
            "unlabelled",
            "vector_losses",
            "windows",
            "word_vectors",
            "words",
            "written",
        },
    ),
}
ENTRIES = [(table, name, module) for table, (_, entries, _) in TABLES.items() for name, module in entries.items()]


def _entry(table: str, name: str, module: str) -> Any:
    """An entry's function; a kind of task is told by its module."""
    loaded = importlib.import_module(module)
    return loaded if table == "tasks" else getattr(loaded, public_name(name))


@pytest.mark.parametrize("table", TABLES)
def test_each_file_stands_in_the_table_once(table: str) -> None:
    package, entries, others = TABLES[table]
    assert isinstance(package, ModuleType)
    files = {path.stem for path in Path(str(package.__file__)).parent.glob("*.py")} - {"__init__"} - others
    assert sorted(entries.values()) == sorted(f"{package.__name__}.{file}" for file in files)
    assert len(set(entries.values())) == len(entries)


@pytest.mark.parametrize(("table", "name", "module"), ENTRIES)
def test_an_entry_is_called_like_its_file_and_its_function(table: str, name: str, module: str) -> None:
    stem = public_name(name)
    assert module.rsplit(".", 1)[1] == stem
    entry = _entry(table, name, module)
    assert entry.KIND.name == name if table == "tasks" else callable(entry)


@pytest.mark.parametrize(("table", "name", "module"), ENTRIES)
def test_an_entry_says_what_it_does_where_it_is_from_and_what_each_parameter_means(table: str, name: str, module: str) -> None:
    entry = _entry(table, name, module)
    text = inspect.getdoc(entry) or ""
    assert text.splitlines()[0].endswith(".")
    assert re.search(r"^Source: .*(\d{4}|https://)", text, re.MULTILINE | re.DOTALL)
    parameters = list(inspect.signature(entry).parameters) if callable(entry) else []
    described = meanings(entry, text, parameters) if parameters else {}
    assert [parameter for parameter in parameters if not described.get(parameter)] == []


@pytest.mark.parametrize(("table", "name", "module"), ENTRIES)
def test_the_list_shows_every_entry_with_its_source(table: str, name: str, module: str) -> None:
    entry = next(entry for entry in summaries(TABLES[table][1]) if entry.name == name)
    assert entry.summary
    assert entry.source


@pytest.mark.parametrize(("name", "module"), [entry[1:] for entry in ENTRIES if entry[0] in ("methods", "targets")])
def test_the_signature_is_a_schema(name: str, module: str) -> None:
    schema = argument_model(getattr(importlib.import_module(module), public_name(name))).model_json_schema()
    assert schema["additionalProperties"] is False
