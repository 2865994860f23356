"""A recipe on a few sentences in files, and ways to run it in seconds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from compress.models.checkpoint.saving import save
from compress.pipeline import running
from compress.recipe import Plan, read_recipe
from tests.pipeline.run_unmeasured import bare
from tests.tiny_models import LONGEST, tiny_bert, without_dropout

WORDS = ("film", "plot", "very", "and", "was", "it", "the", "a")
STEPS = """
  - fine_tune: {epochs: 2, learning_rate: 1e-3, batch_size: 8}
    as: teacher
  - drop_layers: {keep: [1]}
  - distill: {teacher: teacher, objectives: {logits: 0.9, labels: 0.1}, epochs: 2, batch_size: 8}
"""

ONE_STEP = """
  - fine_tune: {epochs: 2, learning_rate: 1e-3, batch_size: 8}
    as: teacher
"""


def write_data(folder: Path, rows: int = 120) -> Path:
    """A TSV whose label is told by one word."""
    lines = ["sentence\tlabel"]
    for index in range(rows):
        label = ("good", "bad")[index % 2]
        lines.append(f"{WORDS[index % 8]} {label} {WORDS[index // 8 % 8]} number{index}\t{index % 2}")
    path = folder / "reviews.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_recipe(folder: Path, exports: str = "[]", steps: str = STEPS) -> Path:
    """A recipe beside its data."""
    data = write_data(folder)
    path = folder / "recipe.yaml"
    path.write_text(
        f"name: small\nmodel: stands/for-nothing\ntask: {{data: {{train: {data}}}}}\nsteps:{steps}\nexport: {exports}\n",
        encoding="utf-8",
    )
    return path


def recipe_on_disk(folder: Path) -> Path:
    """A recipe of one step that starts from a small model beside it, and draws nothing at random while it trains."""
    save(tiny_bert(**without_dropout()), folder / "model")
    path = write_recipe(folder, steps=ONE_STEP)
    text = path.read_text(encoding="utf-8").replace("stands/for-nothing", str(folder / "model"))
    text = text.replace(".tsv}}", f".tsv}}, max_length: {LONGEST}}}") + f"benchmark: {{length: {LONGEST}}}\n"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Fine-tune, cut, distill; nothing is exported."""
    return read_recipe(write_recipe(tmp_path))


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """End a run with a bare run.json in place of minutes of measuring."""
    monkeypatch.setattr(running, "measure_run", bare)


def weights_of(out: Path) -> dict[str, Any]:
    """The weights of the last step of a run folder."""
    last = sorted((out / "steps").iterdir())[-1]
    return load_file(last / "model.safetensors")


def contents_of(folder: Path) -> dict[str, bytes]:
    """What every file below a folder holds, and where every link leads; none is followed."""
    contents = {}
    for place, folders, names in os.walk(folder):
        for name in [*names, *folders]:
            path = Path(place) / name
            if path.is_symlink():
                contents[path.relative_to(folder).as_posix()] = f"link to {os.readlink(path)}".encode()
            elif path.is_file():
                contents[path.relative_to(folder).as_posix()] = path.read_bytes()
    return contents
