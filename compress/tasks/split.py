"""A part of a data set, and what it may be used for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from compress.errors import InputError

Role = Literal["train", "selection", "calibration", "evaluation"]


@dataclass(frozen=True, eq=False)
class Split:
    """Examples with one role.

    Args:
        role: What they are for. Only "evaluation" counts as a result, and it is for nothing else.
        texts: The sentences, or the first of each pair.
        pairs: The second sentences; None for single sentences.
        labels: Label ids, (examples,), int64.
    """

    role: Role
    texts: tuple[str, ...]
    pairs: tuple[str, ...] | None
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

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
        return Split(self.role, texts, pairs, self.labels[indices])

    def take(self, count: int) -> Split:
        """At most `count` examples, evenly spread, so that a file that is sorted by label gives all of its labels."""
        count = min(count, len(self))
        return self.pick(np.arange(count) * len(self) // max(1, count))
