"""The words of texts, and for each the words that may stand in its place.

Words are what the tokenizer's own pre-tokenizer cuts, told by their places in the text, so that what is between them stays.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer
from tokenizers.models import WordLevel, WordPiece
from torch.nn import functional
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.families import longest_text
from compress.tasks.encoding import Encoded
from compress.training.batches import sorted_batches
from compress.training.predict import on_device

TEXTS_AT_ONCE = 256
ROWS_AT_ONCE = 1024
MASKED_AT_ONCE = 64
APOSTROPHES = ("'", "\N{RIGHT SINGLE QUOTATION MARK}")
SEVERAL = NONE = -1
MOST_FREQUENT = 35  # on SST-2 "the" to "all", with two that no stop-word list has, "film" and "movie"; "good" is the 38th
FREQUENT_SHARE = 0.05

Offer = Callable[[Sequence[str], "Words"], np.ndarray]
"""Texts and their words -> ids of what may stand in each word's place, (words, candidates), NONE where nothing may."""


@dataclass(frozen=True, eq=False)
class Words:
    """Where the words of some texts stand; those of text i are the rows bounds[i] to bounds[i + 1].

    Args:
        starts: First character of each word, (words,).
        ends: One past its last character.
        first: Its first piece, counted in its text.
        last: One past its last piece.
        token_ids: Id of its only piece, SEVERAL where it has more.
        free: Whether it is all letters and touches no apostrophe; nothing stands in the place of half of "don't".
        bounds: (texts + 1,).
    """

    starts: np.ndarray
    ends: np.ndarray
    first: np.ndarray
    last: np.ndarray
    token_ids: np.ndarray
    free: np.ndarray
    bounds: np.ndarray

    def of(self, first: int, last: int) -> Words:
        """The words of texts `first` to `last`, the latter left out."""
        bounds = self.bounds[first : last + 1]
        span = slice(bounds[0], bounds[-1])
        return Words(
            self.starts[span],
            self.ends[span],
            self.first[span],
            self.last[span],
            self.token_ids[span],
            self.free[span],
            bounds - bounds[0],
        )


def find_words(texts: Sequence[str], tokenizer: Any) -> Words:
    """Find every word that holds a letter or a digit."""
    rows = array("i")
    bounds = [0]
    for text, encoding in zip(texts, _encodings(texts, tokenizer), strict=True):
        ids, offsets = encoding.ids, encoding.offsets
        for _, run in groupby(range(len(ids)), encoding.word_ids.__getitem__):
            first, *others = run
            last = others[-1] if others else first
            start, end = offsets[first][0], offsets[last][1]
            word = text[start:end]
            if any(map(str.isalnum, word)):
                joined = text[max(0, start - 1) : start] in APOSTROPHES or text[end : end + 1] in APOSTROPHES
                rows.extend((start, end, first, last + 1, SEVERAL if others else ids[first], word.isalpha() and not joined))
        bounds.append(len(rows) // 6)
    starts, ends, firsts, lasts, token_ids, free = np.array(rows, dtype=np.int32).reshape(-1, 6).T.copy()
    return Words(starts, ends, firsts, lasts, token_ids, free.astype(bool), np.array(bounds))


def _encodings(texts: Sequence[str], tokenizer: Any) -> Iterator[Encoding]:
    plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    plain.no_truncation()
    plain.no_padding()
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        yield from plain.encode_batch(list(texts[start : start + TEXTS_AT_ONCE]), add_special_tokens=False)


def whole_words(tokenizer: Any) -> np.ndarray:
    """Ids of the pieces that are words: letters alone, and more than one where letters have cases, (words,), rising.

    Raises:
        InputError: The tokenizer's vocabulary holds no words.
    """
    vocabulary = tokenizer.get_vocab()
    kind = tokenizer.backend_tokenizer.model
    if not isinstance(kind, (WordPiece, WordLevel)):
        raise InputError(
            f"augment: the tokenizer's pieces are those of a {type(kind).__name__} model, which do not tell words from parts; "
            "use a model with a WordPiece vocabulary, or leave augment out."
        )
    special = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
    words = [number for piece, number in vocabulary.items() if _is_word(piece) and piece not in special]
    if len(words) < 2:
        raise InputError(
            f"augment: {len(words)} of the tokenizer's {len(vocabulary)} pieces are whole words; two at least are needed to "
            "put one in another's place. Use a model with a WordPiece vocabulary, or leave augment out."
        )
    return np.sort(np.array(words, dtype=np.int64))


def _is_word(piece: str) -> bool:
    return piece.isalpha() and (len(piece) > 1 or piece.lower() == piece.upper())


def most_frequent(counts: np.ndarray) -> np.ndarray:
    """The words that stop-word lists hold, in any language: the 35 most frequent, of fewer than 700 words one in twenty.

    Args:
        counts: How often each piece is a word, (pieces,).

    Returns:
        Ids of those that stand more than twice as often as the mean word; of two as frequent, the lower one comes first.
    """
    word_count = np.count_nonzero(counts)
    first = np.argsort(-counts, kind="stable")[: min(MOST_FREQUENT, int(word_count * FREQUENT_SHARE))]
    return first[counts[first] * word_count > 2 * counts.sum()]


def nearest_words(table: torch.Tensor, asked: np.ndarray, allowed: np.ndarray, count: int) -> np.ndarray:
    """For each piece asked for, the `count` allowed ones whose vectors stand at the smallest angles to its own.

    Args:
        table: Word-piece vectors, (pieces, width).
        asked: Ids, (asked,).
        allowed: Rising ids of what may be told, (allowed,).
        count: At most; one fewer than are allowed at most, since none is told of itself.

    Returns:
        Ids, rising in each row, (asked, count).
    """
    count = max(0, min(count, len(allowed) - 1))
    nearest: np.ndarray = np.empty((len(asked), count), dtype=np.int64)
    directions = functional.normalize(table.detach()[torch.from_numpy(allowed).to(table.device)].float(), dim=1)
    for start in range(0, len(asked), ROWS_AT_ONCE):
        ids = torch.from_numpy(asked[start : start + ROWS_AT_ONCE]).to(table.device)
        near = functional.normalize(table.detach()[ids].float(), dim=1) @ directions.T  # (rows, allowed)
        nearest[start : start + ROWS_AT_ONCE] = _best(near, asked[start : start + ROWS_AT_ONCE], allowed, count)
    return nearest


def _best(scores: torch.Tensor, own: np.ndarray, allowed: np.ndarray, count: int) -> np.ndarray:
    """Ids of the `count` highest scores of each row, its own word's left out; rising, so that rounding changes no order."""
    place = np.searchsorted(allowed, own).clip(max=len(allowed) - 1)
    rows = np.flatnonzero(allowed[place] == own)
    scores[torch.from_numpy(rows).to(scores.device), torch.from_numpy(place[rows]).to(scores.device)] = -torch.inf
    return np.sort(allowed[scores.topk(count, dim=1).indices.cpu().numpy()], axis=1)


def by_table(asked: np.ndarray, near: np.ndarray, vocab_size: int) -> Offer:
    """Offer the same words wherever a word stands.

    Args:
        asked: Ids of the words that may be replaced, (asked,).
        near: What may replace each, (asked, candidates).
        vocab_size: Of the tokenizer.
    """
    row: np.ndarray = np.full(vocab_size + 1, len(asked), dtype=np.int64)  # the last is that of words of SEVERAL pieces
    row[asked] = np.arange(len(asked))
    near = np.vstack([near, np.full((1, near.shape[1]), NONE, dtype=np.int64)])

    def offer(_: Sequence[str], words: Words) -> np.ndarray:
        return near[np.where(words.free, row[words.token_ids], len(asked))]

    return offer


def by_masked_lm(masked_lm: PreTrainedModel, asked: np.ndarray, allowed: np.ndarray, count: int) -> Offer:
    """Offer what a masked language model puts in a word's place, in its sentence.

    Each word is masked in turn, and the model reads "masked sentence [SEP] sentence [SEP]", of long ones what stands around
    the word. A word of several pieces is masked by one [MASK].

    Args:
        masked_lm: With a tokenizer; answers where it stands.
        asked: Ids of the words that may be replaced; those of several pieces may as well.
        allowed: Rising ids of those that may replace them.
        count: How many are offered; at most one fewer than are allowed.
    """
    tokenizer, count = masked_lm.tokenizer, min(count, len(allowed) - 1)
    room = (longest_text(masked_lm.config) - 3) // 2

    def offer(texts: Sequence[str], words: Words) -> np.ndarray:
        candidates: np.ndarray = np.full((len(words.token_ids), count), NONE, dtype=np.int64)
        asking = np.flatnonzero(words.free & ((words.token_ids == SEVERAL) | np.isin(words.token_ids, asked)))
        if not len(asking):
            return candidates
        sentences = [encoding.ids for encoding in _encodings(texts, tokenizer)]
        of_text = np.searchsorted(words.bounds, asking, side="right") - 1
        rows = [
            _masked(sentences[text], words.first[word], words.last[word], room, tokenizer)
            for text, word in zip(of_text, asking, strict=True)
        ]
        candidates[asking] = _answers(masked_lm, rows, words.token_ids[asking], allowed, count)
        return candidates

    return offer


def _masked(ids: list[int], first: int, last: int, room: int, tokenizer: Any) -> tuple[list[int], list[int], int]:
    """Input ids and token types of a sentence with a masked word and the sentence, and where the [MASK] is."""
    start = max(0, min(first - room // 2, len(ids) - room))
    before, after, whole = ids[start:first], ids[last : start + room], ids[start : start + room]
    masked = [tokenizer.cls_token_id, *before, tokenizer.mask_token_id, *after, tokenizer.sep_token_id]
    return [*masked, *whole, tokenizer.sep_token_id], [0] * len(masked) + [1] * (len(whole) + 1), 1 + len(before)


def _answers(
    masked_lm: PreTrainedModel, rows: list[tuple[list[int], list[int], int]], own: np.ndarray, allowed: np.ndarray, count: int
) -> np.ndarray:
    tokenizer, was_training = masked_lm.tokenizer, masked_lm.training
    types = [kinds for _, kinds, _ in rows] if "token_type_ids" in tokenizer.model_input_names else None
    places = np.array([place for *_, place in rows])
    encoded = Encoded([ids for ids, *_ in rows], types, own, 0, tokenizer.pad_token_id, "train")
    candidates: np.ndarray = np.empty((len(rows), count), dtype=np.int64)
    columns = torch.from_numpy(allowed).to(masked_lm.device)
    at: list[int] = []

    def read_one(_: Any, __: Any, output: Any) -> Any:  # so that the head answers for one place of each row, not for all
        output.last_hidden_state = output.last_hidden_state[torch.arange(len(at)), at][:, None]
        return output

    hook = masked_lm.base_model.register_forward_hook(read_one)
    masked_lm.eval()
    try:
        with torch.inference_mode():
            for indices in sorted_batches(encoded.lengths, MASKED_AT_ONCE):
                at[:] = places[indices].tolist()
                scores = masked_lm(**on_device(encoded.batch(indices), masked_lm.device)).logits[:, 0, columns].float()
                candidates[indices] = _best(scores, own[indices], allowed, count)
    finally:
        hook.remove()
        masked_lm.train(was_training)
    return candidates
