"""More pairs of texts to distil on: the same texts in other pairings, for a teacher to answer."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import ConfigDict, Field
from transformers import PreTrainedModel
from typing_extensions import TypedDict

from compress.errors import InputError, NoEffect
from compress.tasks.split import Split
from compress.tasks.unlabelled import NO_LABEL
from compress.training.near_texts import nearest, text_vectors
from compress.training.objective_fit import reads_labels
from compress.training.step_context import StepContext

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

logger = logging.getLogger(__name__)


class PairOptions(TypedDict, total=False):
    """Which pairs are made of a training part's; `near` and `shuffled` are pairs that nobody labelled."""

    swap: Annotated[bool, Field(description="each pair the other way round, with its label")]
    shuffled: Annotated[int, Field(ge=1, le=1000, description="pairings of each first text with another pair's second one")]
    near: Annotated[int, Field(ge=1, le=1000, description="second texts put in a pair's place that are nearest to its own")]


PairOptions.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[attr-defined]


def check_pairs(method: str, options: PairOptions, task: Task, objectives: Mapping[str, float]) -> None:
    """Refuse pairs of a task that has none, and labels of pairs that nobody labelled.

    Raises:
        InputError: One of these.
    """
    head, labelled = task.rules.head, reads_labels(objectives)
    if not any(options.values()):
        raise InputError(f"{method}.pairs asks for nothing; name swap, shuffled or near, or leave it out.")
    if task.train.pairs is None or head.reads_tokens or not head.reads_pairs:
        why = "has examples of one text" if task.train.pairs is None else f"of {task.kind} does not judge pairs as such"
        raise InputError(f"{method}.pairs makes pairs of two texts, but the task {why}; leave it out.")
    unlabelled = [name for name in ("shuffled", "near") if options.get(name)]
    if unlabelled and labelled:
        raise InputError(
            f"{method}.pairs.{unlabelled[0]} makes pairs without labels, but {method}.objectives names {labelled[0]!r}, which "
            "reads them; use logits alone, which the teacher answers, or swap."
        )


def with_pairs(task: Task, options: PairOptions, model: PreTrainedModel, run: StepContext) -> Task:
    """The same task, with more pairs behind those of its training part.

    Source: Thakur et al. 2021, "Augmented SBERT", arXiv 2010.08240, section 3 (pairs made of known texts, by chance or by
    nearness, which a better model labels).
    Differs: near ones are found by the teacher's own vectors of the second texts, and not by BM25 or another embedder.

    Args:
        task: Was looked at by `check_pairs`.
        options: How many of which; swapped pairs keep their labels, so that the relation has to be a symmetric one (or the
            objectives read no labels), and where there are others, no pair has a label any more.
        model: The teacher; its vectors tell which texts are near.
        run: Seed, device, progress.

    Raises:
        NoEffect: Every pair that was made was there.
    """
    split = task.train.require("train")
    assert split.pairs is not None
    seen = set(zip(split.texts, split.pairs, strict=True))
    made: list[tuple[str, str, int]] = []
    for first, second, origin in _made(split, options, task.max_length, model, run):
        if (first, second) not in seen:
            seen.add((first, second))
            made.append((first, second, origin))
    if not made:
        raise NoEffect("pairs: every pair that can be made stands in the training part; leave it out.")
    logger.info("pairs: %d of the data, and %d more.", len(split), len(made))
    firsts, seconds, origins = zip(*made, strict=True)
    labels = split.labels[list(origins)]
    whole = replace(
        split, texts=split.texts + firsts, pairs=split.pairs + seconds, labels=np.concatenate([split.labels, labels])
    )
    if options.get("shuffled") or options.get("near"):
        whole = task.rules.without_labels(replace(whole, labels=np.full(len(whole), NO_LABEL)))
    return replace(task, train=whole)


def _made(
    split: Split, options: PairOptions, max_length: int, model: PreTrainedModel, run: StepContext
) -> Iterator[tuple[str, str, int]]:
    """First text, second text, and the example that the pair was made of."""
    assert split.pairs is not None
    rows, count = range(len(split)), len(split)
    if options.get("swap"):
        yield from ((split.pairs[row], split.texts[row], row) for row in rows)
    random = np.random.default_rng((run.seed, count))
    for _ in range(options.get("shuffled", 0)):
        other = random.permutation(count)
        yield from ((split.texts[row], split.pairs[other[row]], row) for row in rows)
    if near := options.get("near"):
        seconds = tuple(dict.fromkeys(split.pairs))
        place = {text: number for number, text in enumerate(seconds)}
        vectors = text_vectors(Split("train", seconds, None, np.zeros(len(seconds))), max_length, model, run)
        closest = nearest(vectors, vectors, min(near + 1, len(seconds)))
        for row in rows:
            own = place[split.pairs[row]]
            others = [number for number in closest[own].tolist() if number != own][:near]
            yield from ((split.texts[row], seconds[number], row) for number in others)
