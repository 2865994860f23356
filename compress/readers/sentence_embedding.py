"""A vector for a text, or how alike two texts are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from compress.errors import InputError, shown
from compress.facts import read_json
from compress.readers.cutting import Cutter
from compress.readers.folder import Folder
from compress.readers.reader import Cut, Item, Piece, Takes
from compress.runtimes.tokenizer_file import TOKENIZER

SETTINGS = "config_sentence_transformers.json"
SHORTEST = 1e-12


class Answer(TypedDict, total=False):
    """The vector of a text, as the model gives it; of a pair the cosine of both vectors."""

    vector: list[float]
    similarity: float


class SentenceEmbeddingReader:
    """Reads outputs (dimensions,) as a vector."""

    takes: Takes = "a text or a pair"
    answers = Answer
    most_at_once = tokens_at_once = None

    def __init__(self, folder: Folder) -> None:
        path = folder.path / SETTINGS
        settings: Mapping[str, Any] = read_json(path) if path.is_file() else {}
        prompts, default = settings.get("prompts") or {}, settings.get("default_prompt_name")
        if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
            raise InputError(f"{path}: prompts is {shown(prompts)}; an object from names to texts is needed.")
        if default is not None and default not in prompts:
            raise InputError(f"{path}: default_prompt_name is {shown(default)}, which prompts does not name.")
        self.prompts: Mapping[str, str] = prompts
        self._default = prompts[default] if default is not None else ""
        self._cutter = Cutter(folder.path / TOKENIZER, folder.max_length)

    def pieces(self, item: Item, cut: Cut) -> list[Piece]:
        """One, or two of a pair; each text behind the prompt."""
        prompt = self._default if item.prompt is None else self.prompts[item.prompt]
        texts = [text for text in (item.text, item.pair) if text is not None]
        return [self._cutter.piece(Item(prompt + text.strip()), cut) for text in texts]

    def reduce(self, piece: Piece, outputs: np.ndarray) -> np.ndarray:
        """Keep the vector."""
        return outputs.copy()

    def vector(self, reduced: np.ndarray, *, normalize: bool, dimensions: int | None = None) -> np.ndarray:
        """The vector, or its first dimensions, brought to a length of 1 if that is asked for."""
        vector = reduced[:dimensions]
        return np.asarray(vector / max(float(np.linalg.norm(vector)), SHORTEST) if normalize else vector)

    def answer(self, item: Item, pieces: Sequence[Piece], reduced: Sequence[np.ndarray]) -> Answer:
        """The vector or the cosine."""
        if len(reduced) == 1:
            return {"vector": reduced[0].tolist()}
        first, second = (self.vector(vector, normalize=True) for vector in reduced)
        return {"similarity": float(first @ second)}


READER = SentenceEmbeddingReader
