"""What a module says at its top is read without importing it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from compress.sources import text_of, tree_of

MODULE = """
import no_such_package

NAME = "first"
NUMBER = 3
def NAME_OF(): NAME = "inner"
"""


def test_a_text_is_read_from_a_module_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert text_of("module_of_a_test", "NAME") == "first"
    assert text_of("module_of_a_test", "NUMBER") is None
    assert text_of("module_of_a_test", "OTHER") is None
    assert "module_of_a_test" not in sys.modules


def test_a_module_of_ours_is_found_without_its_package() -> None:
    assert text_of("compress.targets.openvino_cpu_int8", "TARGET") == "openvino-cpu-int8"


def test_a_module_that_is_not_there_says_nothing() -> None:
    assert tree_of("no_such_module_at_all") is None
    assert text_of("compress.targets.nowhere", "RUNTIME") is None
