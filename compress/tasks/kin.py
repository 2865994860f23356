"""Find which rows are kin: rows with the same text, rows that stand inside another row, and near copies.

Source: Broder 1997, "On the resemblance and containment of documents" (shingles, resemblance, MinHash); Lee et al. 2022,
"Deduplicating Training Data Makes Language Models Better", arXiv 2107.06499 (near copies by MinHash, checked afterwards).
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST_TOKENS = 4
"""A shorter text is kin of its copies alone: it stands in many rows that have nothing else in common."""
ALIKE = 0.8
"""Near copies share this part of their tokens and pairs of tokens, counted together: of 20 tokens one may be another."""
ANCHOR = 8
"""Tokens of a text that are looked up; longer ones are compared from there."""
MOST_HOLDERS = 64
"""A short text that stands in more texts is no phrase of one of them."""
BANDS, BAND_ROWS = 16, 6
"""Of MinHash: of the pairs that are alike to 0.8, 1 - (1 - 0.8^6)^16 = 99 % are found; each is then counted exactly."""
_LETTER_IS_WORD = "\u0e00-\u0edf\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Thai, Lao, Japanese, Chinese: written without spaces between words."""
_TOKEN = re.compile(rf"[{_LETTER_IS_WORD}]|[^\W{_LETTER_IS_WORD}]+")
MOST_CANDIDATES = 256
"""A text that may be near so many others is not looked up by later ones: lines of a log would cost their number's square."""

Tokens = tuple[int, ...]


def tokens_of(text: str) -> tuple[str, ...]:
    """Cut a text into words in lower case, without punctuation; one that has no words is one token."""
    plain = unicodedata.normalize("NFKC", text).lower()
    return tuple(_TOKEN.findall(plain)) or (plain.strip(),)


@dataclass(frozen=True, eq=False)
class Kin:
    """Which rows hold which texts, and which texts are kin.

    Args:
        rows: For each mention of a text its row, (mentions,).
        texts: The text that is mentioned, by its number, (mentions,).
        links: Pairs of texts that are kin, (links, 2), the one that stands in the other first.
        weights: Of each text its tokens; of a whole row more than any text has, (texts,).
        within: Rows that are too short to be kin of others, each with a text that holds it, (pairs, 2).
    """

    rows: np.ndarray
    texts: np.ndarray
    links: np.ndarray
    weights: np.ndarray
    within: np.ndarray

    def touches(self, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Tell of each row whether it is kin of one of the other rows, (rows,)."""
        mentioned = np.zeros(len(self.weights), dtype=bool)
        mentioned[self.texts[self.mentions_of(others)]] = True
        near = mentioned.copy()
        near[self.links[mentioned[self.links[:, 1]], 0]] = True
        near[self.links[mentioned[self.links[:, 0]], 1]] = True
        touched = np.zeros(int(self.rows.max(initial=-1)) + 1, dtype=bool)
        touched[self.rows[near[self.texts]]] = True
        return touched[rows]

    def mentions_of(self, rows: np.ndarray) -> np.ndarray:
        """Tell of each mention whether it is one of these rows', (mentions,)."""
        chosen = np.zeros(int(self.rows.max(initial=-1)) + 1, dtype=bool)
        chosen[rows] = True
        return chosen[self.rows]


def find_kin(columns: Sequence[Sequence[str]], indexed: int | None = None) -> Kin:
    """Find the kin among rows of one text, or of several.

    Rows are kin whose whole text is the same, whatever its length. Rows of which one text has at least FEWEST_TOKENS tokens
    are kin of those where the same text, one that holds it word for word, or a near copy stands, in whichever column.

    Args:
        columns: The texts of the rows, a column for each text of a pair.
        indexed: Near copies of so many first rows' texts alone are looked for; None looks for all.
    """
    words: dict[str, int] = {}
    numbers: dict[Tokens, int] = {}
    rows: list[int] = []
    mentioned: list[int] = []
    whole_of: list[tuple[int, ...]] = []
    looked_up = 0
    for row, texts in enumerate(zip(*columns, strict=True)):
        tokenized = [tuple(words.setdefault(word, len(words)) for word in tokens_of(text)) for text in texts]
        own = tuple(numbers.setdefault(tokens, len(numbers)) for tokens in tokenized)
        for tokens, number in zip(tokenized, own, strict=True):
            if len(tokens) >= FEWEST_TOKENS:
                rows.append(row)
                mentioned.append(number)
        whole_of.append(own)
        if indexed is None or row < indexed:
            looked_up = len(numbers)
    distinct = list(numbers)
    links = _contained(distinct) | _near_copies(distinct, list(words), looked_up)
    wholes = {whole: len(distinct) + number for number, whole in enumerate(dict.fromkeys(whole_of))}
    lengths = [len(tokens) for tokens in distinct]
    within: list[tuple[int, int]] = []
    if len(columns) == 1:
        holders = _holders(distinct)
        within = [(row, text) for row, (own,) in enumerate(whole_of) for text in sorted(holders.get(own, ()))]
    return Kin(
        np.array([*rows, *range(len(whole_of))], dtype=np.int64),
        np.array([*mentioned, *(wholes[own] for own in whole_of)], dtype=np.int64),
        np.array(sorted(links), dtype=np.int64).reshape(-1, 2),
        np.array([*lengths, *[max(lengths, default=0) + 1] * len(wholes)], dtype=np.int64),
        np.array(within, dtype=np.int64).reshape(-1, 2),
    )


def _holders(texts: Sequence[Tokens]) -> dict[int, set[int]]:
    """Of each text that is too short to be kin of others those in which it stands, where they are few."""
    short = {tokens: number for number, tokens in enumerate(texts) if len(tokens) < FEWEST_TOKENS}
    begins = {tokens[0] for tokens in short}
    holders_of: dict[int, set[int]] = {number: set() for number in short.values()}
    for number, tokens in enumerate(texts):
        if len(tokens) < FEWEST_TOKENS:
            continue
        for start, token in enumerate(tokens):
            if token not in begins:
                continue
            for size in range(1, FEWEST_TOKENS):
                other = short.get(tokens[start : start + size])
                if other is not None and len(holders_of[other]) <= MOST_HOLDERS:
                    holders_of[other].add(number)
    return {number: holders for number, holders in holders_of.items() if len(holders) <= MOST_HOLDERS}


def _contained(texts: Sequence[Tokens]) -> set[tuple[int, int]]:
    """Pairs of a text and another in which it stands, token for token, one after the other."""
    short: dict[Tokens, int] = {}
    long: dict[Tokens, list[int]] = {}
    for number, tokens in enumerate(texts):
        if FEWEST_TOKENS <= len(tokens) <= ANCHOR:
            short[tokens] = number
        elif len(tokens) > ANCHOR:
            long.setdefault(tokens[:ANCHOR], []).append(number)
    begins = {tokens[:FEWEST_TOKENS] for tokens in (*short, *long)}
    pairs: set[tuple[int, int]] = set()
    for number, tokens in enumerate(texts):
        for start in range(len(tokens) - FEWEST_TOKENS + 1):
            if tokens[start : start + FEWEST_TOKENS] not in begins:
                continue
            most = min(ANCHOR, len(tokens) - start)
            for size in range(FEWEST_TOKENS, most + 1):
                other = short.get(tokens[start : start + size], number)
                if other != number:
                    pairs.add((other, number))
            for other in long.get(tokens[start : start + ANCHOR], ()) if most == ANCHOR else ():
                size = len(texts[other])
                if other != number and tokens[start : start + size] == texts[other]:
                    pairs.add((other, number))
    return pairs


def _near_copies(texts: Sequence[Tokens], words: Sequence[str], indexed: int) -> set[tuple[int, int]]:
    """Pairs of texts that share at least ALIKE of their tokens and pairs of tokens, the shorter first; one of the two is among
    the first `indexed`."""
    from datasketch import MinHash, MinHashLSH

    hashes = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words], dtype=np.uint32)
    content = {number: hashes[list(tokens)] for number, tokens in enumerate(texts) if len(tokens) >= FEWEST_TOKENS}
    chosen = sorted(content, key=lambda number: (number >= indexed, content[number].tobytes()))  # not by the file's order
    shingles = {number: _shingles(content[number]) for number in chosen}
    index = MinHashLSH(num_perm=BANDS * BAND_ROWS, params=(BANDS, BAND_ROWS))
    sketches = MinHash.generator((shingles[number] for number in chosen), num_perm=BANDS * BAND_ROWS, hashfunc=_itself)
    pairs: set[tuple[int, int]] = set()
    for number, sketch in zip(chosen, sketches, strict=True):
        own = shingles[number]
        candidates = index.query(sketch)
        for other in candidates:
            shared = len(own & shingles[other])
            if shared >= ALIKE * (len(own) + len(shingles[other]) - shared):
                pair = (number, other) if len(texts[number]) < len(texts[other]) else (other, number)
                pairs.add(pair)
        if number < indexed and len(candidates) < MOST_CANDIDATES:
            index.insert(number, sketch, check_duplication=False)
    return pairs


def _shingles(hashes: np.ndarray) -> frozenset[int]:
    """Numbers for the tokens of a text and for each two that follow one another."""
    pairs = hashes[:-1] * np.uint32(0x9E3779B1) + hashes[1:] * np.uint32(0x85EBCA6B) + np.uint32(1)
    return frozenset(np.concatenate([hashes, pairs]).tolist())


def _itself(number: int) -> int:
    return number
