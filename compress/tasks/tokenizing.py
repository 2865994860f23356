"""Token ids of texts of any length, of which no more is tokenized than can play a part."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

CHARACTERS_PER_TOKEN, FEWEST_CHARACTERS = 64, 1 << 14
"""How much of a text is tokenized at first: far more than the wanted tokens have in any language."""
CEILING = 1 << 20
"""Characters up to which a text is tokenized whole, if need be. A tokenizer takes about a hundred bytes for each."""
AT_ONCE = 4 * CEILING
MARGIN = 1000
"""Tokens this far from a cut do not depend on what was cut off: WordPiece reads no word of more than a hundred characters."""


@dataclass
class Tokenized:
    """Token ids of some texts.

    Args:
        input_ids: One list per text, special tokens included.
        token_type_ids: The same, 0 for the first text of a pair and 1 for the second; None if the tokenizer gives none.
        truncated: Texts that had more tokens than asked for.
    """

    input_ids: list[list[int]]
    token_type_ids: list[list[int]] | None
    truncated: int


def tokenized(tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int) -> Tokenized:
    """Tokenize texts as the tokenizer does with truncation, in memory that does not grow with their length.

    The ids are those of the whole texts. A long text is cut at first; where its tokens do not reach `max_length` well before
    the cut, as with long runs of white space or words that are one unknown token, it is tokenized up to a million characters;
    and where they do not suffice either, runs of white space and words of more than MARGIN characters are shortened. Beyond a
    million characters, of two texts of a pair that are both cut, the longer one in tokens is not known, and one token more may
    be taken from the other.

    Args:
        tokenizer: Cuts at its `truncation_side`.
        texts: The texts, or the first of each pair.
        pairs: The second ones.
        max_length: Tokens to keep, special ones included.
    """
    ids: list[list[int]] = [[]] * len(texts)
    types: list[list[int]] = [[]] * len(texts)
    truncated, has_types = 0, True
    reaches = [CEILING, 8 * CEILING]
    if pairs is None:  # of pairs the longer text loses more, so that its length matters
        reaches.insert(0, max(FEWEST_CHARACTERS, CHARACTERS_PER_TOKEN * max_length))
    pending: Sequence[int] = range(len(texts))
    is_left = getattr(tokenizer, "truncation_side", "right") == "left"
    for reach in reaches:
        is_last = reach == reaches[-1]
        unsettled: list[int] = []
        for rows in _at_once(pending, texts, pairs, reach):
            firsts, seconds = ([_cut(each[row], reach, is_left, is_last) for row in rows] if each else None
                               for each in (texts, pairs))  # fmt: skip
            told = tokenizer(firsts, seconds, truncation=True, max_length=max_length, return_attention_mask=False)
            has_types = "token_type_ids" in told
            for place, row in enumerate(rows):
                cut = [bool(each and len(each[row]) > reach) for each in (texts, pairs)]
                heads = [firsts[place] if firsts else "", seconds[place] if seconds else ""]
                encoding = told.encodings[place] if told.encodings else None
                if any(cut) and not is_last and not _is_settled(encoding, heads, cut, is_left):
                    unsettled.append(row)
                    continue
                ids[row] = told["input_ids"][place]
                types[row] = told["token_type_ids"][place] if has_types else []
                truncated += bool(encoding is not None and encoding.overflowing)
        pending = unsettled
    return Tokenized(ids, types if has_types else None, truncated)


def portions_of(text: str) -> Iterator[str]:
    """A text in parts of about a million characters that end where white space does, so that no word is in two of them."""
    start = 0
    while len(text) - start > CEILING:
        space = re.compile(r"\s").search(text, start + CEILING, start + CEILING + MARGIN)
        stop = space.start() if space else start + CEILING
        yield text[start:stop]
        start = stop
    yield text[start:] if start else text


def _at_once(
    rows: Sequence[int], texts: Sequence[str], pairs: Sequence[str] | None, reach: int
) -> Iterator[Sequence[int]]:
    """The rows in portions of not too many characters."""
    portion: list[int] = []
    characters = 0
    for row in rows:
        longer = min(reach, len(texts[row])) + (min(reach, len(pairs[row])) if pairs else 0)
        if portion and characters + longer > AT_ONCE:
            yield portion
            portion, characters = [], 0
        portion.append(row)
        characters += longer
    if portion:
        yield portion


def _cut(text: str, reach: int, is_left: bool, is_last: bool) -> str:
    if len(text) <= reach and not (is_last and len(text) > CEILING):
        return text
    if is_last:
        text = re.sub(rf"\S{{{MARGIN + 1},}}", lambda word: word[0][:MARGIN], re.sub(r"\s{2,}", " ", text))
    return text[-reach:] if is_left else text[:reach]


def _is_settled(encoding: Any, heads: Sequence[str], cut: Sequence[bool], is_left: bool) -> bool:
    """Whether the tokens that were kept are as many as asked for, and none of a cut text stands near its cut."""
    if encoding is None or not encoding.overflowing:
        return False
    for part, head in enumerate(heads):
        places = [place for place, of in zip(encoding.offsets, encoding.sequence_ids, strict=True) if of == part]
        if cut[part] and places:
            near = min(start for start, _ in places) < MARGIN if is_left else max(end for _, end in places) > len(head) - MARGIN
            if near:
                return False
    return True
