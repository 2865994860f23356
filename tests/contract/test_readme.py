"""The README tells the truth: its tables, its list of what there is, its Python."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import compress as cp
from compress.artifact import places
from compress.measure.lengths import lengths_block
from compress.measure.pages import refresh_tables
from compress.recipe import read_recipe_text, summaries
from tests.contract.test_tables import TABLES
from tests.models import tiny_bert, toy_task

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def _copied(folder: Path) -> None:
    """The page, and what it names."""
    for name in ("recipes", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "README.md", folder)


@pytest.mark.parametrize("recorded", re.findall(r"<!-- results: (\S+) -->", README))
def test_the_tables_are_those_of_the_recorded_results(recorded: str, tmp_path: Path) -> None:
    _copied(tmp_path)
    assert (tmp_path / recorded).is_file()
    refresh_tables(tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == README


@pytest.mark.parametrize("folder", re.findall(r"<!-- front: (\S+) -->", README))
def test_the_overview_and_its_figure_are_those_of_the_recorded_results(folder: str, tmp_path: Path) -> None:
    _copied(tmp_path)
    (tmp_path / folder / "front.svg").unlink()
    refresh_tables(tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == README
    figure = (tmp_path / folder / "front.svg").read_text(encoding="utf-8")
    assert figure == (ROOT / folder / "front.svg").read_text(encoding="utf-8")
    assert f"]({folder}/front.svg)" in README


@pytest.mark.parametrize("measured", re.findall(r"<!-- lengths: (\S+) -->", README))
def test_what_long_texts_take_is_what_was_measured(measured: str, tmp_path: Path) -> None:
    _copied(tmp_path)
    refresh_tables(tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == README
    _, drawn = lengths_block(ROOT / measured, measured)
    assert drawn
    for name, figure in drawn.items():
        assert (ROOT / measured).with_name(name).read_text(encoding="utf-8") == figure
        assert f"/{name})" in README


@pytest.mark.parametrize("folder", re.findall(r"<!-- recipes: (\S+) -->", README))
def test_the_table_of_a_task_has_every_result_of_it(folder: str, tmp_path: Path) -> None:
    _copied(tmp_path)
    refresh_tables(tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == README
    (block,) = re.findall(rf"<!-- recipes: {folder} -->(.*?)<!-- end of recipes -->", README, re.DOTALL)
    assert {path.stem for path in (ROOT / folder).glob("*.json")} == set(re.findall(r"^\| (\w+) \| onnx", block, re.MULTILINE))


KINDS = (("method", "methods"), ("objective", "objectives"), ("target", "targets"), ("task", "tasks"))


@pytest.mark.parametrize(("kind", "table"), KINDS)
def test_every_entry_stands_in_the_readme_in_its_own_words(kind: str, table: str) -> None:
    rows = re.findall(rf"^\| {kind} \| `([^`]+)` \| (.+) \|$", README, re.MULTILINE)
    assert rows == [(entry.name, entry.summary) for entry in summaries(TABLES[table][1])]


def test_the_recipe_in_the_readme_is_a_recipe() -> None:
    plan = read_recipe_text(_block("yaml"))
    assert [step.name for step in plan.steps] == ["teacher", "drop_layers", "distill"]


@pytest.mark.slow
def test_the_five_lines_of_python_work_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = _block("python")
    assert len(lines.splitlines()) == 6
    teacher = cp.save(tiny_bert(layers=12, max_position_embeddings=40), tmp_path / "teacher")

    def found(name: Any) -> Any:
        return teacher if "textattack" in str(name) else places.find_model(name)

    monkeypatch.setattr("compress.artifact.loading.find_model", found)
    monkeypatch.setattr("compress.tasks.reading.read_task", lambda data, **_: toy_task(name=data, max_length=40))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(lines, names)
    printed = capsys.readouterr().out
    assert "onnxruntime-cpu-int8" in printed or "out" in printed
    assert names["student"].config.num_hidden_layers == 6
    assert (tmp_path / "out" / "model.onnx").is_file()
