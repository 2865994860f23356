"""Write texts token by token, greedily or by beam search, with whatever reads texts once and then scores the next token.

The torch model and its exported files are written with by this one driver, so that they differ by their numbers alone.

Source: Sutskever et al. 2014, arXiv 1409.3215, section 3.2 (beam search); scores are divided by their length, and the search
ends, as transformers' `generate` does with `early_stopping=False`.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

Batch = Mapping[str, np.ndarray]
State = dict[str, Any]
"""What was read and what is written so far: arrays or tensors whose rows are the texts."""
GIVEN, GIVEN_MASK = "decoder_input_ids", "decoder_attention_mask"
"""What a batch holds where the next token of a known text is to be scored; without it, a text is written."""
HOPELESS = -1e9


@dataclass(frozen=True)
class Search:
    """How texts are written.

    Args:
        begin: The token that is read first.
        end: The token that ends a text; -1 for none.
        padding: Fills rows up.
        longest: Tokens of a text at most, its end among them.
        beams: Texts that are followed at once; 1 takes the likeliest token each time.
        length_penalty: Power of the length that scores of beams are divided by; more favours longer texts.
    """

    begin: int
    end: int
    padding: int
    longest: int
    beams: int = 1
    length_penalty: float = 1.0


class Writer(Protocol):
    """What writes."""

    def read(self, batch: Batch) -> State:
        """Read texts."""

    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Take the next tokens of each text, (texts, tokens), and score what may follow each of them, float32
        (texts, tokens, vocabulary)."""


def forced(writer: Writer, batch: Batch) -> np.ndarray:
    """Score what follows each token of the texts that a batch gives, (texts, tokens, vocabulary), float32."""
    return np.asarray(writer.step(batch[GIVEN], writer.read(batch))[0], dtype=np.float32)


def write(writer: Writer, batch: Batch, search: Search) -> np.ndarray:
    """Write a text for each text of a batch: ids, (texts, longest), each with its end if it has one, padded behind."""
    state, count = writer.read(batch), len(batch["input_ids"])
    return (_likeliest if search.beams == 1 else _best_beams)(writer, state, count, search)


def write_exactly(writer: Writer, batch: Batch, search: Search) -> np.ndarray:
    """Write as many tokens as the texts have, whatever they are, so that each call does the same work."""
    return write(writer, batch, replace(search, end=-1, longest=min(batch["input_ids"].shape[1], search.longest)))


def _rows(state: State, rows: np.ndarray) -> State:
    return {name: values[rows] for name, values in state.items()}


def _likeliest(writer: Writer, state: State, count: int, search: Search) -> np.ndarray:
    written = np.full((count, search.longest), search.padding, dtype=np.int64)
    texts, ids = np.arange(count), np.full((count, 1), search.begin, dtype=np.int64)
    for place in range(search.longest):
        logits, state = writer.step(ids, state)
        chosen = logits[:, -1].argmax(-1)
        written[texts, place] = chosen
        going = np.flatnonzero(chosen != search.end)
        if len(going) < len(texts):
            texts, state = texts[going], _rows(state, going)
        if not len(texts):
            break
        ids = chosen[going, None]
    return written


@dataclass
class _Beams:
    """The beams of some texts, (texts, beams, ...): those that are followed, and the best of those that have ended."""

    ids: np.ndarray
    scores: np.ndarray
    ended_ids: np.ndarray
    ended_scores: np.ndarray

    @classmethod
    def of(cls, count: int, search: Search) -> _Beams:
        ids = np.full((count, search.beams, search.longest), search.padding, dtype=np.int64)
        scores = np.full((count, search.beams), HOPELESS)
        scores[:, 0] = 0.0  # all beams begin alike
        return cls(ids, scores, ids.copy(), np.full((count, search.beams), HOPELESS))

    def pick(self, texts: np.ndarray) -> _Beams:
        return _Beams(self.ids[texts], self.scores[texts], self.ended_ids[texts], self.ended_scores[texts])

    def advance(self, logits: np.ndarray, place: int, search: Search) -> np.ndarray:
        """Follow the best continuations, (texts, beams, vocabulary); from which beam each comes, (texts, beams)."""
        texts, vocabulary = np.arange(len(self.ids))[:, None], logits.shape[-1]
        total = (self.scores[..., None] + _log_softmax(logits)).reshape(len(self.ids), -1)
        best = _highest(total, 2 * search.beams)  # half of them may have ended
        scores, beams, tokens = total[texts, best], best // vocabulary, best % vocabulary
        ids = self.ids[texts, beams]
        ids[..., place] = tokens
        has_ended = (tokens == search.end) | (place == search.longest - 1)
        first = has_ended & (np.arange(2 * search.beams) < search.beams)
        ending = np.where(first, scores / (place + 1) ** search.length_penalty, HOPELESS)
        all_ids, all_scores = np.concatenate([self.ended_ids, ids], 1), np.concatenate([self.ended_scores, ending], 1)
        kept = _highest(all_scores, search.beams)
        self.ended_ids, self.ended_scores = all_ids[texts, kept], all_scores[texts, kept]
        followed = _highest(np.where(has_ended, scores + HOPELESS, scores), search.beams)
        self.ids = ids[texts, followed]
        self.scores = np.where(has_ended, scores + HOPELESS, scores)[texts, followed]
        came_from: np.ndarray = beams[texts, followed]
        return came_from

    def may_improve(self, place: int, search: Search) -> np.ndarray:
        """Whether the best beam, ended here, would be better than the worst of as many that have ended, (texts,)."""
        best = self.scores[:, 0] / (place + 1) ** search.length_penalty
        return np.asarray(best > self.ended_scores[:, -1])


def _best_beams(writer: Writer, state: State, count: int, search: Search) -> np.ndarray:
    written = np.full((count, search.longest), search.padding, dtype=np.int64)
    state = _rows(state, np.repeat(np.arange(count), search.beams))
    texts, beams = np.arange(count), _Beams.of(count, search)
    ids = np.full((count * search.beams, 1), search.begin, dtype=np.int64)
    for place in range(search.longest):
        logits, state = writer.step(ids, state)
        came_from = beams.advance(logits[:, -1].reshape(len(texts), search.beams, -1), place, search)
        written[texts] = beams.ended_ids[:, 0]
        going = np.flatnonzero(beams.may_improve(place, search))
        if not len(going) or place == search.longest - 1:
            break
        rows = (going[:, None] * search.beams + came_from[going]).reshape(-1)
        texts, beams, state = texts[going], beams.pick(going), _rows(state, rows)
        ids = beams.ids[:, :, place].reshape(-1, 1)
    return written


def _highest(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the highest of each row, highest first, the earlier ones of equals, (rows, count)."""
    if values.shape[1] > 4 * count:
        few = np.sort(np.argpartition(-values, count - 1, axis=1)[:, :count], axis=1)
        order = np.argsort(-np.take_along_axis(values, few, 1), axis=1, kind="stable")
        return np.take_along_axis(few, order, 1)
    return np.argsort(-values, axis=1, kind="stable")[:, :count]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
