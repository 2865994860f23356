"""How commands end: JSON in every case, short messages, and no unexpected error for what a user gave."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from compress.errors import InputError
from tests.cli.calling import call, raising


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--frob"],
        ["check", "--frob=1"],
        ["bench"],
        ["run"],
        ["frob"],
        [],
        ["eval", "a", "--data"],
        ["list", "a", "b"],
        ["check", "\udcff.yaml"],
        ["list", "\ud83d"],
        ["report", "\udcff"],
        ["bench", "\udcff"],
        ["check", "a\x1b[2J.yaml"],
        ["export", "a", "--target", "\ud800", "--out", "o", "--data", "sst2"],
        ["check", "--quiet=3"],
    ],
    ids=lambda arguments: ascii(" ".join(arguments)),
)
def test_errors_of_every_kind_are_one_json_document(arguments: list[str]) -> None:
    result = call(*arguments, "--json")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["exit_code"]) == (2, 2)
    assert result.stderr.strip()
    result.stdout.encode()
    assert not any("\ud800" <= character <= "\udfff" for character in document["error"])


def test_json_is_a_switch_only_before_two_dashes(tmp_path: Path) -> None:
    result = call("check", "a.yaml", "--", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    result = call("check", "a.yaml", "--json=yes")
    assert json.loads(result.stdout)["exit_code"] == 2


def test_a_lone_surrogate_in_a_result_becomes_its_escape_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.recipe.json_schema", lambda: {"a\ud83d": "\udcff", "b": "\u4e2d"})
    assert json.loads(call("check", "--schema").stdout) == {r"a\ud83d": r"\udcff", "b": "\u4e2d"}


def test_long_messages_are_cut_in_their_middle_and_many_lines_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.recipe.read_recipe", raising(InputError("first " + "x" * 200_000_000 + " last")))
    result = call("check", "a.yaml")
    assert result.stderr.startswith("first xxx")
    assert result.stderr.endswith("xxx last\n")
    assert "characters left out" in result.stderr
    assert len(result.stderr) < 2200
    monkeypatch.setattr("compress.recipe.read_recipe", raising(InputError("\n".join(["wrong"] * 100_000))))
    result = call("check", "a.yaml", "--json")
    assert result.stderr.splitlines()[-1] == "... and 99,800 lines more"
    assert len(json.loads(result.stdout)["error"]) < 2000


def test_a_message_cannot_command_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.recipe.read_recipe", raising(InputError("label \x1b[2J\r is\twrong\nsecond")))
    assert call("check", "a.yaml").stderr == "label \\x1b[2J\\x0d is\twrong\nsecond\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OSError(errno.EACCES, "Permission denied", "mine"), 2, "mine: Permission denied; name"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x"), 2, "x: File name too long; name"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "No space left on device; free"),
        (MemoryError(), 1, "the memory is full; take"),
        (RecursionError("depth"), 2, "nested too deeply"),
    ],
)
def test_what_the_system_refuses_is_told_with_what_to_do(
    error: Exception, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.recipe.read_recipe", raising(error))
    result = call("check", "a.yaml")
    assert (result.exit_code, said in result.stderr, "unexpected" in result.stderr) == (code, True, False)
