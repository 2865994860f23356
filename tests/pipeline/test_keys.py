"""A result's key changes with the versions and the code that made it, and with nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress import sources
from compress.methods import METHODS
from compress.pipeline import keys
from compress.pipeline.keys import shipping_of, source_digest, versions

MODULE = '''"""What it is for."""
from compress.other import helper

def work(count):
    """Work."""
    return helper(count)  # as before
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two modules in the toolkit's place; each test has its own, since what was read is remembered."""
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    (tmp_path / "work.py").write_text(MODULE)
    (tmp_path / "other.py").write_text("def helper(count):\n    return count + 1\n")
    return tmp_path


def digest_with(package: Path, file: str, text: str) -> str:
    (package / file).write_text(text)
    keys._read.cache_clear()
    return source_digest("compress.work")


def test_versions_of_what_is_not_installed_are_left_out() -> None:
    installed = versions(("torch", "no-such-distribution"))
    assert list(installed) == ["torch"]
    assert versions(("no-such-distribution",)) == {}


def test_an_export_depends_on_every_runtime_that_proved_it() -> None:
    assert {"onnxruntime", "onnx", "onnx-ir", "openvino", "torch"} <= set(shipping_of("openvino-cpu")["versions"])
    assert "openvino" not in shipping_of("onnxruntime-cpu")["versions"]


def test_comments_and_docstrings_do_not_count(package: Path) -> None:
    before = source_digest("compress.work")
    source = MODULE.replace("What it is for.", "Something else.").replace("Work.", "Do it.").replace("  # as before", "")
    assert digest_with(package, "work.py", source) == before


def test_code_counts_wherever_it_is_imported_from(package: Path) -> None:
    before = source_digest("compress.work")
    assert digest_with(package, "work.py", MODULE.replace("helper(count)", "helper(count) + 1")) != before
    assert digest_with(package, "work.py", MODULE) == before
    assert digest_with(package, "other.py", "def helper(count):\n    return count + 2\n") != before


@pytest.mark.parametrize(
    ("method", "file"),
    [
        ("distill", "models/families/bert.py"),
        ("fine_tune", "models/families/modernbert.py"),
        ("prune_heads", "models/traits/layers.py"),
        ("fine_tune", "tasks/token_classification.py"),
    ],
)
def test_the_code_of_families_traits_and_kinds_counts_too(method: str, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = source_digest(METHODS[method])
    read = keys._read

    def changed(path: Path) -> tuple[str, tuple[str, ...]]:
        source, imported = read(path)
        return ("other" if path == sources.ROOT / file else source), imported

    monkeypatch.setattr(keys, "_read", changed)
    assert source_digest(METHODS[method]) != before
