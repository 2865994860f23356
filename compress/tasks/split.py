"""A part of a data set, and what it may be used for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from compress.errors import InputError

Role = Literal["train", "selection", "calibration", "evaluation", "further"]


def spread_over(total: int, count: int) -> np.ndarray:
    """Places of so many of a total, or of all, evenly spread and rising, (chosen,)."""
    count = min(count, total)
    return np.arange(count) * total // max(1, count)


@dataclass(frozen=True, eq=False)
class Split:
    """Examples with one role.

    Args:
        role: What they are for. Only "evaluation" counts as a result, and it is for nothing else; "further" is told beside it.
        texts: The sentences, or the first of each pair.
        pairs: The second sentences; None for single sentences.
        labels: The targets, one for each example; what they are is the kind's, such as label ids, (examples,), int64.
        words: The words of each text, where those have labels of their own.
        names: What the numbers in the targets stand for, where the kind's scores need to know.
        passages: The texts that each of `texts` is read with, one after the other, where those are several; they are as many
            examples for a model.
    """

    role: Role
    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: np.ndarray
    words: tuple[tuple[str, ...], ...] | None = None
    names: tuple[str, ...] = ()
    passages: tuple[tuple[str, ...], ...] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def are_pairs(self) -> bool:
        """Whether a model reads two texts in each example."""
        return self.pairs is not None or self.passages is not None

    def require(self, *roles: Role) -> Split:
        """Return the split itself if it has one of these roles: the guard against learning from evaluation data.

        Raises:
            InputError: It has another role.
        """
        if self.role not in roles:
            raise InputError(
                f"the {self.role} split was given where only {' or '.join(roles)} data may be used; "
                f"pass task.{roles[0]} instead."
            )
        return self

    def pick(self, indices: np.ndarray) -> Split:
        """The examples at these positions, in this order."""
        texts = tuple(self.texts[index] for index in indices)
        pairs = None if self.pairs is None else tuple(self.pairs[index] for index in indices)
        words = None if self.words is None else tuple(self.words[index] for index in indices)
        passages = None if self.passages is None else tuple(self.passages[index] for index in indices)
        return Split(self.role, texts, pairs, self.labels[indices], words, self.names, passages)

    def paired_with(self, pair: str) -> Split:
        """The same texts, each with the same second one."""
        return replace(self, pairs=(pair,) * len(self))

    def take(self, count: int) -> Split:
        """At most `count` examples, evenly spread, so that a file that is sorted by label gives all of its labels.

        Where texts are read with several passages, so many texts as have about that many, and one at least.
        """
        count = min(self.rows_for(count), len(self))
        return self.pick(np.arange(count) * len(self) // max(1, count))

    def rows_for(self, examples: int) -> int:
        """How many rows are about so many examples for a model."""
        if self.passages is None:
            return examples
        return max(1, examples * len(self) // max(1, sum(map(len, self.passages))))
