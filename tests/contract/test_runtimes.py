"""Each runtime is one file that says what is special to it; nobody else decides by a runtime's name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import compress
from compress.recipe.contents import summaries
from compress.runtimes.runtime import PLACES, Runtime
from compress.runtimes.table import ALSO_CALLED, DEFAULT, RUNTIMES, TRAINED, load_runtime
from compress.sources import text_of
from compress.targets import TARGETS, runtime_of, timed_targets

ROOT = Path(compress.__file__).parent
OWNERS = {"torch": (), "onnx": ("targets/onnxruntime_*.py",), "openvino": ("targets/openvino_*.py",)}
"""Beside a runtime's own file, those that are for it alone."""
OWN = {ROOT.parent / f"{module.replace('.', '/')}.py" for module in RUNTIMES.values()} | {
    path for patterns in OWNERS.values() for pattern in patterns for path in ROOT.glob(pattern)
}
TABLE = ROOT / "runtimes" / "table.py"
NAMES = {*RUNTIMES, *ALSO_CALLED}
BEGINNINGS = ("onnxruntime", "openvino", "tensorrt")
"""Of targets' names."""
OTHERS = sorted(path for path in ROOT.rglob("*.py") if path not in OWN and path != TABLE)


def decisions(tree: ast.AST) -> Iterator[str]:
    """What asks for a runtime by name: comparisons with it, names that begin like it, tables with it as a key, choices."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare() if _named(node):
                yield ast.unparse(node)
            case ast.Call(func=ast.Attribute(attr="startswith" | "removeprefix")) if any(map(_begins, node.args)):
                yield ast.unparse(node)
            case ast.Dict() if NAMES & {_text(key) for key in node.keys}:
                yield ast.unparse(node)
            case ast.Subscript(value=ast.Name(id="Literal")) if NAMES & _texts(node.slice):
                yield ast.unparse(node)
            case ast.MatchValue() if NAMES & _texts(node.value):
                yield ast.unparse(node)


def _text(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _texts(node: ast.AST) -> set[str]:
    return {text for child in ast.walk(node) if (text := _text(child)) is not None}


def _named(node: ast.Compare) -> bool:
    sides = [
        side for side in (node.left, *node.comparators) if isinstance(side, ast.Constant | ast.Tuple | ast.List | ast.Set)
    ]
    return any(NAMES & _texts(side) or any(text.startswith(BEGINNINGS) for text in _texts(side)) for side in sides)


def _begins(node: ast.AST) -> bool:
    return any(text.startswith((*BEGINNINGS, "onnx")) for text in _texts(node))


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_nobody_else_decides_by_a_runtime_s_name(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert list(decisions(tree)) == [], "ask the runtime, see docs/extending/runtime.md"


@pytest.mark.parametrize(
    "code",
    [
        'target.startswith("openvino-")',
        'target.startswith(("tensorrt", "x"))',
        'kind == "openvino"',
        'one["kind"] != "torch"',
        '"openvino" in target',
        'kind in ("onnx", "openvino")',
        '{"onnx": a, "openvino": b}[kind]',
        'x: Literal["onnx", "openvino"]',
        'target == "openvino-cpu"',
    ],
)
def test_a_decision_is_seen(code: str) -> None:
    assert len(list(decisions(ast.parse(code)))) == 1


@pytest.mark.parametrize("code", ['load_runtime("openvino")', '"""runs in openvino"""', 'kind == "bert"', 'says("onnx")'])
def test_what_is_none_is_not(code: str) -> None:
    assert list(decisions(ast.parse(code))) == []


def test_each_file_of_a_runtime_stands_in_the_table_once() -> None:
    files = [path for path in ROOT.rglob("*.py") if re.search(r"^RUNTIME = Runtime\(", path.read_text("utf-8"), re.MULTILINE)]
    modules = [".".join(path.relative_to(ROOT.parent).with_suffix("").parts) for path in files]
    assert sorted(modules) == sorted(RUNTIMES.values())
    assert {DEFAULT, TRAINED, *ALSO_CALLED.values()} <= set(RUNTIMES)


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_is_called_as_in_the_table_and_says_what_everybody_asks(name: str) -> None:
    runtime = load_runtime(name)
    assert isinstance(runtime, Runtime)
    assert runtime.name == name
    assert runtime.install.startswith("pip install ")
    assert runtime.distributions
    assert runtime.purpose
    assert set(runtime.devices) <= set(PLACES)
    assert runtime.usage is not None or runtime.file is None


def test_the_list_shows_every_runtime_with_its_source() -> None:
    assert all(entry.summary and entry.source for entry in summaries(RUNTIMES))


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_says_which_runtime_runs_its_file(target: str) -> None:
    assert text_of(TARGETS[target], "RUNTIME") in RUNTIMES
    assert runtime_of(target) == text_of(TARGETS[target], "RUNTIME")


def test_what_is_for_a_gpu_is_not_timed_on_the_cpu() -> None:
    assert set(TARGETS) - set(timed_targets()) == {"onnxruntime-cuda-fp16", "tensorrt-int8"}
