"""What stands at the masked places of a text, by the model's likeliest pieces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from typing_extensions import TypedDict

from compress.errors import InputError
from compress.readers.activations import softmax
from compress.readers.cutting import Cutter
from compress.readers.folder import Folder
from compress.readers.reader import Cut, Item, Piece, Takes
from compress.runtimes.tokenizer_file import TOKENIZER

MASKS = ("[MASK]", "<mask>")
BEST = 5
TOKENS_AT_ONCE = 1024
"""Of a batch with an output for each of some 30,000 pieces: 125 MB."""


class Guess(TypedDict):
    """A piece of the vocabulary, and how probable it is."""

    piece: str
    score: float


class Mask(TypedDict):
    """A masked place: its characters, and the likeliest pieces, the best first."""

    start: int
    end: int
    pieces: list[Guess]


class Answer(TypedDict):
    """The masked places of the text, in their order."""

    masks: list[Mask]


class MaskedWordsReader:
    """Reads outputs (tokens, pieces) as logits; a place is masked by [MASK] or <mask>, as the tokenizer has it."""

    takes: Takes = "a text"
    answers = Answer
    most_at_once, tokens_at_once = None, TOKENS_AT_ONCE

    def __init__(self, folder: Folder) -> None:
        path = folder.path / TOKENIZER
        self._cutter = Cutter(path, folder.max_length)
        known = [number for mask in MASKS if (number := self._cutter.whole.token_to_id(mask)) is not None]
        if not known:
            raise InputError(f"{path} knows none of {', '.join(MASKS)}, by which a word is masked; restore the file.")
        self._mask = known[0]

    def pieces(self, item: Item, cut: Cut) -> list[Piece]:
        """One: the text."""
        return [self._cutter.piece(item, cut, keep=True)]

    def reduce(self, piece: Piece, outputs: np.ndarray) -> list[list[tuple[int, float]]]:
        """Keep the ids and probabilities of each masked place's likeliest pieces."""
        places = [place for place, number in enumerate(piece.ids) if number == self._mask]
        best = []
        for probabilities in softmax(outputs[places]) if places else ():
            order = np.argsort(-probabilities, kind="stable")[:BEST]
            best.append(list(zip(order.tolist(), probabilities[order].tolist(), strict=True)))
        return best

    def answer(self, item: Item, pieces: Sequence[Piece], reduced: Sequence[list[list[tuple[int, float]]]]) -> Answer:
        """The masked places."""
        encoding, before = pieces[0].encoding, len(item.text) - len(item.text.lstrip())
        offsets = [place for number, place in zip(encoding.ids, encoding.offsets, strict=True) if number == self._mask]
        masks: list[Mask] = [
            {
                "start": start + before,
                "end": end + before,
                "pieces": [{"piece": self._cutter.whole.id_to_token(number), "score": score} for number, score in best],
            }
            for (start, end), best in zip(offsets, reduced[0], strict=True)
        ]
        return {"masks": masks}


READER = MaskedWordsReader
