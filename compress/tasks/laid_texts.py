"""The texts of a part as they are read one by one, and what is known of each: pairs, queries and documents, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compress.tasks.compared_vectors import Graded, Judged, NothingKnown, Ranked, Truth
from compress.tasks.cutting import row_order
from compress.tasks.split import Role, Split

SEARCHED = 1000
"""Documents that an epoch is picked by, besides the relevant ones."""
PROMPTS = {"query": ("query",), "document": ("document", "passage", "corpus"), "": ()}
"""What prompts are called that stand before texts of a role; where none of them is there, the default one does."""
ALL_ROLES: tuple[Role, ...] = ("evaluation", "further")


@dataclass(frozen=True, eq=False)
class Laid:
    """What is known of texts as they stand among the examples.

    Args:
        truth: What their vectors are scored by.
        known: Of each text the number of its pair, whether it is the second one, and the pair's score or NaN, (examples, 3);
            of a text without a pair the number is unique, too.
    """

    truth: Truth
    known: np.ndarray

    def __len__(self) -> int:
        return len(self.known)


def prompt_for(tokenizer: Any, role: str) -> str:
    prompts: Mapping[str, str] = getattr(tokenizer, "prompts", {})
    return next((prompts[name] for name in PROMPTS[role] if name in prompts), prompts.get("", ""))


def documents_of(split: Split) -> list[str]:
    """The documents that are searched for the queries of a part, in their order."""
    known = split.labels[0] if len(split) else None
    if not isinstance(known, Judged):
        return list(split.pairs or ())
    return [known.source.documents[number] for number in _searched(split, known)]


def _searched(split: Split, known: Judged) -> list[str]:
    """Which documents are searched, by their ids: all that there are to measure on; a thousand and the relevant ones to pick
    an epoch by, and these alone to quantize with."""
    everything = known.source.documents
    if split.role in ALL_ROLES:
        return list(everything)
    relevant = {number for target in split.labels for number in target.relevances}
    others = [] if split.role == "calibration" else [number for number in everything if number not in relevant]
    order = row_order(tuple(everything[number] for number in others), None, "searched")
    kept = {others[place] for place in np.argsort(order, kind="stable")[:SEARCHED]}
    return [number for number in everything if number in relevant | kept]


def laid_out(split: Split) -> tuple[list[str], list[str], Laid, np.ndarray | None]:
    """The texts of a part, their roles, what is known of them, and the number of each one's pair where pairs are learned."""
    known = split.labels[0] if len(split) else None
    if isinstance(known, Judged):
        return _learned_search(split, known) if split.role == "train" else _search(split, known)
    if split.pairs is None:
        numbers = np.arange(len(split), dtype=np.float32)
        pairing = np.column_stack([numbers, np.zeros_like(numbers), np.full_like(numbers, np.nan)])
        return list(split.texts), [""] * len(split), Laid(NothingKnown(), pairing), None
    written = [text for pair in zip(split.texts, split.pairs, strict=True) for text in pair]
    grades = np.array([np.nan if grade is None else grade for grade in split.labels], dtype=np.float32)
    rows = np.arange(len(split))
    pairing = np.column_stack([np.repeat(rows, 2), np.tile([0, 1], len(split)), np.repeat(grades, 2)]).astype(np.float32)
    if not np.isnan(grades).any():
        return (
            written,
            [""] * len(written),
            Laid(Graded(2 * rows, 2 * rows + 1, grades), pairing),
            pairing[:, 0].astype(np.int64),
        )
    roles = ["query", "document"] * len(split)
    truth = Ranked(2 * rows, 2 * rows + 1, [{int(row): 1.0} for row in rows])
    return written, roles, Laid(truth, pairing), pairing[:, 0].astype(np.int64)


def _search(split: Split, known: Judged) -> tuple[list[str], list[str], Laid, None]:
    ids = _searched(split, known)
    number_of = {number: place for place, number in enumerate(ids)}
    documents = [known.source.documents[number] for number in ids]
    count, total = len(split), len(split) + len(ids)
    relevances = [{number_of[number]: value for number, value in target.relevances.items()} for target in split.labels]
    truth = Ranked(np.arange(count), np.arange(count, total), relevances)
    pairing = np.full((total, 3), np.nan, dtype=np.float32)
    pairing[:, 0], pairing[:, 1] = np.arange(total), np.arange(total) >= count
    return [*split.texts, *documents], ["query"] * count + ["document"] * len(ids), Laid(truth, pairing), None


def _learned_search(split: Split, known: Judged) -> tuple[list[str], list[str], Laid, np.ndarray]:
    """Each query beside each document that is relevant to it, and behind them the documents that are relevant to none."""
    everything = known.source.documents
    pairs = [
        (text, number) for text, target in zip(split.texts, split.labels, strict=True) for number in sorted(target.relevances)
    ]
    paired = {number for _, number in pairs}
    rest = [number for number in everything if number not in paired]
    written = [text for query, number in pairs for text in (query, everything[number])] + [everything[row] for row in rest]
    roles = ["query", "document"] * len(pairs) + ["document"] * len(rest)
    numbers = np.concatenate([np.repeat(np.arange(len(pairs)), 2), len(pairs) + np.arange(len(rest))])
    sides = np.concatenate([np.tile([0, 1], len(pairs)), np.ones(len(rest))])
    pairing = np.column_stack([numbers, sides, np.full(len(numbers), np.nan)]).astype(np.float32)
    return written, roles, Laid(NothingKnown(), pairing), numbers.astype(np.int64)
