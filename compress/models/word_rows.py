"""Train the rows of the word table that the text reads, and leave the others out of it.

More than half of a small BERT's weights are its word table, most of whose rows stand for pieces that a task's text never uses.
They learn nothing, but each step of training would zero their gradients, measure the norm of these, and read and write their
moments, which on a CPU is a good part of what a step costs however short its sentences are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from compress.models.factors import word_table
from compress.models.families import known_family
from compress.models.spelled import spelled_of


def rows_of(model: PreTrainedModel, read: np.ndarray) -> np.ndarray:
    """The rows to train where the text reads these: no other ones, but for such that keep their number, and all where the
    model hashes the ids (`hashes_ids`), or where its head reads the table.

    Args:
        model: Has the word table.
        read: Rising ids of pieces, (rows,).
    """
    if getattr(model, "hashes_ids", False) or _stays_whole(model):
        return np.arange(model.config.vocab_size)
    numbered = getattr(known_family(model), "numbered", 0)
    return np.union1d(read, np.arange(numbered)).astype(read.dtype)


def _stays_whole(model: PreTrainedModel) -> bool:
    """Whether the head reads the table, or a network stands in its place."""
    return model.get_output_embeddings() is not None or spelled_of(model) is not None


@contextlib.contextmanager
def word_rows(model: PreTrainedModel, ids: torch.Tensor) -> Iterator[None]:
    """Let the model's word table hold these pieces' rows only; input ids inside are places in `ids`.

    Afterwards the table is whole again, with those rows as they have become and every other one as it was.

    Args:
        model: Is changed inside; where its head reads the table, that has to stay whole, and nothing is changed.
        ids: Rising ids of pieces, (rows,).
    """
    if _stays_whole(model):
        assert len(ids) == model.config.vocab_size
        yield
        return
    table = word_table(model)
    whole, padding = table.weight, table.padding_idx
    assert isinstance(whole, nn.Parameter)
    rows = ids.tolist()
    _set_rows(table, nn.Parameter(whole.detach()[ids]), rows.index(padding) if padding in rows else None)
    try:
        yield
    finally:
        with torch.no_grad():
            whole[ids] = table.weight.to(whole.device)
        _set_rows(table, whole, padding)


def _set_rows(table: nn.Embedding, weight: nn.Parameter, padding: int | None) -> None:
    table.weight, table.num_embeddings, table.padding_idx = weight, len(weight), padding
