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
import compress.objectives
import compress.targets
import compress.tasks
from compress.recipe import read_recipe_text
from compress.recipe.contents import parameter_texts
from compress.recipe.signatures import public_name
from tests.pages import PAGES, blocks

EXAMPLES: dict[str, tuple[ModuleType, dict[str, str], str]] = {
    "method": (compress.methods, compress.methods.METHODS, "clip_weights"),
    "objective": (compress.objectives, compress.objectives.OBJECTIVES, "reverse_logits"),
    "target": (compress.targets, compress.targets.TARGETS, "onnxruntime-cpu-fp16-weights"),
    "task-kind": (compress.tasks, compress.tasks.TASKS, "star-rating"),
}


def _page(example: str) -> str:
    return f"docs/extending/{example}.md"


def _file(example: str, folder: str) -> str:
    """The block that a page shows as a file in a folder of the repository."""
    (block,) = [one for one in blocks(_page(example), "python") if one.startswith(f"# {folder}/")]
    return block


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An example whose file lies in its package, and whose line stands in the table, as long as the test runs."""
    package, table, entry = EXAMPLES[request.param]
    (line,) = re.findall(r'^"([^"]+)": "([^"]+)",$', "".join(blocks(_page(request.param), "text")), re.MULTILINE)
    assert line == (entry, f"{package.__name__}.{public_name(entry)}")
    (tmp_path / f"{public_name(entry)}.py").write_text(_file(request.param, "compress"), encoding="utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.setitem(table, *line)
    importlib.invalidate_caches()
    importlib.import_module(line[1])
    yield request.param
    del sys.modules[line[1]]
    monkeypatch.delattr(package, public_name(entry), raising=False)


def test_every_page_but_the_one_without_a_seam_is_an_example() -> None:
    pages = {Path(page).stem for page in PAGES if page.startswith("docs/extending/")}
    assert pages == {*EXAMPLES, "family-and-runtime", "packages"}  # the last one is built by test_plugins.py
    assert blocks(_page("family-and-runtime"), "python") == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_block_of_python_is_the_file_or_its_test(name: str) -> None:
    package, _, entry = EXAMPLES[name]
    stem = f"{public_name(entry)}.py"
    folder = package.__name__.replace(".", "/")
    starts = [block.partition("\n")[0] for block in blocks(_page(name), "python")]
    assert starts == [f"# {folder}/{stem}", f"# {folder.replace('compress', 'tests')}/test_{stem}"]


def test_an_example_owes_what_every_entry_owes(example: str) -> None:
    package, table, entry = EXAMPLES[example]
    module = importlib.import_module(table[entry])
    told = module if package is compress.tasks else getattr(module, public_name(entry))
    text = inspect.getdoc(told) or ""
    assert re.search(r"^Source: .*(\d{4}|https://)", text, re.MULTILINE)
    parameters = list(inspect.signature(told).parameters) if callable(told) else []
    described = parameter_texts(text, parameters)
    assert [parameter for parameter in parameters if not described.get(parameter)] == []


def test_the_recipe_of_an_example_passes_its_check(example: str) -> None:
    (recipe,) = blocks(_page(example), "yaml")
    assert EXAMPLES[example][2] in str(read_recipe_text(recipe).resolved())


@pytest.mark.slow
def test_the_tests_of_an_example_pass(example: str) -> None:
    names: dict[str, Any] = {"__name__": "tests_of_an_example"}
    exec(compile(_file(example, "tests"), _page(example), "exec"), names)
    tests = [found for name, found in names.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test()
