"""The steps of a run in the order of time: what was computed, what was reused, how long each took, and what it learned."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from compress import record
from compress.measures import is_less_better
from compress.record import MISSING, finite, part

REUSED = "reused"


def timeline(run: Mapping[str, Any]) -> dict[str, Any]:
    """The steps with time, status and effect, and what the rest of the run took; empty without steps.

    Returns:
        rows: of each step `start` and `share` of the whole time, 0 to 1, and whether it `is_reused`. rest: the last row, of
        all that was no step. sentence: how much was computed now.
    """
    steps = [dict(step) for step in run.get("steps") or []]
    if not steps:
        return {}
    seconds = [max(finite(step.get("seconds")) or 0.0, 0.0) for step in steps]
    computed = sum(taken for step, taken in zip(steps, seconds, strict=True) if step.get("status") != REUSED)
    whole = finite(run.get("seconds"))
    rest = max((whole or 0.0) - computed, 0.0)
    total, begun, rows = sum(seconds) + rest, 0.0, []
    for step, taken in zip(steps, seconds, strict=True):
        rows.append({**_step_row(step), **_place(begun, taken, total), "is_reused": step.get("status") == REUSED})
        begun += taken
    reused = sum(row["is_reused"] for row in rows)
    return {
        "rows": rows,
        "rest": {"seconds": record.duration(rest), **_place(begun, rest, total)} if whole is not None else {},
        "sentence": f"{len(rows) - reused} of {len(rows)} steps were computed in {record.duration(computed)}"
        + (f"; {reused} stood in the cache, and their time is what computing them took then." if reused else "."),
    }


def _place(begun: float, taken: float, total: float) -> dict[str, float]:
    return {"start": round(begun / total, 4) if total else 0.0, "share": round(taken / total, 4) if total else 0.0}


def epoch_scores(step: Mapping[str, Any]) -> tuple[str, Sequence[tuple[int, Any]]]:
    """What a step was judged by after each epoch: the score's name, and pairs of epoch and score in percent, or the number."""
    epochs = [epoch for epoch in step.get("epochs") or [] if isinstance(epoch, Mapping)]
    name = next((key for epoch in epochs for key in epoch if key not in ("loss", "epoch")), None)
    if name is None:
        return "", []
    factor = 1 if is_less_better(name) else 100
    scores = [(number, finite(epoch.get(name))) for number, epoch in enumerate(epochs, 1)]
    return name.replace("_", " "), [(number, score * factor) for number, score in scores if score is not None]


def _step_row(step: Mapping[str, Any]) -> dict[str, Any]:
    before, after = (record.count(step.get(key)) for key in ("parameters_before", "parameters"))
    changed = step.get("parameters_before") != step.get("parameters")
    metrics = [f"{name} {record.score(name, value)}" for name, value in part(step, "metrics").items()]
    return {
        "name": record.name_of(step),
        "method": str(step.get("method") or MISSING),
        "arguments": ", ".join(f"{key}: {_brief(value)}" for key, value in part(step, "arguments").items()),
        "status": str(step.get("status") or MISSING),
        "why": str(step.get("why") or ""),
        "seconds": record.duration(step.get("seconds")),
        "parameters": f"{before} \u2192 {after}" if changed else after,
        "metrics": ", ".join(metrics) or MISSING,
        "pace": record.number(step.get("examples_per_second"), 0),
        "memory": record.megabytes(step.get("peak_memory_bytes")),
        "shares": _shares(step.get("layer_mix")),
    }


def _shares(mix: Any) -> str:
    """What a head reads of the embeddings and of each layer, where a step mixed them."""
    shares = [finite(share) for share in mix] if isinstance(mix, list) else []
    if not shares or any(share is None for share in shares):
        return ""
    names = ["embeddings", *(f"layer {number}" for number in range(1, len(shares)))]
    return ", ".join(f"{name} {record.percent(share)}" for name, share in zip(names, shares, strict=True))


def _brief(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)
