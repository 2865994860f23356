"""LEARN: one file, one loss term, one public function of the same name."""

from __future__ import annotations

OBJECTIVES = {
    "labels": "compress.objectives.labels",
    "logits": "compress.objectives.logits",
    "hidden": "compress.objectives.hidden",
}
