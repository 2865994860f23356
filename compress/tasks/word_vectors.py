"""The words of a task's texts and of a file of vectors, as a vocabulary with a vector for each."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compress.errors import InputError, shown
from compress.models.word_tokenizer import INSIDE, Words
from compress.tasks.data.vector_files import WordVectors, read_vectors
from compress.tasks.tokenizing import portions_of
from compress.tasks.words import counted

logger = logging.getLogger(__name__)

LEAST_COVERAGE = 0.5
SHOWN = 10  # of the words without a vector


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words with their vectors.

    Args:
        tokenizer: Cuts texts into them.
        vectors: By the tokenizer's ids, (tokens, width).
        facts: How many there are of which kind.
    """

    tokenizer: Any
    vectors: torch.Tensor
    facts: dict[str, Any]


def vocabulary_of(path: Path, tokenizer: Any, texts: Sequence[str], most: int) -> Vocabulary:
    """Choose words, and read their vectors.

    The words of the texts come first, the most frequent ones before others, and then those of the file in its order, which is
    that of their frequency in all these files. A word's vector is that of its own row, else of a row that the tokenizer reads
    as this word (in small letters, without accents), else of its small letters; in a file of n-grams that of its n-grams,
    which give also the teacher's pieces inside words theirs, so that words outside the vocabulary are spelled with those. What
    has none starts at the mean.

    Args:
        path: The file; see `read_vectors`.
        tokenizer: The teacher's, which says what a word is.
        texts: Of the task's training part.
        most: Words at most.

    Raises:
        InputError: The file cannot be read, or has a vector for no word of the texts.
    """
    words = Words(tokenizer)
    counts: Counter[str] = Counter()
    for text in texts:
        for portion in portions_of(text):
            counts.update(words.of(portion))
    own = [word for word, _ in counts.most_common(most)]
    chosen = _Chosen(words, own, most - len(own))
    parts = _parts_used(words, texts)
    file = read_vectors(path, chosen, lambda: [*(f"<{word}>" for word in chosen.rowless()), *map(_as_end, parts)])
    known = _vectors(file, chosen)
    if not known.keys() & counts.keys():
        raise InputError(
            f"{path} has a vector for none of the {len(counts)} words of the training texts, such as "
            f"{', '.join(shown(word) for word in own[:3])}; give a file of vectors of these texts' language."
        )
    parts = [part for part in parts if file.composed and (len(part) == len(INSIDE) + 1 or _as_end(part) in file.composed)]
    known |= {part: file.composed[_as_end(part)] for part in parts if _as_end(part) in file.composed}
    cutter = words.tokenizer([*own, *chosen.others, *parts])
    names = cutter.convert_ids_to_tokens(list(range(len(cutter))))
    mean = np.mean(list(known.values()), axis=0, dtype=np.float64).astype(np.float32)
    vectors = np.stack([known.get(name, mean) for name in names])
    facts = _facts(counts, own, chosen, file, parts, known)
    _tell(path, facts)
    return Vocabulary(cutter, torch.from_numpy(vectors), facts)


def _as_end(part: str) -> str:
    """What stands for a piece inside a word where n-grams are asked for: most of such pieces end their word."""
    return f"{part.removeprefix(INSIDE)}>"


def _parts_used(words: Words, texts: Sequence[str]) -> list[str]:
    """The teacher's pieces inside words that its tokenizer cuts the texts to, and all that are a letter."""
    parts = words.parts()
    used = set(words.base.convert_ids_to_tokens(list(counted(words.base, texts)))) if parts else set()
    return [part for part in parts if part in used or len(part) == len(INSIDE) + 1]


class _Chosen:
    """Which words of a file are needed: those of texts, and others while there is room.

    Args:
        words: How texts are cut.
        own: Words of the texts.
        room: For so many others.
    """

    def __init__(self, words: Words, own: Sequence[str], room: int) -> None:
        self.words, self.own, self.room = words, dict.fromkeys(own), room
        self.small = {word.lower() for word in own}
        self.others: dict[str, None] = {}
        self.rows: dict[str, str] = {}

    def __call__(self, name: str) -> bool:
        """Whether a name's row is needed, in the file's order."""
        cut = self.words.of(name)
        if len(cut) != 1:
            return False
        (word,) = cut
        if word not in self.own and word not in self.others:
            if len(self.others) < self.room:
                self.others[word] = None
            elif word not in self.small:
                return False
        is_better = word not in self.rows or (word == name and self.rows[word] != word)
        if is_better:
            self.rows[word] = name
        return is_better

    def row_of(self, word: str) -> str | None:
        """The name of a word's row."""
        return self.rows.get(word) or self.rows.get(word.lower())

    def rowless(self) -> list[str]:
        """The words of the texts that have none."""
        return [word for word in self.own if self.row_of(word) is None]


def _vectors(file: WordVectors, chosen: _Chosen) -> dict[str, np.ndarray]:
    """The vectors of the words that have one."""
    rows = dict(zip(file.words, file.vectors, strict=True))
    known = {word: rows[name] for word in (*chosen.own, *chosen.others) if (name := chosen.row_of(word)) is not None}
    return known | {word: file.composed[f"<{word}>"] for word in chosen.rowless() if f"<{word}>" in file.composed}


def _facts(
    counts: Counter[str],
    own: Sequence[str],
    chosen: _Chosen,
    file: WordVectors,
    parts: Sequence[str],
    known: dict[str, np.ndarray],
) -> dict[str, Any]:
    missing = [word for word in own if word not in known]
    return {
        "width": file.width,
        "words_of_texts": len(own),
        "words_of_file": len(chosen.others),
        "parts_of_words": len(parts),
        "composed": sum(f"<{word}>" in file.composed for word in own),
        "without_vector": len(missing),
        "missed": missing[:SHOWN],
        "coverage": sum(count for word, count in counts.items() if word in known) / counts.total(),
    }


def _tell(path: Path, facts: dict[str, Any]) -> None:
    coverage = facts["coverage"]
    logger.info(
        "%s: %d words of the texts and %d of the file, %d parts of words; of the texts' words %d have a vector of their "
        "n-grams, and %d none, which start at the mean: %s; %.1f %% of the running words have a vector",
        path,
        facts["words_of_texts"],
        facts["words_of_file"],
        facts["parts_of_words"],
        facts["composed"],
        facts["without_vector"],
        ", ".join(facts["missed"]) or "no word",
        100 * coverage,
    )
    if coverage < LEAST_COVERAGE:
        logger.warning(
            "%s has a vector for only %.1f %% of the running words of the training texts (missed: %s); use vectors of texts "
            "like these, or of their language.",
            path,
            100 * coverage,
            ", ".join(facts["missed"]),
        )
