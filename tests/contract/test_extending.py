"""The worked examples of docs/extending do what they say: their files are written, entered into the tables, and tested."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import compress.methods
import compress.models.families
import compress.objectives
import compress.runtimes
import compress.targets
import compress.tasks
from compress.recipe import read_recipe_text
from compress.recipe.contents import meanings
from compress.recipe.signatures import public_name
from compress.runtimes.table import RUNTIMES
from tests.pages import PAGES, blocks

Part = tuple[ModuleType, dict[str, str], str]
EXAMPLES: dict[str, tuple[Part, ...]] = {
    "method": ((compress.methods, compress.methods.METHODS, "clip_weights"),),
    "objective": ((compress.objectives, compress.objectives.OBJECTIVES, "reverse_logits"),),
    "target": ((compress.targets, compress.targets.TARGETS, "onnxruntime-cpu-fp16-weights"),),
    "family": ((compress.models.families, compress.models.families.FAMILIES, "layoutlm"),),
    "task-kind": ((compress.tasks, compress.tasks.TASKS, "star-rating"),),
    "runtime": (
        (compress.runtimes, RUNTIMES, "onnx-reference"),
        (compress.targets, compress.targets.TARGETS, "onnx-reference-cpu"),
    ),
}
"""What the files of a page are entries of."""
OBJECTS = (compress.tasks, compress.runtimes, compress.models.families)
"""Their entries are objects, and their modules tell of them."""


def _page(example: str) -> str:
    return f"docs/extending/{example}.md"


def _files(example: str, folder: str) -> list[str]:
    """The blocks that a page shows as files in a folder of the repository."""
    return [block for block in blocks(_page(example), "python") if block.startswith(f"# {folder}/")]


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An example whose files lie in their packages, and whose lines stand in the tables, as long as the test runs."""
    lines = re.findall(r'^"([^"]+)": "([^"]+)",$', "".join(blocks(_page(request.param), "text")), re.MULTILINE)
    parts = EXAMPLES[request.param]
    assert lines == [(entry, f"{package.__name__}.{public_name(entry)}") for package, _, entry in parts]
    files = _files(request.param, "compress")
    for (package, table, entry), line, file in zip(parts, lines, files, strict=True):
        (tmp_path / f"{public_name(entry)}.py").write_text(file, encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
        monkeypatch.setitem(table, *line)
    importlib.invalidate_caches()
    for _, module in lines:
        importlib.import_module(module)
    yield request.param
    for (package, _, entry), (_, module) in zip(parts, lines, strict=True):
        del sys.modules[module]
        monkeypatch.delattr(package, public_name(entry), raising=False)


def test_every_page_is_an_example() -> None:
    pages = {Path(page).stem for page in PAGES if page.startswith("docs/extending/")}
    assert pages == {*EXAMPLES, "packages"}  # the last one is built by test_plugins.py


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_block_of_python_is_a_file_or_the_test_of_the_first(name: str) -> None:
    files = [f"{package.__name__.replace('.', '/')}/{public_name(entry)}.py" for package, _, entry in EXAMPLES[name]]
    starts = [block.partition("\n")[0] for block in blocks(_page(name), "python")]
    test = re.sub(r"^compress/(.*)/", r"tests/\1/test_", files[0])
    assert starts == [f"# {file}" for file in (*files, test)]


def test_an_example_owes_what_every_entry_owes(example: str) -> None:
    for package, table, entry in EXAMPLES[example]:
        module = importlib.import_module(table[entry])
        target = module if package in OBJECTS else getattr(module, public_name(entry))
        text = inspect.getdoc(target) or ""
        assert re.search(r"^Source: .*(\d{4}|https://)", text, re.MULTILINE)
        parameters = list(inspect.signature(target).parameters) if callable(target) else []
        described = meanings(target, text, parameters) if parameters else {}
        assert [parameter for parameter in parameters if not described.get(parameter)] == []


def test_the_recipe_of_an_example_passes_its_check(example: str) -> None:
    (recipe,) = blocks(_page(example), "yaml")
    assert EXAMPLES[example][-1][2] in str(read_recipe_text(recipe).resolved())


@pytest.mark.slow
def test_the_tests_of_an_example_pass(example: str) -> None:
    names: dict[str, Any] = {"__name__": "tests_of_an_example"}
    (file,) = _files(example, "tests")
    exec(compile(file, _page(example), "exec"), names)
    tests = [function for name, function in names.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()
