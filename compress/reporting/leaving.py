"""What real texts took, and where they left, for the report and the card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compress import record
from compress.record import MISSING


def real_texts(run: Mapping[str, Any]) -> dict[str, Any]:
    """What real texts took, at the first number of threads, and where they left; empty where nothing leaves early."""
    timed = [(subject, record.first_texts(subject)) for subject in record.subjects_of(run)]
    timed = [(subject, row) for subject, row in timed if row]
    if not timed:
        return {}
    rows = [
        {
            "name": record.name_of(subject),
            "kind": subject.get("kind"),
            "cells": [
                *(record.milliseconds(row.get(key)) for key in ("mean_ms", "p50_ms", "p95_ms")),
                record.times(row.get("speedup")),
            ],
            "left": record.exits_in_words(subject) or MISSING,
        }
        for subject, row in timed
    ]
    first = timed[0][1]
    return {"count": record.number(first.get("count"), 0), "tokens": record.number(first.get("mean_tokens"), 1), "rows": rows}


def early_sentence(shipped: Mapping[str, Any]) -> str:
    """What a real text takes of what is deployed, where texts leave it early, as a paragraph; else empty."""
    row, left = record.first_texts(shipped), record.exits_in_words(shipped)
    if not row or not left:
        return ""
    return (
        f"\n\nTexts leave `{record.name_of(shipped)}` where it is sure, behind layers {left}. A text takes "
        f"{record.milliseconds(row.get('mean_ms'))} on average (of {record.number(row.get('count'), 0)} real ones, one at a "
        f"time), {record.times(row.get('speedup'))} as fast as the baseline; times of random tokens, as above, say nothing of "
        "that. The file's output `exit` tells where each has left."
    )
