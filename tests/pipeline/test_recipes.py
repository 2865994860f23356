"""Every recipe of the repository runs from its first line to its last, with a random model and a few sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compress.pipeline import RunOptions, run
from compress.recipe import read_recipe
from compress.recipe.plan import Plan
from compress.tasks import DEFAULT_KIND
from tests.pipeline.conftest import write_data
from tests.tasks.kinds import ROWS
from tests.tiers import mostly_matrix

ROOT = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.yaml"))


@pytest.mark.slow
@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("name", mostly_matrix(RECIPES, always=["quickstart.yaml", "squad/half_depth_int8.yaml"]))
def test_a_recipe_runs(name: str, tmp_path: Path, device: str) -> None:
    plan = with_own_data(read_recipe(ROOT / name), tmp_path)
    record = run(plan, RunOptions(out=tmp_path / "out", tiny=True, device=device))
    assert [step["name"] for step in record["steps"]] == [step.name for step in plan.steps]
    assert all(step["status"] == "computed" for step in record["steps"])


def with_own_data(plan: Plan, folder: Path) -> Plan:
    """The same plan, where the task's rows, texts without labels, vectors and fonts are read from files that are there."""
    kind = plan.task["kind"]
    rows = write_data(folder, rows=400) if kind == DEFAULT_KIND else ROWS[kind](folder, 400)
    texts = folder / "texts.txt"
    texts.write_text("nobody has heard that tune\nthese trees are far too high for him\n", encoding="utf-8")
    vectors = folder / "vectors.txt"
    words = ["the", "tune", "trees", "heard", *(f"word{number}" for number in range(50))]
    vectors.write_text("".join(f"{word} {len(word)} {row} 1\n" for row, word in enumerate(words)), encoding="utf-8")
    files = {"text": str(texts), "vectors": str(vectors)}
    if any(step.arguments.get("font") for step in plan.steps):
        matplotlib = pytest.importorskip("matplotlib")  # brings a font
        files["font"] = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
    steps = [
        replace(step, arguments=step.arguments | {name: path for name, path in files.items() if step.arguments.get(name)})
        for step in plan.steps
    ]
    return replace(plan, task={"kind": kind, "data": {"train": str(rows)}}, steps=tuple(steps))
