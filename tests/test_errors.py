from __future__ import annotations

import pytest

from compress.errors import shown


@pytest.mark.parametrize(
    "value", ["a film", "it's", "", 7, -2.5, None, True, [1, "a"], (1, 2), {"a": [1]}, {1}, set(), [], b"ab"]
)
def test_short_values_are_shown_as_they_are(value: object) -> None:
    if isinstance(value, tuple | set):
        assert sorted(shown(value)) == sorted(repr(value))
    else:
        assert shown(value) == repr(value)


@pytest.mark.parametrize(
    ("value", "ends"),
    [
        ("x" * 200_000, "(200,000 characters)"),
        (b"x" * 5000, "(5,000 bytes)"),
        ([1] * 100_000, "(100,000 entries)"),
        ({str(number): "x" * 900 for number in range(900)}, "(900 entries)"),
        (10**6000, "(19,932 bits)"),
        ([["x" * 300] * 300] * 300, "(300 entries)"),
    ],
    ids=["text", "bytes", "list", "mapping", "number", "nested"],
)
def test_long_values_are_cut_and_their_length_is_told(value: object, ends: str) -> None:
    written = shown(value)
    assert written.endswith(ends)
    assert len(written) < 160


def test_a_lone_surrogate_is_shown_in_characters_that_every_console_has() -> None:
    assert shown("a \ud83d b") == r"'a \ud83d b'"
    shown("\ud83d" * 1000).encode()


def test_as_many_characters_are_kept_as_asked_for() -> None:
    assert shown("abcdef", 3) == "'abc'... (6 characters)"


def test_a_value_that_holds_itself_ends() -> None:
    value: list[object] = []
    value.append(value)
    assert len(shown(value)) < 160
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]
    assert len(shown(deep)) < 160
