"""A variable is named for what it holds."""

from __future__ import annotations

import ast
from pathlib import Path

import compress

ROOT = Path(compress.__file__).parents[1]
DIALECT = {"found", "told", "held", "one"}
"""Words that fit everything and tell nothing."""


def test_no_variable_has_a_name_that_tells_nothing() -> None:
    places = []
    for room in ("compress", "tests", "tools", "benchmarks"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                match node:
                    case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.FunctionDef(name=name):
                        places += [f"{path.relative_to(ROOT)}:{node.lineno}: {name}"] if name in DIALECT else []
    assert not places, "name it for what it holds: logits, folder, config"
