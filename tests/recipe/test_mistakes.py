"""Keys of recipes that were renamed."""

from __future__ import annotations

import pytest

from compress.recipe.mistakes import RENAMED, unknown


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_key_that_was_renamed_is_answered_with_its_new_name(old: str, new: str) -> None:
    assert unknown("key", old, ["epochs", new]) == f"{old!r} is now called {new!r}"
    assert unknown("key", old, ["epochs"]).startswith("unknown key")
