"""The README tells the truth: its tables, its list of what there is, its Python."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import compress as cp
from compress.artifact import model_source
from compress.recipe import read_recipe_text, summaries
from tests.contract.test_tables import TABLES
from tests.models import tiny_bert, toy_task
from tools.pages import refresh_tables

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page written anew beside the results that it names, from which its figures were taken away."""
    folder = tmp_path_factory.mktemp("page")
    for name in ("recipes", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.svg"))
    shutil.copy(ROOT / "README.md", folder)
    refresh_tables(folder / "README.md")
    return folder / "README.md"


def test_the_page_is_what_the_recorded_results_say(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == README


@pytest.mark.parametrize("recorded", re.findall(r"<!-- (?:results|lengths): (\S+) -->", README))
def test_a_table_names_a_recorded_result(recorded: str) -> None:
    assert (ROOT / recorded).is_file()


def test_figures_are_those_of_the_recorded_results_and_shown(page: Path) -> None:
    drawn, kept = (
        {
            path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
            for name in ("recipes", "benchmarks")
            for path in (folder / name).rglob("*.svg")
        }
        for folder in (page.parent, ROOT)
    )
    assert drawn == kept
    assert {"recipes/results/sst2/front.svg", "benchmarks/results/long_inputs_cuda_torch.svg"} <= drawn.keys()
    assert all(f"]({figure})" in README for figure in drawn)


@pytest.mark.parametrize("folder", re.findall(r"<!-- recipes: (\S+) -->", README))
def test_the_table_of_a_task_has_every_result_of_it(folder: str) -> None:
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
        return teacher if "textattack" in str(name) else model_source.find_model(name)

    monkeypatch.setattr("compress.artifact.loading.find_model", found)
    monkeypatch.setattr("compress.tasks.reading.read_task", lambda data, **_: toy_task(name=data, max_length=40))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(lines, names)
    printed = capsys.readouterr().out
    assert "onnxruntime-cpu-int8" in printed or "out" in printed
    assert names["student"].config.num_hidden_layers == 6
    assert (tmp_path / "out" / "model.onnx").is_file()
