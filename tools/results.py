"""Lay out a page for each data set that recipes were recorded on."""

from __future__ import annotations

from pathlib import Path

from tools.published import PUBLISHED
from tools.reference.prose import page
from tools.tables import read_folder

UP = "../.."
NOTES = {
    "sst2": "A recipe named `ptq` or `q8bert` quantizes its teacher and leaves every layer in place. While those two were "
    "timed other work ran on the machine, at a lower priority. The learning rate of the student of `three_layers_int8` was "
    "settled with these evaluation data in sight, and the recipe's own limit of 0.8 points is missed by two of its seeds.",
    "mrpc": "Other work ran on the machine, at a lower priority, while `q8bert` was timed.",
}


def results_pages(root: Path) -> dict[str, str]:
    """Return the pages by their paths in docs/; tables stand between marks, and are written by `tools.pages`."""
    folders = sorted(path for path in (root / "recipes" / "results").iterdir() if path.is_dir())
    pages = {f"results/{folder.name}.md": _page(root, folder) for folder in folders}
    return {"results/quickstart.md": _quickstart(), **pages}


def _page(root: Path, folder: Path) -> str:
    name = folder.name
    recorded = read_folder(folder)
    shared = len({run["subjects"][0]["name"] for runs in recorded.values() for run in runs}) == 1
    kind = "front" if name in PUBLISHED or not shared else "recipes"
    parts = ["## All recipes", _block(kind, f"{UP}/recipes/results/{name}")]
    for recipe in recorded:
        path = f"recipes/{name}/{recipe}.yaml"
        parts += [f"## {recipe}", f"[`{path}`]({UP}/{path})", _block("results", f"{UP}/recipes/results/{name}/{recipe}.json")]
    return page(name, INTRODUCTION, NOTES.get(name, ""), *parts)


INTRODUCTION = (
    "Every recipe of this data set whose results are recorded: first all files beside each other, then each recipe with its "
    "models. [How it is measured](../how-we-measure.md) tells what the numbers are."
)


def _quickstart() -> str:
    path = "recipes/quickstart.yaml"
    return page(
        "quickstart",
        f"What `make demo` runs: [`{path}`]({UP}/{path}).",
        _block("results", f"{UP}/recipes/results/quickstart.json"),
    )


def _block(kind: str, name: str) -> str:
    return f"<!-- {kind}: {name} -->\n\n<!-- end of {kind} -->"
