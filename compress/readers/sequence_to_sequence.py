"""A text that is written for a text, such as its translation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from typing_extensions import TypedDict

from compress.readers.cutting import Cutter
from compress.readers.folder import Folder
from compress.readers.reader import Cut, Item, Piece, Takes
from compress.runtimes.text_writer import READS, TEXTS_AT_ONCE, WRITES, text_of
from compress.runtimes.tokenizer_file import read_tokenizer
from compress.runtimes.writer_files import read_search


class Answer(TypedDict):
    """What the model writes."""

    text: str


class WrittenReader:
    """Reads outputs (tokens,) as the ids of what was written, as `compress.runtimes.writer_files.open_writer` gives them."""

    takes: Takes = "a text"
    answers = Answer
    most_at_once, tokens_at_once = TEXTS_AT_ONCE, None

    def __init__(self, folder: Folder) -> None:
        self._cutter = Cutter(folder.path / READS, folder.max_length)
        self._writes = read_tokenizer(folder.path / WRITES)
        self._search = read_search(folder.path)

    def pieces(self, item: Item, cut: Cut) -> list[Piece]:
        """One: the text."""
        return [self._cutter.piece(item, cut)]

    def reduce(self, piece: Piece, outputs: np.ndarray) -> str:
        """Spell what was written."""
        return text_of(self._writes, outputs.astype(np.int64).tolist(), self._search)

    def answer(self, item: Item, pieces: Sequence[Piece], reduced: Sequence[str]) -> Answer:
        """The text."""
        return {"text": reduced[0]}


READER = WrittenReader
