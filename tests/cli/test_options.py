"""Values of options that no command can use: each is refused by its name, with what is allowed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compress.cli.options import LARGEST_SEED, named, whole_number, whole_numbers
from compress.errors import InputError
from tests.cli.calling import call

DIGITS = "9" * 6000
WRONG = ["0", "-1", "\u00b2", "\u0967", "1e3", "+1", "1_0", "0x1", "nan", "inf", "", " ", DIGITS, "10000000000"]


@pytest.mark.parametrize("value", [*WRONG, "1,1", "1,,2", "1,"], ids=ascii)
@pytest.mark.parametrize("option", ["--batch", "--length", "--threads"])
def test_lists_of_numbers_out_of_range_doubled_or_in_other_digits_are_refused(option: str, value: str) -> None:
    result = call("bench", "a", option, value)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"{option} is '")
    assert len(result.stderr) < 300
    assert "allowed: whole numbers from 1 to" in result.stderr or "give each once" in result.stderr


@pytest.mark.parametrize("value", [value for value in WRONG if value != "0"] + ["4294967296", "1,1"], ids=ascii)
def test_seeds_that_numpy_does_not_take_are_refused(value: str) -> None:
    result = call("run", "a.yaml", "--seeds", value)
    assert result.exit_code == 2
    assert result.stderr.startswith("--seeds is '")


@pytest.mark.parametrize("value", [*WRONG, "1001"], ids=ascii)
def test_rounds_have_an_end(value: str) -> None:
    result = call("bench", "a", "--rounds", value)
    assert result.exit_code == 2
    assert "allowed: a whole number from 1 to 1,000" in result.stderr


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "0", "1e400", "3601", "\u0967", "", DIGITS], ids=ascii)
def test_seconds_are_a_finite_time(value: str) -> None:
    result = call("bench", "a", "--seconds", value)
    assert result.exit_code == 2
    assert "--seconds is '" in result.stderr
    assert "allowed: a number above 0" in result.stderr


@pytest.mark.parametrize("value", ["3", "-3", "\u0967", "true", DIGITS, "1048577"], ids=ascii)
@pytest.mark.parametrize("command", [("eval", "a"), ("export", "a", "--target", "onnxruntime-cpu", "--out", "o")])
def test_a_longest_example_is_a_number_of_tokens(command: tuple[str, ...], value: str) -> None:
    result = call(*command, "--data", "sst2", "--max-length", value)
    assert result.exit_code == 2
    assert "--max-length is '" in result.stderr
    assert "from 4 to 1,048,576" in result.stderr


@pytest.mark.parametrize(
    "value", ["", " ", "x" * 200_000, "y/" + "x" * 256, "a\0b"], ids=["empty", "blank", "long", "name", "nul"]
)
@pytest.mark.parametrize(
    "command",
    [
        ("check",),
        ("run",),
        ("report",),
        ("bench",),
        ("report", "--readme"),
        ("run", "a.yaml", "--out"),
        ("run", "a.yaml", "--cache"),
        ("eval", "a", "--data"),
        ("eval", "a", "--data", "sst2", "--data-dir"),
        ("eval", "a", "--data", "sst2", "--matrix"),
        ("export", "a", "--target", "b", "--data", "sst2", "--out"),
        ("export", "--target", "b", "--data", "sst2", "--out", "o"),
        ("eval", "--data", "sst2"),
    ],
    ids=" ".join,
)
def test_what_no_file_can_be_called_is_refused_before_anything_is_done(command: tuple[str, ...], value: str) -> None:
    result = call(*command, value, "--json")
    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert document["exit_code"] == 2
    assert len(document["error"]) < 400
    assert "name a" in document["error"]


def test_a_data_folder_that_is_a_file_and_a_column_without_a_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file.tsv").write_text("a")
    result = call("eval", "a", "--data", "sst2", "--data-dir", str(tmp_path / "file.tsv"))
    assert (result.exit_code, "is no folder" in result.stderr) == (2, True)
    result = call("eval", "a", "--data", "a.tsv", "--text", "")
    assert (result.exit_code, "--text is ''" in result.stderr) == (2, True)


def test_a_matrix_is_not_written_over_a_file_nor_into_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("mine")
    for path, said in ((tmp_path / "mine.csv", "is there already"), (tmp_path / "no" / "a.csv", "folder is not there")):
        result = call("eval", "a", "--data", "sst2", "--matrix", str(path))
        assert (result.exit_code, said in result.stderr) == (2, True)
    assert (tmp_path / "mine.csv").read_text() == "mine"


def test_an_export_is_not_written_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    result = call("export", "a", "--target", "onnxruntime-cpu", "--data", "sst2", "--out", str(tmp_path / "file"))
    assert (result.exit_code, "--out is" in result.stderr) == (2, True)
    assert (tmp_path / "file").read_text() == "mine"


def test_right_values_are_taken() -> None:
    assert whole_numbers("--seeds", f"0, 007,{LARGEST_SEED}", 0, LARGEST_SEED) == [0, 7, LARGEST_SEED]
    assert whole_number("--rounds", " 5 ", 1, 9) == 5
    assert named("runs/demo") == "runs/demo"
    with pytest.raises(InputError):
        named("\udcff" * 86)  # 258 bytes
