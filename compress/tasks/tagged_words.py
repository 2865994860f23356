"""The words of texts with their tags: what is true of them, and how tags are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compress.tasks import texts
from compress.tasks.split import Split
from compress.tasks.tags import OUTSIDE, entities, is_bio


@dataclass(frozen=True, eq=False)
class WordLabels:
    """What is true of the words that have answers.

    Args:
        ids: Of the words of each window, in order.
        owners: The text that each window is a part of.
        names: What the ids stand for.
    """

    ids: Sequence[np.ndarray]
    owners: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def flat(self) -> np.ndarray:
        """Ids of all words, (words,)."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *self.ids])

    @property
    def ends(self) -> np.ndarray:
        """Where each text's words end among all of them."""
        counts = np.zeros(int(self.owners.max(initial=-1)) + 1, dtype=np.int64)
        np.add.at(counts, self.owners, [len(ids) for ids in self.ids])
        return np.cumsum(counts)


def tags_by_text(said: np.ndarray, targets: WordLabels) -> list[list[str]]:
    """The tags of each text, from ids of all words."""
    names = np.array(targets.names, dtype=object)
    return [names[part].tolist() for part in np.split(said, targets.ends[:-1])]


def marked_spans(split: Split, index: int, tags: Sequence[str], true: Sequence[str]) -> list[tuple[int, int, str, str]]:
    """The entities of a text in its characters, (first, end, type, verdict), in order: "right" or "wrong", and those that are
    "missed" where nothing was found."""
    assert split.words is not None
    predicted, expected = entities(tags), entities(true)
    verdicts = {span: "right" if span in expected else "wrong" for span in predicted}
    taken = {word for _, start, end in predicted for word in range(start, end)}
    verdicts |= {span: "missed" for span in expected if taken.isdisjoint(range(span[1], span[2]))}
    words = split.words[index]
    ends = np.cumsum([len(word) + 1 for word in words]) - 1  # the text is its words with a space between two
    return [
        (int(ends[start] - len(words[start])), int(ends[end - 1]), kind, verdicts[kind, start, end])
        for kind, start, end in sorted(verdicts, key=lambda span: span[1])
        if ends[end - 1] <= texts.SHOWN_LETTERS
    ]


def shown_tags(split: Split, index: int, tags: Sequence[str]) -> str:
    assert split.words is not None
    words = split.words[index]
    if is_bio([*split.names, OUTSIDE]):
        spans = sorted(entities(tags), key=lambda span: span[1])
        return "; ".join(f"{kind}: {' '.join(words[start:end])}" for kind, start, end in spans) or "none"
    return " ".join(f"{word}/{tag}" for word, tag in zip(words, tags, strict=True))[: texts.SHOWN_LETTERS]
