"""Token ids of texts of any length, of which no more is tokenized than can play a part."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

REACHES = {False: (128, 1 << 14), True: (8, 1 << 10)}
"""Texts of more characters a token than this (and more than so many at all) are cut before they are tokenized with truncation:
single ones, and those of pairs, of which a tokenizer keeps every combination of what overflows from both."""
CEILING = 1 << 20
"""Characters of a text that are looked at, where fewer do not have the tokens that are asked for; each takes a tokenizer about
a hundred bytes."""
FARTHEST = 8 * CEILING
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

    The ids are those of the whole texts: a long one is cut at the end of a word beyond the tokens that are kept, and of a pair
    the longer one in tokens, which loses more, stays the longer one. Only where a text has more than a million characters, and
    few of them are tokens (runs of white space, words that are one unknown token), are such runs and words shortened, and the
    longer one of a pair is that of the first million characters.

    Args:
        tokenizer: Cuts at its `truncation_side`.
        texts: The texts, or the first of each pair.
        pairs: The second ones.
        max_length: Tokens to keep, special ones included.
    """
    per_token, fewest = REACHES[pairs is not None]
    reach = max(fewest, per_token * max_length)
    encoded = Tokenized([], None if pairs is not None and not len(texts) else [], 0)
    for rows in _at_once(texts, pairs, reach):
        firsts, seconds = [texts[row] for row in rows], None if pairs is None else [pairs[row] for row in rows]
        for place in range(len(rows)):
            if len(firsts[place]) > reach or (seconds and len(seconds[place]) > reach):
                if seconds is None:
                    firsts[place] = _Look(tokenizer, firsts[place], reach, max_length + 1).cut_after(max_length + 1)[0]
                else:
                    firsts[place], seconds[place] = _heads(tokenizer, firsts[place], seconds[place], max_length + 1)
        part = tokenizer(firsts, seconds, truncation=True, max_length=max_length, return_attention_mask=False)
        encoded.input_ids += part["input_ids"]
        types = part.get("token_type_ids")
        encoded.token_type_ids = None if types is None or encoded.token_type_ids is None else [*encoded.token_type_ids, *types]
        encoded.truncated += sum(1 for encoding in part.encodings or () if encoding.overflowing)
    return encoded


def portions_of(text: str) -> Iterator[str]:
    """A text in parts of about a million characters that end where white space does, so that no word is in two of them."""
    start = 0
    while len(text) - start > CEILING:
        space = re.compile(r"\s").search(text, start + CEILING, start + CEILING + MARGIN)
        stop = space.start() if space else start + CEILING
        yield text[start:stop]
        start = stop
    yield text[start:] if start else text


def _at_once(texts: Sequence[str], pairs: Sequence[str] | None, reach: int) -> Iterator[range]:
    """The rows in portions of not too many characters."""
    start = characters = 0
    for row, text in enumerate(texts):
        characters += min(reach, len(text)) + (min(reach, len(pairs[row])) if pairs else 0)
        if characters > AT_ONCE and row > start:
            yield range(start, row)
            start, characters = row, min(reach, len(text)) + (min(reach, len(pairs[row])) if pairs else 0)
    if len(texts) > start:
        yield range(start, len(texts))


def _heads(tokenizer: Any, first: str, second: str, wanted: int) -> tuple[str, str]:
    """The beginnings of a pair that give the tokens of the whole: of two long ones, the longer one stays longer."""
    looks = [_Look(tokenizer, text, CEILING, wanted) for text in (first, second)]
    longer = 0 if looks[0].count > looks[1].count else 1  # of equal ones the second, as the tokenizer does
    shorter_head, kept = looks[1 - longer].cut_after(wanted)
    longer_head, _ = looks[longer].cut_after(max(wanted, kept + 1))
    return (longer_head, shorter_head) if longer == 0 else (shorter_head, longer_head)


class _Look:
    """A text, as much of it as has the tokens that are wanted, and where its words end.

    Args:
        tokenizer: Any; where it is none of the fast ones, or cuts on the left, texts are cut at CEILING alone.
        text: The whole.
        reach: Characters to look at first.
        wanted: Tokens that it should have.
    """

    def __init__(self, tokenizer: Any, text: str, reach: int, wanted: int) -> None:
        self.is_left = getattr(tokenizer, "truncation_side", "right") == "left"
        self.text, self.ends = text, list[tuple[int, int]]()
        for most in (reach, CEILING, FARTHEST):
            if most == FARTHEST and len(text) > CEILING:
                text = _squeezed(text)
            self.text = text[-most:] if self.is_left else text[:most]
            if self.is_left and most == reach < min(CEILING, len(text)):
                continue
            encoded = tokenizer(self.text, add_special_tokens=False, verbose=False)
            encoding = (encoded.encodings or [None])[0]
            self.count = len(encoded["input_ids"])
            if encoding is None or self.is_left:
                return
            sure = len(self.text) - MARGIN if len(self.text) < len(text) else len(self.text)
            words = [*encoding.word_ids, None]
            self.ends = [
                (number + 1, end)
                for number, (_, end) in enumerate(encoding.offsets)
                if end <= sure and (words[number] is None or words[number] != words[number + 1])
            ]
            if len(self.text) == len(text) or (self.ends and self.ends[-1][0] >= wanted):
                return

    def cut_after(self, wanted: int) -> tuple[str, int]:
        """The text up to the end of the word with token number `wanted` (all of it if there is none), and its tokens."""
        count, end = next(((count, end) for count, end in self.ends if count >= wanted), (self.count, len(self.text)))
        return self.text[:end], count


def _squeezed(text: str) -> str:
    """A text with one space for each run of white space, and without the ends of words that are too long to be read."""
    return re.sub(rf"\S{{{MARGIN + 1},}}", lambda word: word[0][:MARGIN], re.sub(r"\s{2,}", " ", text))
