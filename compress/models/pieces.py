"""The pieces of each kind of tokenizer: which of them all words can be spelled with, which others are built of, and how
tokenizer.json tells them.

Where pieces are left out, a text whose pieces all stay is cut as before. WordPiece takes the longest piece that fits, and
Unigram the pieces with the largest sum of scores (Kudo 2018, arXiv 1804.10959): both choose the same among fewer. BPE merges
neighbours in the order of its merges (Sennrich et al. 2016, arXiv 1508.07909), so that what a piece is built of stays with it,
and merges into a piece that is gone go.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

BYTES = frozenset(f"<0x{byte:02X}>" for byte in range(256))
"""What characters without a piece are told as where a tokenizer falls back on bytes."""

Contents = dict[str, Any]
"""What tokenizer.json holds under "model"."""


def contents_of(tokenizer: Any) -> Contents:
    """The model of a fast tokenizer, as tokenizer.json holds it."""
    contents: Contents = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    return contents


@dataclass(frozen=True)
class Kind:
    """What is to be known of a kind of tokenizer.

    Args:
        characters: Its pieces that stand for a single character or byte, without which words could not be spelled any more.
        always: Other pieces that stay whatever is cut.
        built_of: The pieces that such pieces are merged from.
        cut: Leaves out of the contents, in place, all that is not in these new ids.
    """

    characters: Callable[[Contents], set[str]]
    cut: Callable[[Contents, Mapping[str, int]], None]
    always: Callable[[Contents], set[str]] = lambda _: set()
    built_of: Callable[[Contents, Collection[str]], set[str]] = lambda *_: set()


def _cut_table(contents: Contents, ids: Mapping[str, int]) -> None:
    contents["vocab"] = {piece: ids[piece] for piece in contents["vocab"] if piece in ids}


def _of_words(contents: Contents) -> set[str]:
    prefix = contents["continuing_subword_prefix"]
    return {piece for piece in contents["vocab"] if len(piece.removeprefix(prefix)) == 1}


def _of_merges(contents: Contents) -> set[str]:
    return {piece for piece in contents["vocab"] if len(_symbols(contents, piece)) == 1 or piece in BYTES}


def _of_merges_always(contents: Contents) -> set[str]:
    """All of them where the tokenizer has nothing else to tell a character with: it would leave the character out."""
    return set() if contents.get("unk_token") and not contents.get("byte_fallback") else _of_merges(contents)


def _symbols(contents: Contents, piece: str) -> list[str]:
    """What BPE starts from to build a piece: its characters, with the marks of the middle or of the end of a word."""
    prefix, suffix = (contents.get(key) or "" for key in ("continuing_subword_prefix", "end_of_word_suffix"))
    inside = bool(prefix) and piece.startswith(prefix)
    at_end = bool(suffix) and piece.endswith(suffix)
    symbols = list(piece.removeprefix(prefix).removesuffix(suffix) if at_end else piece.removeprefix(prefix))
    symbols = [f"{prefix}{symbol}" if inside or index else symbol for index, symbol in enumerate(symbols)]
    return [*symbols[:-1], f"{symbols[-1]}{suffix}"] if at_end and symbols else symbols


def _pairs(contents: Contents) -> list[tuple[str, str]]:
    """The merges in order; older files have them as texts with a space in the middle."""
    merges = (merge.split(" ") if isinstance(merge, str) else merge for merge in contents["merges"])
    return [(first, second) for first, second in merges]


def _merged(contents: Contents, first: str, second: str) -> str:
    return first + second.removeprefix(contents.get("continuing_subword_prefix") or "")


def _built_of(contents: Contents, pieces: Collection[str]) -> set[str]:
    ranks = {pair: rank for rank, pair in enumerate(_pairs(contents))}
    parts: set[str] = set()
    for piece in pieces:
        symbols = _symbols(contents, piece)
        while len(symbols) > 1:
            parts.update(symbols)
            rank, place = min((ranks.get(pair, len(ranks)), place) for place, pair in enumerate(pairwise(symbols)))
            if rank == len(ranks):
                break
            symbols[place : place + 2] = [_merged(contents, *symbols[place : place + 2])]
    return parts & contents["vocab"].keys()


def _cut_merges(contents: Contents, ids: Mapping[str, int]) -> None:
    _cut_table(contents, ids)
    stay = [pair for pair in _pairs(contents) if {*pair, _merged(contents, *pair)} <= ids.keys()]
    contents["merges"] = [list(pair) for pair in stay]


def _of_scores(contents: Contents) -> set[str]:
    return {piece for piece, _ in contents["vocab"] if len(piece) == 1}


def _of_scores_always(contents: Contents) -> set[str]:
    """Bytes, and the unknown piece, with that of the lowest score, from which the library reckons what it costs."""
    lowest = min(contents["vocab"], key=lambda entry: entry[1])[0]
    unknown = contents.get("unk_id")
    fallback = BYTES & {piece for piece, _ in contents["vocab"]} if contents.get("byte_fallback") else set()
    return {lowest, *fallback, *([] if unknown is None else [contents["vocab"][unknown][0]])}


def _cut_scores(contents: Contents, ids: Mapping[str, int]) -> None:
    unknown = contents.get("unk_id")
    if unknown is not None:
        contents["unk_id"] = ids[contents["vocab"][unknown][0]]
    stay = [entry for entry in contents["vocab"] if entry[0] in ids]
    contents["vocab"] = sorted(stay, key=lambda entry: ids[entry[0]])


KINDS: dict[str, Kind] = {
    "WordPiece": Kind(characters=_of_words, cut=_cut_table),
    "BPE": Kind(characters=_of_merges, cut=_cut_merges, always=_of_merges_always, built_of=_built_of),
    "Unigram": Kind(characters=_of_scores, cut=_cut_scores, always=_of_scores_always),
}
