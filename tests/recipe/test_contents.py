"""What `bert-compress list` shows, read from the source."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Unpack

import pytest

from compress.recipe import Entry, summaries
from compress.recipe.contents import meanings, parameter_texts
from compress.training.settings import StepKnobs


def test_an_entry_has_its_first_line_and_its_source_over_several_lines() -> None:
    methods = importlib.import_module("compress.methods")
    assert summaries(methods.METHODS) == [
        Entry("fine_tune", "Train the whole model on labels.", "Devlin et al. 2019, arXiv 1810.04805, section 4.1."),
        Entry("drop_layers", "Keep some layers.", "Sajjad et al. 2020, arXiv 2004.03844."),
        Entry("distill", "Learn from a teacher.", ""),
    ]


def test_a_target_with_dashes_is_found_by_the_name_of_its_function() -> None:
    targets = importlib.import_module("compress.targets")
    assert [entry.summary for entry in summaries(targets.TARGETS)] == ["Write float32 ONNX.", "Write int8 ONNX."]


def test_an_entry_without_a_file_has_empty_texts() -> None:
    assert summaries({"later": "compress.methods.no_such_file"}) == [Entry("later", "", "")]


@pytest.mark.parametrize("room", ["methods", "objectives", "targets"])
def test_every_real_entry_has_a_summary_and_a_source(room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    home = importlib.import_module(f"compress.{room}")
    table = {"methods": "METHODS", "objectives": "OBJECTIVES", "targets": "TARGETS"}[room]
    entries = summaries(getattr(home, table))
    assert entries
    assert all(entry.summary and entry.source for entry in entries)


def test_listing_the_real_tables_imports_none_of_their_modules() -> None:
    program = (
        "import sys\nfrom compress.methods import METHODS\nfrom compress.recipe.contents import summaries\n"
        "assert all(entry.summary for entry in summaries(METHODS))\n"
        "print(sorted({'torch', *METHODS.values()} & set(sys.modules)))\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_a_docstring_says_about_a_parameter_is_joined_over_its_lines() -> None:
    text = "Do it.\n\nArgs:\n    one: First,\n        and more.\n    two: Second.\n\n    three: no parameter\n"
    assert parameter_texts(text, ["one", "two"]) == {"one": "First, and more.", "two": "Second."}


def _trains(model: str, *, rate: float, **knobs: Unpack[StepKnobs]) -> None: ...


def test_a_knob_means_what_is_written_where_it_is_shared_unless_the_function_says_more() -> None:
    text = "Args:\n    rate: How fast.\n    warmup: Hours.\n"
    assert meanings(_trains, text, ["rate", "warmup", "accumulate"]) == {
        "rate": "How fast.",
        "warmup": "Hours.",
        "accumulate": "Batches per optimizer step.",
    }
