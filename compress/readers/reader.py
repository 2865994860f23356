"""What a reader is: from texts to tokens, and from what a model says of them to answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from compress.readers.folder import Folder

Takes = Literal["a text", "a text or a pair", "a pair"]
Side = Literal["right", "left"]


@dataclass(frozen=True)
class Item:
    """What is asked: a text; or a pair, which is read as one or compared, as the kind has it.

    Args:
        text: The text; of pairs the first, such as a query or a question.
        pair: The second, such as a passage, or the text that answers a question.
        prompt: Which of the folder's prompts stands before it; None for the one that stands before every text.
    """

    text: str
    pair: str | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class Cut:
    """What becomes of a text that has more tokens than the model reads.

    Args:
        allowed: Cut it; else it is refused.
        side: Where it is cut.
    """

    allowed: bool = True
    side: Side = "right"


@dataclass(frozen=True, eq=False)
class Piece:
    """What a model reads at once.

    Args:
        ids: Of its tokens, (tokens,).
        type_ids: 0 for the first text and 1 for the second, (tokens,).
        encoding: Of the `tokenizers` library, where the reader wants to know where tokens stand in the text.
        place: What else it wants to know.
    """

    ids: np.ndarray
    type_ids: np.ndarray
    encoding: Any = None
    place: Any = None

    def __len__(self) -> int:
        return len(self.ids)


def piece_of(encoding: Any, *, keep: bool = False, place: Any = None) -> Piece:
    """The tokens of an encoding, and with `keep` the encoding, which takes much more memory."""
    ids, types = (np.array(values, dtype=np.int32) for values in (encoding.ids, encoding.type_ids))
    return Piece(ids, types, encoding if keep else None, place)


class Reader(Protocol):
    """Reads texts for one folder, and what the folder's model says of them. Its methods may be called in several threads.

    An item becomes pieces, which stand in batches with those of other items in any order; what the model says of each is
    reduced to what is needed, and of these the answer is made.
    """

    takes: Takes
    """What an item may be."""
    answers: type
    """What `answer` gives, a TypedDict."""
    most_at_once: int | None
    """Pieces of a batch, where more would not fit into the memory."""
    tokens_at_once: int | None
    """The same of tokens, padding counted."""

    def __init__(self, folder: Folder) -> None: ...

    def pieces(self, item: Item, cut: Cut) -> list[Piece]:
        """Cut an item into tokens; at least one piece.

        Raises:
            TextTooLong: It has too many, and may not be cut.
        """

    def reduce(self, piece: Piece, outputs: np.ndarray) -> Any:
        """Keep what is needed of a piece's outputs, (outputs,) or (tokens or more, outputs); nothing of the batch that they
        stand in."""

    def answer(self, item: Item, pieces: Sequence[Piece], reduced: Sequence[Any]) -> Any:
        """Make the answer of all pieces of an item."""


@runtime_checkable
class Scoring(Protocol):
    """A reader of a model whose outputs each are a score with a name."""

    def scores(self, reduced: Any, *, raw: bool = False) -> list[tuple[str, float]]:
        """Name each output's score, in the outputs' order; `raw` as the model gives it."""


@runtime_checkable
class Ranking(Protocol):
    """A reader of a model that gives a pair one score, by which passages are put into order."""

    def rank(self, reduced: Any, *, raw: bool = False) -> float:
        """The score, from 0 to 1; `raw` as the model gives it."""


@runtime_checkable
class Embedding(Protocol):
    """A reader of a model that gives vectors."""

    prompts: Mapping[str, str]
    """What may stand before a text, by name."""

    def vector(self, reduced: Any, *, normalize: bool, dimensions: int | None = None) -> np.ndarray:
        """The vector, or its first dimensions, brought to a length of 1 if that is asked for."""
