"""Entries of the tables that other packages bring, by their entry points.

A package that names one in its pyproject.toml,

    [project.entry-points."bert_compress.methods"]
    clip_weights = "their_package.clip_weights"

is found wherever it is installed; nothing of it is imported before it is used. Groups: bert_compress.methods, .objectives,
.targets, .tasks, .families, .traits, .runtimes and .readers. An entry keeps the contract of its table; it cannot take the
place of one that the toolkit has.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from compress.errors import InputError

PREFIX = "bert_compress."


@cache
def _installed() -> Any:
    """All entry points, which takes a look into every installed package; of another class in Python 3.11."""
    from importlib.metadata import entry_points

    return entry_points()


def with_plugins(group: str, table: Mapping[str, str]) -> dict[str, str]:
    """A table and behind it what installed packages add to it: name -> module.

    Args:
        group: Which table, such as "methods".
        table: The toolkit's own.

    Raises:
        InputError: Two packages bring the same name, or one brings a name that the toolkit has.
    """
    modules = dict(table)
    for entry in sorted(_installed().select(group=f"{PREFIX}{group}"), key=lambda point: (point.name, point.value)):
        if entry.name in modules and modules[entry.name] != entry.value:
            raise InputError(
                f"{entry.value} is registered as {entry.name!r} in {PREFIX}{group}, which {modules[entry.name]} is already; "
                "uninstall the package that brings it, or let it choose another name."
            )
        modules[entry.name] = entry.value
    return modules
