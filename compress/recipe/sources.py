"""The source of a module, parsed without importing it."""

from __future__ import annotations

import ast
import functools
import importlib.util
from pathlib import Path

PACKAGE = __name__.partition(".")[0]


@functools.cache
def tree_of(module: str) -> ast.Module | None:
    """Parse the source of a module; None where it has no file of Python."""
    path = _file(module)
    return ast.parse(path.read_text(encoding="utf-8")) if path else None


def _file(module: str) -> Path | None:
    package, _, rest = module.partition(".")
    if package == PACKAGE:
        path = Path(__file__).parents[1].joinpath(*rest.split("."))
        return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None)
    spec = importlib.util.find_spec(module)
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None
