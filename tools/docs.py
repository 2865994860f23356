"""Bring README.md and docs/ up to date: the reference from the code, tables and figures from recorded results.

    python -m tools.docs              # every page
    python -m tools.docs README.md    # the tables and figures of these pages alone

Prints each file that changed. Tests hold the pages against what this writes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from compress import record
from compress.errors import CompressError
from tools.pages import START, refresh_tables
from tools.reference import reference_pages
from tools.results import results_pages

ROOT = Path(__file__).resolve().parent.parent


def pages_of(root: Path) -> list[Path]:
    """README and every page of docs/."""
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def bring_up_to_date(root: Path = ROOT) -> list[Path]:
    """Write what is generated in README.md and docs/, and return the pages that changed.

    Args:
        root: Holds README.md, docs/, recipes/results and benchmarks/results.
    """
    changed = []
    for name, text in {**reference_pages(), **results_pages(root)}.items():
        path = root / "docs" / name
        before = path.read_text(encoding="utf-8") if path.is_file() else None
        if before is None or _frame(before) != _frame(text):
            path.parent.mkdir(parents=True, exist_ok=True)
            record.write_whole(path, text)
            changed.append(path)
    return [*changed, *(path for path in pages_of(root) if has_tables(path) and refresh_tables(path) and path not in changed)]


def _frame(text: str) -> str:
    """A page without what stands between its marks, which is written anew after it."""
    kept, is_inside = [], False
    for line in text.splitlines():
        is_inside = is_inside and not line.startswith("<!-- end of ")
        if not is_inside:
            kept.append(line)
        is_inside = is_inside or START.match(line) is not None
    return "\n".join(kept)


def has_tables(path: Path) -> bool:
    """Whether a page has tables of results."""
    return START.search(path.read_text(encoding="utf-8")) is not None


def main(arguments: Sequence[str]) -> int:
    """Refresh the pages that are named, or all; return the exit code."""
    try:
        changed = [Path(name) for name in arguments if refresh_tables(Path(name))] if arguments else bring_up_to_date()
    except CompressError as err:
        print(err, file=sys.stderr)
        return err.exit_code
    for path in changed:
        print(f"refreshed: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
