"""A small sweep file."""

from __future__ import annotations

from pathlib import Path

TEXT = """name: small
model: stands/for-nothing
task: {data: {train: reviews.tsv}}
steps:
  - fine_tune: {epochs: 2}
    as: teacher
  - drop_layers: {keep: [1]}
  - distill: {teacher: teacher, objectives: {logits: 0.9, labels: 0.1}, epochs: 2}
sweep:
  space:
    steps.distill.epochs: {low: 1, high: 5}
    steps.drop_layers.keep: {choices: [[0], [1]]}
  objectives: {quality: maximize, p50_ms: minimize}
"""


def sweep_file(folder: Path, trials: int = 20) -> Path:
    """Write it."""
    path = folder / "small.yaml"
    path.write_text(f"{TEXT}  trials: {trials}\n", encoding="utf-8")
    return path
