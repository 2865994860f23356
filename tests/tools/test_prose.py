"""Docstrings become Markdown in which nothing turns into what it is not."""

from __future__ import annotations

import pytest

from tools.reference.prose import cell, escaped, prose, table, value


def test_parameters_and_errors_become_lists_and_their_lines_stay_with_them() -> None:
    text = "Do it.\n\nArgs:\n    model: Stays\n        as it is.\n    keep: Some.\n\nRaises:\n    InputError: It cannot."
    assert prose(text) == (
        "Do it.\n\n**Args**\n\n- `model`: Stays\n  as it is.\n- `keep`: Some.\n\n**Raises**\n\n- `InputError`: It cannot."
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a [CLS] vector", r"a \[CLS\] vector"),
        ("W_h and `[CLS]`", "W_h and `[CLS]`"),
        ("_private", r"\_private"),
        ("<a> of 2 * 3", r"&lt;a> of 2 \* 3"),
        ("see https://a.org/b_c.", "see <https://a.org/b_c>."),
    ],
)
def test_what_would_set_marks_is_kept_as_it_stands(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_a_cell_stays_one_cell() -> None:
    assert cell("one\n  or `a|b`") == r"one or `a\|b`"
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


@pytest.mark.parametrize(
    ("default", "shown"), [(None, "`null`"), (False, "`false`"), ((1, 8), "`[1, 8]`"), (0.5, "`0.5`"), ("auto", "`auto`")]
)
def test_a_default_is_shown_as_yaml_has_it(default: object, shown: str) -> None:
    assert value(default) == shown
