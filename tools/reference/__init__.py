"""Write the reference in docs/ from the code: what there is, what runs together, recipe keys, commands, Python, run.json."""

from __future__ import annotations

from tools.reference.commands import commands_page
from tools.reference.entries import DETAILED, entries_page, overview_page
from tools.reference.python import python_page
from tools.reference.recipe_keys import recipe_page
from tools.reference.run_record import run_record_page
from tools.reference.support import support_page


def reference_pages() -> dict[str, str]:
    """Return the pages of the reference by their paths in docs/."""
    pages = {
        "reference/index.md": overview_page(),
        "reference/recipe.md": recipe_page(),
        "reference/command-line.md": commands_page(),
        "reference/python.md": python_page(),
        "reference/run-json.md": run_record_page(),
        "reference/support.md": support_page(),
    }
    return pages | {f"reference/{name}.md": entries_page(name) for name in DETAILED}
