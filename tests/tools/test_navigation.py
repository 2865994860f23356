"""The site is built strictly, from the folders, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import ROOT
from tools.navigation import on_page_markdown, outside, pages_in


def _built(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config), "--site-dir", str(site)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=quiet)


@pytest.mark.slow
@pytest.mark.parametrize("link", ["none.md", "index.md#none", "../none.yaml"])
def test_a_dead_link_breaks_the_build(tmp_path: Path, link: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Page\n\n[dead]({link})\n")
    (tmp_path / "mkdocs.yml").write_text(f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: docs\nhooks: []\n")
    done = _built(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 1
    assert link in done.stderr


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = _built(ROOT / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "repository" / "recipes" / "results" / "sst2" / "front.svg").is_file()
    for page in (tmp_path / "site").rglob("*.html"):
        html = page.read_text(encoding="utf-8")
        assert re.findall(r'(?:\ssrc|<link[^>]*\shref)="(?:https?:)?//[^"]*"', html) == [], page
        assert "<!-- results:" not in html.partition("<article")[0]


def test_a_page_of_a_folder_is_in_the_navigation_and_its_index_first(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    for name in ("b.md", "a.md", "index.md", "figure.svg"):
        (tmp_path / "tasks" / name).write_text("# Page\n")
    assert pages_in(tmp_path, "tasks") == ["tasks/index.md", "tasks/a.md", "tasks/b.md"]


class _Page:
    """A page as mkdocs gives it."""

    class file:
        src_uri = "results/sst2.md"


def test_a_link_out_of_docs_leads_to_the_copy_in_the_site() -> None:
    text = "[r](../../recipes/quickstart.yaml) [a](../../README.md#x) [b](../folders.md) [c](../../none.yaml)"
    moved = on_page_markdown(text, _Page, {"docs_dir": str(ROOT / "docs")}, None)
    assert moved == (
        "[r](../repository/recipes/quickstart.yaml) [a](../repository/README.md#x) [b](../folders.md) [c](../../none.yaml)"
    )


def test_files_that_pages_link_to_are_found() -> None:
    paths = outside(ROOT / "docs" / "quickstart.md", ROOT / "docs")
    assert paths == {ROOT / "recipes" / "quickstart.yaml"}
