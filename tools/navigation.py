"""Tell mkdocs the navigation of the site, and the files of the repository that pages link to.

The navigation is made from the folders, so that a page is one file in docs/ and no other line. A link from a page out of
docs/, to a recipe, a result, a figure or a script, leads to a copy of that file in the site, which
is there whoever serves it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TOP = ("index.md", "quickstart.md")
SECTIONS = {"Guides": "guides", "Tasks": "tasks", "Results": "results", "Reference": "reference", "Extending": "extending"}
LAST = ("how-we-measure.md", "folders.md")
COPIES = "repository"
LINK = re.compile(r"\]\(((?:\.\./)+[^)\s#]+)((?:#[^)\s]*)?)\)")


def on_config(config: Any) -> Any:
    """Make the navigation: each section has the pages of its folder, index.md first."""
    docs = Path(config["docs_dir"])
    sections = [{title: pages_in(docs, folder)} for title, folder in SECTIONS.items()]
    config["nav"] = [*TOP, *sections, *LAST]
    return config


def pages_in(docs: Path, folder: str) -> list[str]:
    """The pages of a folder of docs/ in the order of the navigation."""
    pages = sorted((docs / folder).glob("*.md"), key=lambda path: (path.name != "index.md", path.name))
    return [path.relative_to(docs).as_posix() for path in pages]


def on_files(files: Any, config: Any) -> Any:
    """Take the files of the repository that pages link to into the site."""
    from mkdocs.structure.files import File, InclusionLevel

    docs = Path(config["docs_dir"])
    for path in sorted({path for page in docs.rglob("*.md") for path in outside(page, docs)}):
        name = f"{COPIES}/{path.relative_to(ROOT).as_posix()}"
        files.append(File.generated(config, name, abs_src_path=str(path), inclusion=InclusionLevel.NOT_IN_NAV))
    return files


def outside(page: Path, docs: Path) -> set[Path]:
    """The files of the repository outside of docs/ to which a page links; those that are not there are left to mkdocs."""
    targets = {_target(page, link) for link, _ in LINK.findall(page.read_text(encoding="utf-8"))}
    return {path for path in targets if path.is_file() and docs not in path.parents and ROOT in path.parents}


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Lead links out of docs/ to the copies in the site."""
    docs = Path(config["docs_dir"])
    here = docs / page.file.src_uri

    def moved(match: re.Match[str]) -> str:
        path = _target(here, match[1])
        if not path.is_file() or docs in path.parents or ROOT not in path.parents:
            return match[0]
        copy = docs / COPIES / path.relative_to(ROOT)
        return f"]({Path(os.path.relpath(copy, here.parent)).as_posix()}{match[2]})"

    return LINK.sub(moved, markdown)


def _target(page: Path, link: str) -> Path:
    return Path(os.path.normpath(page.parent / link))
