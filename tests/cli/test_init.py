"""The command `init`: a recipe for whoever comes with a model and data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compress.models.checkpoint.saving import write_model
from compress.tasks import TASKS
from tests.cli.calling import call
from tests.tasks.kinds import ROWS
from tests.tiny_models import tiny_bert

KIND = "text-classification"


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The options for a tiny model and a few sentences; we stand in their folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    write_model(tiny_bert(layers=4), tmp_path / "model")
    ROWS[KIND](tmp_path, 60)
    return ["init", "--model", "./model", "--data", "rows.tsv", "--out", "mine.yaml"]


def test_a_recipe_is_written_that_check_takes(given: list[str], tmp_path: Path) -> None:
    result = call(*given, "--speedup", "18", "--max-drop", "0.05")
    assert result.exit_code == 0, result.stderr
    text = (tmp_path / "mine.yaml").read_text(encoding="utf-8")
    assert text in result.stdout
    assert "bert-compress run mine.yaml" in result.stdout
    assert "keep: [0, 3]" in text
    assert "gates: {max_drop: 0.05, min_speedup: 18.0}" in text
    assert "max_length: 24" in text
    assert "# 60 rows, 2 labels; one in 5 is kept apart, and measured on." in text
    assert call("check", "mine.yaml").exit_code == 0


def test_json_tells_the_resolved_recipe(given: list[str]) -> None:
    answer = json.loads(call(*given, "--json").stdout)
    assert (answer["path"], answer["kind"], answer["rows"]) == ("mine.yaml", KIND, 60)
    assert answer["recipe"]["steps"][-1]["distill"]["epochs"] == 20  # of the preset


def test_what_is_missing_is_asked_for_at_a_terminal(given: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from compress import cli

    monkeypatch.setattr("compress.cli.init.somebody_answers", lambda: True)
    (tmp_path / "texts").mkdir()
    ROWS["masked-words"](tmp_path / "texts", 60)
    answers = "./model\ntexts/rows.txt\n\nmasked-words\n"
    result = CliRunner().invoke(cli.app, ["init"], input=answers)
    assert result.exit_code == 0, result.stderr
    assert "kind: masked-words" in (tmp_path / "rows.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--out", "mine.yml.txt"], "does not end in .yaml"),
        (["--out", "model/none/mine.yaml"], "its folder is not there"),
        (["--speedup", "0.5"], "--speedup is 0.5"),
        (["--max-drop", "1"], "--max-drop 1.0"),
        (["--kind", "poetry"], "--kind is 'poetry'"),
        (["--model", "./nowhere"], "nowhere"),
        (["--data", "nonesuch"], "'nonesuch' is unknown"),
        (["--data", "tweets", "--validation", "rows.tsv"], "--validation is given, but 'tweets' is no file"),
        (["--text", "title"], "title"),
    ],
)
def test_bad_input_is_one_message_and_leaves_nothing(given: list[str], more: list[str], said: str, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    result = call(*given, *more)
    assert result.exit_code == 2, result.stderr
    assert said in result.stderr
    assert not result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_file_that_is_there_stays_as_it_is(given: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("mine\n", encoding="utf-8")
    result = call(*given)
    assert result.exit_code == 2
    assert "is there already; name a new file" in result.stderr
    assert (tmp_path / "mine.yaml").read_text(encoding="utf-8") == "mine\n"


def test_without_a_terminal_all_that_is_missing_is_named_at_once() -> None:
    result = call("init", "--data", "tweets")
    assert result.exit_code == 2
    assert "--model and --out missing" in result.stderr


@pytest.mark.slow
@pytest.mark.matrix
@pytest.mark.parametrize("kind", TASKS)
def test_the_tiny_run_of_every_kind_works(kind: str, given: list[str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = ROWS[kind](tmp_path / "data", 90)
    written = call("init", "--model", "./model", "--data", str(rows), "--kind", kind, "--out", "every.yaml")
    assert written.exit_code == 0, written.stderr
    result = call("run", "every.yaml", "--tiny", "--quiet", "--device", "cpu", "--out", "made")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "made" / "export" / "onnxruntime-cpu-int8" / "config.json").is_file()
