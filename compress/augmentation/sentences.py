"""More sentences to distil on: copies of the training part with words replaced, for a teacher to answer."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from transformers import PreTrainedModel
from typing_extensions import TypedDict

from compress.augmentation.word_candidates import (
    NONE,
    SEVERAL,
    TEXTS_AT_ONCE,
    Offer,
    Words,
    by_masked_lm,
    by_table,
    find_words,
    most_frequent,
    nearest_words,
    whole_words,
)
from compress.dependencies import Checkpoint
from compress.errors import InputError, NoEffect, raise_together
from compress.log import Progress, no_progress
from compress.models.checkpoint.masked_lm import load_masked_lm
from compress.models.factors import word_table
from compress.tasks.split import Split

logger = logging.getLogger(__name__)

PAPERS = {"tinybert": {"probability": 0.4}, "masking": {"probability": 0.1, "mask": 0.1, "window": 0.25, "window_words": 5}}
"""What each kind looks at besides copies and candidates, and its value in the paper."""


class AugmentOptions(TypedDict, total=False):
    """The fields of `Augment`, as a recipe gives them."""

    kind: Annotated[Literal["tinybert", "masking"], Field(description="whose rules")]
    copies: Annotated[int, Field(ge=1, le=1000, description="drawn for each sentence")]
    probability: Annotated[
        float | None, Field(ge=0, le=1, description="of another word in a word's place; null for the paper's value")
    ]
    candidates: Annotated[int, Field(ge=1, le=1000, description="words that one is drawn from")]
    mask: Annotated[float | None, Field(ge=0, le=1, description="of [MASK] in a word's place, masking only")]
    window: Annotated[float | None, Field(ge=0, le=1, description="that a window is left of a copy, masking only")]
    window_words: Annotated[int | None, Field(ge=1, le=1000, description="of the longest window, masking only")]
    masked_lm: Annotated[
        Checkpoint | None, Field(description="checkpoint with a head for masked words, whose words are offered; tinybert only")
    ]


AugmentOptions.__pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)  # type: ignore[attr-defined]


@dataclasses.dataclass(frozen=True)
class Augment:
    """How to make copies of sentences; None stands for the paper's value.

    Args:
        kind: "tinybert" puts other words into the place of words; "masking" also masks words, and cuts windows out.
        copies: Drawn for each sentence; more cost training time in proportion. Of a pair, "tinybert" draws so many of either
            sentence, and "masking" so many of the pair.
        probability: Of another word in the place of a word; None for 0.4 ("tinybert") or 0.1 ("masking").
        candidates: Words that one is drawn from; more are less alike.
        mask: Probability of [MASK] in the place of a word, "masking" only; None for 0.1.
        window: Probability that a window of a copy's words is all that is left of it, "masking" only; None for 0.25.
        window_words: Words of the longest window, "masking" only; None for 5.
        masked_lm: Checkpoint whose head for masked words offers words in the place of each, in its sentence, "tinybert" only;
            one pass per word. None takes the nearest words of the teacher's own table.
    """

    kind: Literal["tinybert", "masking"] = "tinybert"
    copies: int = 20
    probability: float | None = None
    candidates: int = 15
    mask: float | None = None
    window: float | None = None
    window_words: int | None = None
    masked_lm: str | None = None

    def value(self, name: str) -> float:
        """What is given for `name`, or the paper's value; 0 for what the kind does not look at."""
        given = getattr(self, name)
        return PAPERS[self.kind].get(name, 0) if given is None else given

    def check(self) -> None:
        """Refuse values out of range, and those that the kind does not look at.

        Raises:
            InputError: All that is wrong.
        """
        given = dataclasses.asdict(self)
        try:
            TypeAdapter(AugmentOptions).validate_json(json.dumps(given))
        except ValidationError as err:
            problems = ((str(error["loc"][0]), error["msg"]) for error in err.errors(include_url=False))
            raise_together([f"augment.{name} is {given[name]!r}: {said}." for name, said in problems])
        if self.masked_lm is not None and self.kind == "masking":
            raise InputError("augment: kind masking asks no masked_lm; leave it out, or use tinybert.")
        unread = [name for name in PAPERS["masking"] if given[name] is not None and name not in PAPERS[self.kind]]
        raise_together([f"augment.{name} is {given[name]}, which is for kind masking; leave it out." for name in unread])
        if self.value("probability") + self.value("mask") > 1:
            raise InputError(
                f"augment.probability {self.value('probability')} and augment.mask {self.value('mask')} are for one word or "
                "the other; keep their sum at 1 or below."
            )


def augmented(
    split: Split,
    how: Augment,
    *,
    model: PreTrainedModel,
    seed: int = 13,
    progress: Progress = no_progress,
) -> Split:
    """Put copies with other words after the examples of a training part; each keeps the label of its original.

    Source: "tinybert": Jiao et al. 2020, arXiv 1909.10351, algorithm 1; "masking": Tang et al. 2019, arXiv 1903.12136,
    section 3.2.
    Differs: where there is no masked language model, words of one piece get the nearest in the teacher's own table of words,
    and words of several stay (the paper takes GloVe's for these; a masked language model masks them by one [MASK] here). Stop
    words, which "tinybert" leaves alone, are the most frequent words of the texts. A word of the same kind, in "masking", is
    not one of the same part of speech but one of the nearest that stand in the texts, drawn as often as it stands there; and
    punctuation is neither masked nor a word of a window. Both sentences of a pair are changed from the original pair:
    "tinybert" changes one of them, "masking" in turn the first, the second and both.

    What is drawn for an example depends on its texts, the seed and how often the same one stood before, so that other examples
    do not change it. Only which words are offered is the split's: its frequent words, and in "masking" its words.

    Args:
        split: The training part; labels of any kind.
        how: The rules.
        model: The teacher, with a tokenizer; its table of words tells which are near.
        seed: For the draws.
        progress: Told after every 256 examples.

    Returns:
        The examples, then the copies in the order of their originals; a copy that is as its original, or as one before, is
        left out.

    Raises:
        InputError: The rules or the split are wrong, or the tokenizer's vocabulary holds no words.
        NoEffect: No copy is other than its original.
    """
    how.check()
    split.require("train")
    if not len(split):
        raise InputError("augment: the training part is empty; give it examples.")
    masked_lm = _head_of(how)
    sides = [split.texts] if split.pairs is None else [split.texts, split.pairs]
    drawing, words = _prepared(how, sides, model, masked_lm)
    made: list[tuple[str, ...]] = []
    origins: list[int] = []
    seen: Counter[int] = Counter()
    for start in range(0, len(split), TEXTS_AT_ONCE):
        end = min(start + TEXTS_AT_ONCE, len(split))
        parts = [
            _Part(drawing, texts[start:end], side_words.of(start, end)) for texts, side_words in zip(sides, words, strict=True)
        ]
        for index in range(end - start):
            copies = _copies(parts, index, how, seed, seen)
            made += copies
            origins += [start + index] * len(copies)
        progress("augment", end, len(split))
    if not made:
        raise NoEffect("augment: every copy is as its original; raise augment.copies or augment.probability, or leave it out.")
    logger.info("augment: %d examples and %d copies.", len(split), len(made))
    firsts, *seconds = zip(*made, strict=True)
    pairs = None if split.pairs is None else split.pairs + seconds[0]
    passages = None if split.passages is None else split.passages + tuple(split.passages[origin] for origin in origins)
    labels = np.concatenate([split.labels, split.labels[origins]])
    return Split(split.role, split.texts + firsts, pairs, labels, passages=passages)


@dataclasses.dataclass(frozen=True, eq=False)
class _Drawing:
    """What is drawn from.

    Args:
        how: The rules.
        offer: What may stand in a word's place.
        weights: How likely each piece is among those that are offered together, (pieces,).
        names: Piece of each id.
        mask_id: Id of [MASK].
    """

    how: Augment
    offer: Offer
    weights: np.ndarray
    names: list[str]
    mask_id: int


def check_words(how: Augment, model: PreTrainedModel) -> None:
    """Check all that can be told without drawing a copy: the rules, the head that offers words, and the tokenizer.

    Raises:
        InputError: Something of it is wrong.
    """
    how.check()
    _known_words((_head_of(how) or model).tokenizer)


def _head_of(how: Augment) -> PreTrainedModel | None:
    return load_masked_lm(how.masked_lm) if how.masked_lm else None


def _known_words(tokenizer: Any) -> np.ndarray:
    """The ids of pieces that are whole words."""
    if tokenizer.mask_token_id is None:
        raise InputError("augment: the tokenizer has no token to mask with; set mask_token in its tokenizer_config.json.")
    return whole_words(tokenizer)


def _prepared(
    how: Augment, sides: Sequence[Sequence[str]], model: PreTrainedModel, masked_lm: PreTrainedModel | None
) -> tuple[_Drawing, list[Words]]:
    tokenizer = (masked_lm or model).tokenizer
    known = _known_words(tokenizer)
    size = max(tokenizer.get_vocab().values()) + 1
    words = [find_words(texts, tokenizer) for texts in sides]
    counts: np.ndarray = np.zeros(size, dtype=np.int64)
    for side_words in words:
        counts += np.bincount(side_words.token_ids[side_words.token_ids != SEVERAL], minlength=size)
    counts[np.setdiff1d(np.arange(size), known)] = 0
    asked = allowed = known[counts[known] > 0]
    weights = counts
    if how.kind == "tinybert":
        asked, allowed, weights = np.setdiff1d(asked, most_frequent(counts)), known, np.ones_like(counts)
    if masked_lm is not None:
        offer = by_masked_lm(masked_lm, asked, allowed, how.candidates)
    else:
        table = word_table(model).weight.detach()
        offer = by_table(asked, nearest_words(table, asked, allowed, how.candidates), size)
    names = tokenizer.convert_ids_to_tokens(list(range(size)))
    return _Drawing(how, offer, weights, names, tokenizer.mask_token_id), words


class _Part:
    """Some texts that copies are drawn of."""

    def __init__(self, drawing: _Drawing, texts: Sequence[str], words: Words) -> None:
        self.drawing, self.texts, self.words = drawing, texts, words
        self.offered = drawing.offer(texts, words)  # (words, candidates)
        if not self.offered.shape[1]:
            self.offered = np.full((len(self.offered), 1), NONE)
        self.has = self.offered[:, 0] != NONE
        shares = np.cumsum(drawing.weights[self.offered], axis=1)
        self.shares = shares / np.maximum(shares[:, -1:], 1)  # (words, candidates), rising to 1

    def copies(self, index: int, random: np.random.Generator) -> list[str]:
        """As many copies of a text as are asked for, some of them as the text itself."""
        how, span = self.drawing.how, slice(*self.words.bounds[index : index + 2])
        starts, ends = self.words.starts[span].tolist(), self.words.ends[span].tolist()
        which, other = random.random((2, how.copies, len(starts)))
        cuts = random.random((how.copies, 3))
        mask, swap = how.value("mask"), how.value("probability")
        new = np.where(which < mask, self.drawing.mask_id, NONE)  # (copies, words)
        rows, places = np.nonzero((which >= mask) & (which < mask + swap) & self.has[span])
        shares = self.shares[span] + np.arange(len(starts))[:, None]  # of one word after the other
        choices = np.searchsorted(shares.ravel(), other[rows, places] + places, side="right") - places * shares.shape[1]
        new[rows, places] = self.offered[span][places, choices.clip(max=shares.shape[1] - 1)]
        text, names = self.texts[index], self.drawing.names
        replacements = ([names[piece] if piece != NONE else None for piece in row] for row in new.tolist())
        windows = (self._window(cut, len(starts)) for cut in cuts.tolist())
        return [_written(text, starts, ends, row, window) for row, window in zip(replacements, windows, strict=True)]

    def _window(self, cut: list[float], words: int) -> tuple[int, int] | None:
        how = self.drawing.how
        if not words or cut[0] >= how.value("window"):
            return None
        length = min(words, 1 + int(cut[1] * how.value("window_words")))
        first = int(cut[2] * (words - length + 1))
        return first, first + length


def _written(text: str, starts: list[int], ends: list[int], new: list[str | None], window: tuple[int, int] | None) -> str:
    """The text, or a window of its words, with new words in the places of some."""
    first, last = window or (0, len(new))
    at, end = (starts[first], ends[last - 1]) if window else (0, len(text))
    parts = []
    for place in range(first, last):
        word = new[place]
        if word is not None:
            parts += [text[at : starts[place]], word]
            at = ends[place]
    return "".join([*parts, text[at:end]])


def _copies(parts: Sequence[_Part], index: int, how: Augment, seed: int, seen: Counter[int]) -> list[tuple[str, ...]]:
    """The different copies of an example that are not as it."""
    original = tuple(part.texts[index] for part in parts)
    key = int.from_bytes(hashlib.blake2b("\x1f".join(original).encode(), digest_size=8).digest(), "big")
    seen[key] += 1
    random = np.random.default_rng((seed, key, seen[key]))
    changed = [part.copies(index, random) for part in parts]
    copies: list[tuple[str, ...]]
    if len(parts) == 1:
        copies = [(text,) for text in changed[0]]
    elif how.kind == "tinybert":
        copies = [*((text, original[1]) for text in changed[0]), *((original[0], text) for text in changed[1])]
    else:
        copies = [
            (original[0] if number % 3 == 1 else first, original[1] if number % 3 == 0 else second)
            for number, (first, second) in enumerate(zip(*changed, strict=True))
        ]
    return [copy for copy in dict.fromkeys(copies) if copy != original]
