"""Sentences as token ids, unpadded until they are put into a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from compress.errors import InputError
from compress.runtimes.writing import GIVEN_MASK
from compress.tasks import DEFAULT_KIND
from compress.tasks.kind import TaskKind, load_kind
from compress.tasks.masked_pieces import KEPT, kept
from compress.tasks.split import Role
from compress.tasks.written import Written

if TYPE_CHECKING:
    import torch

TOKENS_AT_ONCE = 1024
"""Of a batch with an output for each of some 30,000 pieces: 125 MB."""
FIRST_OF_GROUP = 8
"""Of a group that is looked at for what padding does: enough for a flip to show, and few enough for many groups."""
IGNORED = -100
"""Of tokens whose outputs are not learned."""


def features_of(layer: int) -> str:
    """What a batch calls what a layer that does not learn answers to its examples."""
    return f"features_{layer}"


class Features(Protocol):
    """What layers that do not learn answer to examples."""

    def batch(self, indices: np.ndarray, length: int) -> torch.Tensor:
        """Of some examples, padded with 0, (examples, length or 1, width)."""


@dataclass(frozen=True, eq=False)
class Encoded:
    """Token ids of a split.

    Args:
        input_ids: One list per example, special tokens included.
        token_type_ids: The same, 0 for the first sentence and 1 for the second; None if the tokenizer gives none.
        labels: The targets, as the task's kind holds them; see `compress.tasks.kind`.
        truncated: Examples that were longer than allowed and lost their end.
        pad_token_id: Fills batches up.
        role: The split's.
        places: The tokens of each example that the answers belong to; None where they belong to the whole.
        kind: Of the task.
        groups: The number of the group that each example is of, rising from 0, (examples,), where some are learned and judged
            together, as the passages of one query are; None where each stands for itself.
        written: The texts that are given to a model that writes, so that it scores their tokens; None where it answers alone.
        hides: Fraction of the pieces that are masked anew in each step of training, and learned; 0 where none are. Those at
            `places` are masked elsewhere.
        features: By their number, counted from 1, what layers that do not learn answer to the examples; the others compute it.
    """

    input_ids: list[list[int]]
    token_type_ids: list[list[int]] | None
    labels: Any
    truncated: int
    pad_token_id: int
    role: Role
    places: Sequence[np.ndarray] | None = None
    kind: str = DEFAULT_KIND
    groups: np.ndarray | None = None
    written: Written | None = None
    hides: float = 0.0
    features: Mapping[int, Features] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def rules(self) -> TaskKind:
        """What the task's kind says of the targets and of answers."""
        return load_kind(self.kind)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each example, (examples,)."""
        return np.array([len(ids) for ids in self.input_ids], dtype=np.int64)

    @property
    def unwritten(self) -> Encoded:
        """The same examples without the texts that a model would be given, which writes its own then."""
        return self if self.written is None else replace(self, written=None)

    def over(self, token_ids: np.ndarray) -> Encoded:
        """The same examples with ids that are places in `token_ids`, rising ids of all that they hold."""
        place = {token: number for number, token in enumerate(token_ids.tolist())}
        ids = [[place[token] for token in row] for row in self.input_ids]
        return replace(self, input_ids=ids, pad_token_id=place[self.pad_token_id])

    def batch(self, indices: Sequence[int] | np.ndarray, pad_to: int | None = None) -> dict[str, np.ndarray]:
        """Pad some examples to the longest of them, or to `pad_to` tokens; int64 arrays of (examples, length)."""
        rows = [self.input_ids[index] for index in indices]
        shape = (len(rows), max(pad_to or 0, *(len(row) for row in rows), 1))
        ids = np.full(shape, self.pad_token_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        batch = {"input_ids": ids, "attention_mask": mask}
        if self.token_type_ids is not None:
            types = np.zeros(shape, dtype=np.int64)
            for number, index in enumerate(indices):
                types[number, : len(rows[number])] = self.token_type_ids[index]
            batch["token_type_ids"] = types
        for layer, features in self.features.items():
            batch[features_of(layer)] = features.batch(np.asarray(indices), shape[1]).numpy()
        return batch if self.written is None else batch | self.written.batch(indices)

    def answering(self, indices: np.ndarray, length: int) -> np.ndarray | None:
        """Mark the tokens that answers belong to, (examples, length); None where answers belong to whole examples."""
        if self.places is None:
            return None
        marked = np.zeros((len(indices), length), dtype=bool)
        for row, index in enumerate(indices):
            marked[row, self.places[index]] = True
        return marked

    def answered(self, indices: np.ndarray, batch: Mapping[str, Any]) -> Any:
        """Mark which tokens of a batch of these examples have answers that count, as `answered_mask` does; of pieces those
        that are masked."""
        if not self.rules.head.of_pieces:
            return answered_mask(batch)
        marks = self.answering(indices, batch["input_ids"].shape[1])
        assert marks is not None
        return marks

    @property
    def tokens_at_once(self) -> int | None:
        """Tokens of a batch, where each has so many outputs that more would not fit into the memory."""
        return TOKENS_AT_ONCE if self.rules.head.of_pieces else None

    def spread(self, count: int) -> np.ndarray:
        """Choose about so many examples, evenly spread, rising, (chosen,); of groups the first few of each that is chosen."""
        if self.groups is None:
            return np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(np.int64)
        starts = np.flatnonzero(np.diff(self.groups, prepend=-1))
        near = np.flatnonzero(np.arange(len(self)) - starts[self.groups] < FIRST_OF_GROUP)
        wanted = max(1, count * len(starts) // max(1, len(near)))
        groups = np.linspace(0, len(starts) - 1, min(wanted, len(starts))).round()
        return near[np.isin(self.groups[near], groups)]

    def ids_at_places(self, indices: np.ndarray, length: int) -> torch.Tensor:
        """Put the ids of the labels at the examples' places, and IGNORED elsewhere, (batch, length)."""
        import torch

        assert self.places is not None
        ids = torch.full((len(indices), length), IGNORED, dtype=torch.long)
        for row, index in enumerate(indices):
            ids[row, torch.from_numpy(self.places[index])] = torch.from_numpy(self.labels.ids[index])
        return ids

    def rows_together(self, indices: np.ndarray) -> np.ndarray | None:
        """How many rows of a batch's outputs answer together, for examples in this order: those of an example's tokens, those
        of neighbours that are of one group, or one each; None where each row is what a model has written."""
        if self.rules.head.writes:
            return None if self.written is None else self.written.lengths[indices]
        if self.places is not None and self.rules.head.of_pieces:
            return np.array([len(self.places[index]) for index in indices], dtype=np.int64)
        if self.places is not None:
            return self.lengths[indices]
        if self.groups is None:
            return np.ones(len(indices), dtype=np.int64)
        starts = np.flatnonzero(np.diff(self.groups[indices], prepend=-1))
        return np.diff(starts, append=len(indices))


def read_by(*parts: Encoded) -> np.ndarray:
    """The ids that stand in these examples, the padding's included, rising, (pieces,)."""
    ids = {part.pad_token_id for part in parts}
    return np.array(sorted(ids.union(*(row for part in parts for row in part.input_ids))), dtype=np.int64)


def padding_of(tokenizer: Any) -> int:
    """The id of the token that a tokenizer pads with.

    Raises:
        InputError: It has none.
    """
    if tokenizer.pad_token_id is None:
        raise InputError("the tokenizer has no padding token; set pad_token in its tokenizer_config.json.")
    padding: int = tokenizer.pad_token_id
    return padding


class Gathered:
    """Answers to examples as batches bring them, put into the examples' order: rows (examples or places, outputs); of pieces
    what `masked_pieces.kept` keeps."""

    def __init__(self, encoded: Encoded, width: int | None = None) -> None:
        counts = np.ones(len(encoded), dtype=np.int64) if encoded.places is None else np.array([*map(len, encoded.places)])
        width = KEPT if encoded.rules.head.of_pieces else width
        self.encoded = encoded
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        self.rows: np.ndarray | None = None if width is None else self._empty(width)

    def _empty(self, width: int) -> np.ndarray:
        return np.zeros((int(self.starts[-1]), width), dtype=np.float32)

    def put(self, indices: np.ndarray, outputs: np.ndarray) -> None:
        """Take what a model says of the examples at `indices`, (batch, outputs) or (batch, length, outputs)."""
        if self.rows is None:
            self.rows = self._empty(outputs.shape[-1])
        places = self.encoded.places
        if places is None:
            self.rows[indices] = outputs
            return
        self.put_rows(indices, np.concatenate([outputs[row, places[index]] for row, index in enumerate(indices)]))

    def put_rows(self, indices: np.ndarray, outputs: np.ndarray) -> None:
        """Take what a model says at the places of the examples at `indices`, one behind the other, (places, outputs)."""
        assert self.rows is not None
        if self.encoded.rules.head.of_pieces:
            outputs = kept(outputs, self.encoded.labels.of(indices))
        ends = np.cumsum(self.starts[indices + 1] - self.starts[indices])
        for index, rows in zip(indices, np.split(outputs, ends[:-1]), strict=True):
            self.rows[self.starts[index] : self.starts[index + 1]] = rows


def answered_mask(batch: Mapping[str, Any]) -> Any:
    """Which tokens of a batch have answers, where tokens have: those that are given to a model that writes, else all that are
    read, (batch, length)."""
    return batch.get(GIVEN_MASK, batch["attention_mask"])


def rows_of(outputs: np.ndarray, attention_mask: np.ndarray) -> np.ndarray:
    """Every row of a batch's outputs that belongs to a text or to a token that is no padding, (rows, outputs)."""
    return outputs[attention_mask.astype(bool)] if outputs.ndim == 3 else outputs
