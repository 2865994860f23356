"""Run only what the signature of a function needs of its module, so that a recipe is checked without torch.

A method's module imports torch, though its signature speaks of numbers and names alone. The slice of a module is the
statements that bind the names of the signature: types such as `Epochs`, defaults, and what `fits_together` calls. They are
followed into the other modules of this package that they are from; nothing else is run. What is imported already is taken as
it is.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from compress.sources import PACKAGE, tree_of


def sliced(module: str, function: str, skips: Callable[[str], bool]) -> Callable[..., Any] | None:
    """Return a function that has the signature, the decorators and the docstring of a module's, but no body.

    Its globals hold what its annotations name, so that they can be evaluated. Its module is not imported.

    Args:
        module: Of this package or not.
        function: Its name.
        skips: Whether an annotation is not needed, by the name of its parameter; that of the first one never is.

    Returns:
        None where the source does not tell: the function is no plain `def`, or is not there.
    """
    tree = tree_of(module)
    matches = [node for node in tree.body if getattr(node, "name", None) == function] if tree else []
    if len(matches) != 1 or not isinstance(matches[0], ast.FunctionDef):
        return None
    node = matches[0]
    body: list[ast.stmt] = [ast.Expr(ast.Constant(ast.get_docstring(node, clean=False) or ""))]
    parts = {name: getattr(node, name) for name in node._fields} | {"body": body}
    bare = ast.fix_missing_locations(ast.copy_location(ast.FunctionDef(**parts), node))
    slices = _Slices()
    names = slices.names_of(module)
    slices.need(module, [*_names(_evaluated(bare)), *_names(_annotations(node.args, skips))])
    slices.run(module, bare)
    return names[function]


def _annotations(arguments: ast.arguments, skips: Callable[[str], bool]) -> Iterator[ast.AST]:
    positional = [*arguments.posonlyargs, *arguments.args][1:]
    knobs = [arguments.kwarg] if arguments.kwarg else []
    for argument in [*positional, *arguments.kwonlyargs, *knobs]:
        if argument.annotation is not None and not skips(argument.arg):
            yield argument.annotation


def _evaluated(node: ast.AST) -> Iterator[ast.AST]:
    """The parts of a statement that are evaluated when it is run or called: of a `def`, all but the annotations."""
    if not isinstance(node, ast.FunctionDef):
        yield node
        return
    yield from node.decorator_list
    yield from node.args.defaults
    yield from (default for default in node.args.kw_defaults if default is not None)
    for inner in node.body:
        yield from _evaluated(inner)


def _names(nodes: Iterable[ast.AST]) -> list[str]:
    """Every name that is read in them, in their order."""
    return [
        inner.id
        for node in nodes
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load)
    ]


def _bound_by(node: ast.stmt) -> list[str]:
    """The names that a statement of a module binds or changes: `a = 1`, `a.b = 1`, `def a`, `from a import b`."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).partition(".")[0] for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [inner.id for target in targets if target is not None for inner in ast.walk(target) if isinstance(inner, ast.Name)]


class _Slices:
    """The names that were needed so far, module by module."""

    def __init__(self) -> None:
        self._names: dict[str, dict[str, Any]] = {}

    def names_of(self, module: str) -> dict[str, Any]:
        """The globals of a module's slice."""
        return self._names.setdefault(module, {"__name__": module})

    def need(self, module: str, names: Iterable[str]) -> None:
        """Run the statements of a module that bind these names, and what those need, in their order."""
        known, tree = self.names_of(module), tree_of(module)
        missing = {name for name in names if name not in known}
        for node in tree.body if tree else []:
            for name in missing.intersection(_bound_by(node)):
                if isinstance(node, ast.ImportFrom):
                    known[name] = self._imported(node, name)
                else:
                    known.setdefault(name, None)  # a function that calls itself, or one below that calls it
                    self.need(module, _names(_evaluated(node)))
                    self.run(module, node)

    def run(self, module: str, node: ast.stmt) -> None:
        """Run one statement; the annotations of a function stay texts, those of a class are evaluated."""
        flags = annotations.compiler_flag if isinstance(node, ast.FunctionDef) else 0
        code = compile(ast.Module([node], []), f"<slice of {module}>", "exec", flags, dont_inherit=True)
        exec(code, self.names_of(module))

    def _imported(self, node: ast.ImportFrom, name: str) -> Any:
        source = node.module or ""
        original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
        if source.partition(".")[0] != PACKAGE or source in sys.modules or tree_of(f"{source}.{original}"):
            imported = importlib.import_module(source)
            return getattr(imported, original, None) or importlib.import_module(f"{source}.{original}")
        self.need(source, [original])
        return self.names_of(source)[original]
