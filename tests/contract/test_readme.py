"""README and docs tell the truth: tables, figures, the list of what there is, the reference, links, and README's Python."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import compress as cp
from compress.models.checkpoint import model_source
from compress.recipe import read_recipe_text, summaries
from tests.contract.test_tables import TABLES
from tests.pages import PAGES, README, ROOT, blocks, linked
from tests.tasks.kinds import ROWS
from tests.tiny_models import tiny_bert, toy_task
from tools.docs import bring_up_to_date, main
from tools.navigation import SECTIONS, TOP, on_config
from tools.reference.run_record import KEYS, unknown_keys

MARKED = [
    (page, kind, name)
    for page, text in PAGES.items()
    for kind, name in re.findall(r"^<!-- (results|lengths|recipes|front): (\S+) -->$", text, re.MULTILINE)
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages written anew beside the results that they name, from which their figures were taken away."""
    folder = tmp_path_factory.mktemp("pages")
    for name in ("recipes", "benchmarks", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.svg"))
    shutil.copy(ROOT / "README.md", folder)
    bring_up_to_date(folder)
    return folder


def test_the_pages_are_what_code_and_recorded_results_say(written: Path) -> None:
    """Where they are not, `python -m tools.docs` writes them."""
    pages = {path.relative_to(written).as_posix() for path in (written / "README.md", *(written / "docs").rglob("*.md"))}
    assert pages == PAGES.keys()
    assert [page for page in PAGES if (written / page).read_text(encoding="utf-8") != PAGES[page]] == []


def test_a_page_that_agrees_is_told_as_unchanged(written: Path) -> None:
    assert bring_up_to_date(written) == []


@pytest.mark.parametrize(("page", "kind", "name"), MARKED)
def test_a_table_names_a_recorded_result(page: str, kind: str, name: str) -> None:
    recorded = (ROOT / page).parent / name
    assert recorded.is_dir() if kind in ("recipes", "front") else recorded.is_file()


def test_every_recorded_result_has_a_table() -> None:
    shown = {((ROOT / page).parent / name).resolve() for page, kind, name in MARKED if kind == "results"}
    assert shown == set((ROOT / "recipes" / "results").rglob("*.json"))


def test_figures_are_those_of_the_recorded_results_and_shown(written: Path) -> None:
    drawn, kept = (
        {
            path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
            for name in ("recipes", "benchmarks")
            for path in (folder / name).rglob("*.svg")
        }
        for folder in (written, ROOT)
    )
    assert drawn == kept
    assert {"recipes/results/sst2/front.svg", "benchmarks/results/long_inputs_cuda_torch.svg"} <= drawn.keys()
    assert drawn.keys() <= {target for page in PAGES for target, _ in linked(page)}


@pytest.mark.parametrize(("page", "folder"), [(page, name) for page, kind, name in MARKED if kind == "recipes"])
def test_the_table_of_a_task_has_every_result_of_it(page: str, folder: str) -> None:
    (block,) = re.findall(rf"<!-- recipes: {folder} -->(.*?)<!-- end of recipes -->", PAGES[page], re.DOTALL)
    results = ((ROOT / page).parent / folder).glob("*.json")
    assert {path.stem for path in results} == set(re.findall(r"^\| (\w+) \| onnx", block, re.MULTILINE))


KINDS = (("method", "methods"), ("objective", "objectives"), ("target", "targets"), ("task", "tasks"))


@pytest.mark.parametrize(("kind", "table"), KINDS)
def test_every_entry_stands_in_the_reference_in_its_own_words(kind: str, table: str) -> None:
    overview = PAGES["docs/reference/index.md"]
    rows = re.findall(rf"^\| {kind} \| \[`([^`]+)`\]\({table}\.md#\1\) \| (.+) \|$", overview, re.MULTILINE)
    assert rows == [(entry.name, entry.summary) for entry in summaries(TABLES[table][1])]
    headings = re.findall(r"^## (\S+)$", PAGES[f"docs/reference/{table}.md"], re.MULTILINE)
    assert headings == list(TABLES[table][1])


@pytest.mark.parametrize("kind", TABLES["tasks"][1])
def test_every_kind_of_task_has_a_page(kind: str) -> None:
    assert f"kind: {kind}" in PAGES[f"docs/tasks/{kind}.md"]


@pytest.mark.parametrize("kind", TABLES["tasks"][1])
def test_the_page_of_run_json_tells_what_each_kind_of_task_counts(kind: str, tmp_path: Path) -> None:
    read = cp.task({"train": str(ROWS[kind](tmp_path, 60))}, kind=kind, allow_unknown=True)
    counted = {key for split in read.splits() for key in read.rules.counts(split, read.labels)}
    assert {f"data.splits.NAME.{key}" for key in counted} <= KEYS.keys()


@pytest.mark.parametrize("path", sorted((ROOT / "recipes" / "results").rglob("*.json")), ids=lambda path: path.stem)
def test_the_page_of_run_json_tells_every_key_of_a_recorded_run(path: Path) -> None:
    for run in json.loads(path.read_text(encoding="utf-8"))["runs"]:
        facts = {key for step in run["steps"] for key in step if f"steps[].{key}" not in KEYS}
        assert facts <= FACTS
        assert unknown_keys(run, frozenset(facts)) == set()


FACTS = {
    "attention",
    "compressed_bytes",
    "compressed_bytes_before",
    "embedding",
    "encoder_macs_left",
    "groups",
    "heads",
    "latency",
    "neurons",
    "ranks",
    "removable_heads",
    "removable_neurons",
    "similarity",
    "vocabulary",
    "zeros",
}
"""What methods tell of their own in a step of run.json."""


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page: str) -> None:
    for target, anchor in linked(page):
        assert (ROOT / target).exists(), target
        if anchor:
            assert anchor in _anchors(target), f"{target}#{anchor}"


def _anchors(page: str) -> set[str]:
    """How headings are called in addresses: small letters, and hyphens for what is no letter, digit or underscore."""
    headings = re.findall(r"^#+ (.+)$", PAGES[page], re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def test_readme_is_short_and_leads_to_every_section() -> None:
    assert len(README.encode()) < 8000
    sections = {target.split("/")[1] for target, _ in linked("README.md") if target.startswith("docs/")}
    assert set(SECTIONS.values()) <= sections


def test_the_navigation_is_what_lies_in_the_folders() -> None:
    nav = on_config({"docs_dir": str(ROOT / "docs")})["nav"]
    pages = [page for part in nav for page in (next(iter(part.values())) if isinstance(part, dict) else [part])]
    assert sorted(pages) == sorted(page.removeprefix("docs/") for page in PAGES if page.startswith("docs/"))
    assert pages[: len(TOP)] == list(TOP)


def test_a_page_that_cannot_be_refreshed_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page.md").write_text("# No marks\n")
    assert main([str(tmp_path / "page.md")]) == 2
    assert "has no line <!-- results" in capsys.readouterr().err


def test_the_recipe_in_the_readme_is_a_recipe() -> None:
    plan = read_recipe_text(blocks("README.md", "yaml")[0])
    assert [step.name for step in plan.steps] == ["teacher", "drop_layers", "distill"]


@pytest.mark.matrix
@pytest.mark.slow
def test_the_five_lines_of_python_work_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = blocks("README.md", "python")[0]
    assert len(lines.splitlines()) == 7
    teacher = cp.save(tiny_bert(layers=12, max_position_embeddings=40), tmp_path / "teacher")

    def stub(name: Any) -> Any:
        return teacher if "textattack" in str(name) else model_source.find_model(name)

    monkeypatch.setattr("compress.models.checkpoint.loading.find_model", stub)
    monkeypatch.setattr("compress.tasks.reading.read_task", lambda data, **_: toy_task(name=data, max_length=40))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(lines, names)
    printed = capsys.readouterr().out
    assert "onnxruntime-cpu-int8" in printed or "out" in printed
    assert names["student"].config.num_hidden_layers == 6
    assert (tmp_path / "out" / "model.onnx").is_file()
