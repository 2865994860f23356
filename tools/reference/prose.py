"""Turn docstrings, values and tables into Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

GENERATED = "<!-- Written by `python -m tools.docs` from the code; change the docstrings there, not this page. -->"
SECTIONS = ("Args", "Returns", "Raises", "Yields")
_SECTION = re.compile(rf"^({'|'.join(SECTIONS)}):\s*$")
_ITEM = re.compile(r"^(\s*)`{0,2}\*{0,2}(\w[\w.]*)`{0,2}:\s+(.*)$")


def page(title: str, *parts: str) -> str:
    """Lay a page out: its title, that it is generated, and its parts."""
    return "\n\n".join([f"# {title}", GENERATED, *(part for part in parts if part)]) + "\n"


def prose(text: str) -> str:
    """A docstring as Markdown: paragraphs as they are, Args, Returns and Raises as lists with what they tell of."""
    shown: list[str] = []
    section, depth = "", 0
    for line in text.splitlines():
        start = _SECTION.match(line)
        if start:
            section, depth = start[1], 0
            shown += ["", f"**{section}**", ""]
        elif not section:
            shown.append(escaped(line))
        elif not line.strip():
            shown.append("")
        elif not line.startswith(" "):
            section = ""
            shown.append(escaped(line))
        else:
            indent = len(line) - len(line.lstrip())
            depth = depth or indent
            item = _ITEM.match(line)
            if item and indent == depth:
                shown.append(f"- `{item[2]}`: {escaped(item[3])}")
            else:
                shown.append(("  " if shown and shown[-1] else "") + escaped(line.strip()))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(shown)).strip()


def escaped(text: str) -> str:
    """A line of prose, in which nothing opens a tag or a link that is not code; addresses are shown as links."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else _escaped_part(part) for part in parts)


def _escaped_part(text: str) -> str:
    text = re.sub(r"([*\[\]])", r"\\\1", text)
    text = re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text).replace("<", "&lt;")
    return re.sub(r"https?://[^\s,;)]+[^\s,;).]", lambda match: f"<{match[0]}>", text)


def cell(text: Any) -> str:
    """A text for one cell of a table."""
    return escaped(" ".join(str(text).split())).replace("|", "\\|")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose cells are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def value(default: Any) -> str:
    """A default as YAML writes it."""
    if default is None:
        return "`null`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, tuple | list):
        return f"`[{', '.join(map(str, default))}]`"
    return f"`{default}`"
