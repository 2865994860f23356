"""The examples on which baseline and shipped file differ: each with both answers, and what the page filters them by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compress import record
from compress.errors import cut
from compress.record import MISSING, finite, part
from compress.reporting.details import label_text, labels_of

MOST_EXAMPLES = 400
"""On a page, of all of its runs."""
MOST_CHARACTERS = 1200
"""Of a text that is shown."""
RIGHT: Mapping[tuple[bool | None, bool | None], str] = {
    (True, False): "baseline",
    (False, True): "shipped",
    (True, True): "both",
    (False, False): "neither",
}
WHO = {"baseline": "the baseline alone", "shipped": "the shipped file alone", "both": "both", "neither": "neither"}


def example_rows(runs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The examples of runs and their extras, those first on which baseline and shipped file differ most."""
    most = max(MOST_EXAMPLES // max(len(runs), 1), 1)
    return [
        {"run": number, **row}
        for number, (run, extras) in enumerate(runs)
        for row in (_row(example, labels_of(run, extras)) for example in (extras.get("differing") or [])[:most])
    ]


def _row(example: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    true, spans = _true_index(example.get("label"), labels), part(example, "spans")
    text = str(example.get("text") or "")
    answers = [{"who": who, **_answer(example.get(who), true, labels)} for who in ("teacher", "student")]
    right = [_is_right(answer["verdict"], spans.get(answer["who"])) for answer in answers]
    marked = _marked(text, spans)
    return {
        "text": cut(text, MOST_CHARACTERS),
        "pair": cut(str(example["pair"]), MOST_CHARACTERS) if example.get("pair") else "",
        "label": label_text(true, labels) if true is not None else str(example.get("label") or MISSING),
        "labels": _labels(example, true, labels, spans),
        "right": RIGHT.get((right[0], right[1]), ""),
        "marked": marked,
        "answers": answers,
    }


def _labels(example: Mapping[str, Any], true: int | None, labels: Sequence[str], spans: Mapping[str, Any]) -> list[str]:
    """By which labels an example is found: the true one, where it is one of the task's, or those of all its entities."""
    if spans:
        return list(dict.fromkeys(str(span[2]) for own in spans.values() for span in own))
    known = [label for label in labels if label == str(example.get("label"))]
    return known if true is None else [label_text(true, labels)]


def _is_right(verdict: str, spans: Any) -> bool | None:
    """Whether an answer is right as a whole; None where that is not told."""
    if spans is not None:
        return all(span[3] == "right" for span in spans)
    return {"right": True, "wrong": False}.get(verdict)


def example_filters(examples: Iterable[Mapping[str, Any]], names: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """What there is to choose examples by: their labels, who is right, their runs; empty lists where there is no choice."""
    rows = list(examples)
    runs = sorted({row["run"] for row in rows})
    offered = {
        "label": [{"value": label, "text": label} for label in sorted({label for row in rows for label in row["labels"]})],
        "right": [{"value": value, "text": text} for value, text in WHO.items() if any(row["right"] == value for row in rows)],
        "run": [{"value": str(number), "text": names[number]} for number in runs],
    }
    return {name: options if len(options) > 1 else [] for name, options in offered.items()}


def _marked(text: str, spans: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The text once for what is true and once for each answer, in parts: plain ones, and those that are entities."""
    rows = []
    for who, key in (("true", "label"), ("teacher", "teacher"), ("student", "student")):
        parts, at = [], 0
        for start, end, kind, verdict in spans.get(key) or []:
            parts += [{"text": text[at:start], "kind": "", "verdict": ""}] if start > at else []
            parts.append({"text": text[start:end], "kind": str(kind), "verdict": "" if who == "true" else str(verdict)})
            at = end
        parts += [{"text": text[at:], "kind": "", "verdict": ""}] if at < len(text) else []
        rows.append({"who": who, "parts": parts})
    return rows if spans else []


def _true_index(label: Any, labels: Sequence[Any]) -> int | None:
    if isinstance(label, str):
        return list(map(str, labels)).index(label) if label in map(str, labels) else None
    index = finite(label)
    return None if index is None else int(index)


def _answer(probabilities: Any, true: int | None, labels: Sequence[Any]) -> dict[str, Any]:
    if isinstance(probabilities, str):
        return {"label": probabilities, "percent": "", "share": 0.0, "verdict": ""}
    shares = [finite(value) or 0.0 for value in probabilities or []]
    if not shares:
        return {"label": MISSING, "percent": "", "share": 0.0, "verdict": ""}
    said = max(range(len(shares)), key=shares.__getitem__)
    return {
        "label": label_text(said, labels),
        "percent": record.percent(shares[said], 0),
        "share": round(min(max(shares[said], 0.0), 1.0), 3),
        "verdict": "" if true is None else "right" if said == true else "wrong",
    }
