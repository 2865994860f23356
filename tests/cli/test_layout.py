"""Tables in a file, on a wide terminal and on a narrow one."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from compress.cli.layout import table_text

HEAD = ("name", "accuracy", "95 % interval", "points lost", "size", "p50", "speed-up")
ROWS = [
    ("teacher", "91.1 %", "89.0 to 92.9 %", "\u2013", "90.9 MB", "12.3 ms", "1.0\u00d7"),
    ("onnxruntime-cpu-int8", "90.8 %", "88.7 to 92.5 %", "0.3", "17.6 MB", "1.55 ms", "7.9\u00d7"),
]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def _on_terminal(columns: int, monkeypatch: pytest.MonkeyPatch, numbers: bool = True) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    return table_text(HEAD, ROWS, numbers=numbers, stream=Terminal()).splitlines()


def test_a_table_off_the_terminal_is_aligned_text() -> None:
    stream = io.StringIO()
    text = table_text(("name", "score"), [("a", "1.0"), ("longer", "10.0")], stream=stream)
    assert text.splitlines() == ["name    score", "a         1.0", "longer   10.0"]
    left = table_text(("name", "what"), [("a", "x [red]y"), ("longer", "")], numbers=False, stream=stream)
    assert left.splitlines() == ["name    what", "a       x [red]y", "longer"]


def test_a_table_on_a_terminal_keeps_brackets_and_every_cell() -> None:
    text = table_text(("name", "what"), [("a", "x [red]y"), ("b", "z" * 300)], stream=Terminal())
    assert "x [red]y" in text
    assert text.count("z") == 300


def test_a_wide_terminal_sees_the_columns_of_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _on_terminal(200, monkeypatch) == table_text(HEAD, ROWS, stream=io.StringIO()).splitlines()


@pytest.mark.parametrize("columns", [40, 60, 20, 1])
def test_numbers_are_whole_on_a_narrow_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = _on_terminal(columns, monkeypatch)
    words = [word for line in lines for word in line.split()]
    for row in ROWS:
        for cell in row:
            assert set(cell.split()) <= set(words)
    longest_word = max(len(word) for word in words)
    assert max(len(line) for line in lines) <= max(columns, longest_word + 4)


def test_texts_are_wrapped_between_words_within_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    rows = [("fine_tune", "Train the whole model on labels, as well as the data allows.", "Devlin et al., arXiv 1810.04805")]
    lines = table_text(("methods", "what it does", "source"), rows, numbers=False, stream=Terminal()).splitlines()
    assert max(len(re.sub("\x1b.*?m", "", line)) for line in lines) <= 60
    assert len(lines) > 3
    assert "1810.04805" in " ".join(lines)


def test_a_text_column_that_would_be_a_few_letters_wide_is_told_as_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    lines = table_text(
        ("methods", "what", "source"), [("fine_tune", "Train it. " * 9, "A paper. " * 9)], numbers=False, stream=Terminal()
    ).splitlines()
    assert lines[0] == "fine_tune"
    assert lines[1].startswith("  what: Train it.")
    assert max(map(len, lines)) <= 30


def test_wide_characters_count_twice_and_those_set_over_others_not() -> None:
    lines = table_text(("label", "n"), [("\u6771\u4eac", "1"), ("e\u0301", "22")], stream=io.StringIO()).splitlines()
    assert lines == ["label   n", "\u6771\u4eac    1", "e\u0301      22"]


def test_a_name_cannot_command_the_terminal_or_end_its_line() -> None:
    text = table_text(("label", "n"), [("a\x1b[2Jb\nc\rd", "1")], stream=io.StringIO())
    assert text.splitlines()[1].split() == ["a\\x1b[2Jb", "c\\x0dd", "1"]


@pytest.mark.parametrize(
    ("name", "value", "bold"), [("NO_COLOR", "1", False), ("TERM", "dumb", False), ("TERM", "xterm", True)]
)
def test_the_head_is_bold_where_the_terminal_and_the_user_want_it(
    name: str, value: str, bold: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert ("\x1b" in table_text(("a", "b"), [("1", "2")], stream=Terminal())) is bold
    assert "\x1b" not in table_text(("a", "b"), [("1", "2")], stream=io.StringIO())


def test_a_file_gets_colours_when_they_are_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with (tmp_path / "out").open("w") as stream:
        assert table_text(("a", "b"), [("1", "2")], stream=stream).startswith("\x1b[1m")
