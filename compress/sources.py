"""The source of a module, parsed without importing it."""

from __future__ import annotations

import ast
import functools
import importlib.util
from pathlib import Path

PACKAGE = __name__.partition(".")[0]
ROOT = Path(__file__).parent


@functools.cache
def tree_of(module: str) -> ast.Module | None:
    """Parse the source of a module; None where it has no file of Python."""
    path = path_of(module)
    return ast.parse(path.read_text(encoding="utf-8")) if path else None


def text_of(module: str, name: str) -> str | None:
    """Read the text that a module binds to a name at its top, `NAME = "text"`; None where it does not."""
    tree = tree_of(module)
    for node in tree.body if tree else []:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            assert isinstance(node, ast.Assign)
            text = node.value.value if isinstance(node.value, ast.Constant) else None
            return text if isinstance(text, str) else None
    return None


def path_of(module: str) -> Path | None:
    """Find the file of a module, of this package or of another; None where it has none of Python."""
    package, _, rest = module.partition(".")
    if package == PACKAGE:
        path = ROOT.joinpath(*rest.split("."))
        return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
    spec = importlib.util.find_spec(module)
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None
