"""Records of runs to compare, as small as they can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from compress.tasks.per_example import packed

MACHINE = {"cpu": "Example CPU", "flags": ["avx2"], "cores": 2, "threads": 4, "gpu": None, "memory_bytes": 8, "os": "Linux"}


def subject(
    name: str,
    right: Sequence[int],
    *,
    ms: float = 2.0,
    size_bytes: int = 1000,
    rounds: Sequence[float] | None = None,
    keeps: bool = True,
) -> dict[str, Any]:
    """A measured file with the answers that are right, which takes so long."""
    share = float(np.mean(right))
    row: dict[str, Any] = {"device": "cpu", "batch": 1, "length": 32, "threads": 1, "p50_ms": ms}
    entry: dict[str, Any] = {
        "name": name,
        "kind": "torch" if name == "teacher" else "onnx",
        "target": name,
        "size_bytes": size_bytes,
        "metrics": {"accuracy": share},
        "metrics_ci95": {"accuracy": [share - 0.02, share + 0.02]},
        "latency": [row if rounds is None else row | {"rounds_p50_ms": list(rounds)}],
    }
    if keeps:
        entry["examples"] = packed(np.stack([np.array(right), np.ones(len(right))], axis=1), "accuracy")
    return entry


def run(
    subjects: Sequence[Mapping[str, Any]],
    *,
    seed: int = 13,
    rows: str = "a",
    machine: Mapping[str, Any] = MACHINE,
    recipe: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A record with these subjects, evaluated on the rows of this fingerprint."""
    return {
        "schema": 1,
        "name": "demo",
        "recipe": {"seed": seed, **(recipe or {})},
        "data": {
            "kind": "text-classification",
            "fingerprint": rows,
            "splits": {"evaluation": {"examples": 100, "fingerprint": rows}},
        },
        "machine": dict(machine),
        "versions": {"onnxruntime": "1.32.0"},
        "steps": [],
        "subjects": list(subjects),
        "gates": [],
    }


def right(examples: int, wrong: int, first: int = 0) -> list[int]:
    """So many answers, of which `wrong` are so, from the one of number `first` on."""
    answers = np.ones(examples, dtype=int)
    answers[first : first + wrong] = 0
    return [int(answer) for answer in answers]
