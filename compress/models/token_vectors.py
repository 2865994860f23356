"""A vector for each piece of a tokenizer, taken from an encoder: what a student without an encoder begins with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from compress.errors import InputError

BATCH_SIZE = 512
SIF = 1e-4


@torch.inference_mode()
def token_vectors(teacher: PreTrainedModel, tokenizer: Any = None) -> torch.Tensor:
    """The encoder's answer to each piece alone: [CLS] piece [SEP], mean of the last layer, (pieces, width).

    Source: Minish Lab, model2vec, https://github.com/MinishLab/model2vec/blob/main/model2vec/distill/inference.py (MIT).

    Args:
        teacher: Has an encoder and a tokenizer.
        tokenizer: The student's; its pieces are spelled out and cut by the teacher's where they are not the teacher's own.
    """
    own = teacher.tokenizer
    begin, end, padding = own.cls_token_id, own.sep_token_id, own.pad_token_id
    rows = [[begin, *token_ids, end] for token_ids in _pieces_of(own, tokenizer, teacher.config.vocab_size)]
    vectors = torch.empty(len(rows), 0)
    order = np.argsort([len(row) for row in rows], kind="stable")
    for start in range(0, len(rows), BATCH_SIZE):
        chosen = order[start : start + BATCH_SIZE]
        lengths = torch.tensor([len(rows[index]) for index in chosen])
        ids = torch.full((len(chosen), int(lengths.max())), padding)
        for place, index in enumerate(chosen):
            ids[place, : lengths[place]] = torch.tensor(rows[index])
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()  # (batch, length)
        hidden = teacher.base_model(input_ids=ids, attention_mask=mask).last_hidden_state
        mean = (hidden * mask[:, :, None]).sum(1) / lengths[:, None]
        if not vectors.numel():
            vectors = torch.empty(len(rows), mean.shape[1])
        vectors[torch.from_numpy(chosen)] = mean.float()
    return vectors


def _pieces_of(own: Any, tokenizer: Any, count: int) -> list[list[int]]:
    """The teacher's pieces for each of the student's."""
    if tokenizer is None or tokenizer.get_vocab() == own.get_vocab():
        return [[index] for index in range(count)]
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    special, vocabulary = set(tokenizer.all_special_tokens), own.get_vocab()
    shared = [[vocabulary[name]] if name in special and name in vocabulary else None for name in names]
    encoded = own(names, add_special_tokens=False)["input_ids"]
    return [same or (cut or [own.unk_token_id])[:64] for same, cut in zip(shared, encoded, strict=True)]


def principal(vectors: torch.Tensor, width: int) -> torch.Tensor:
    """The vectors' `width` principal components, their mean taken out, (pieces, width).

    Raises:
        InputError: There are fewer components than that.
    """
    most = min(vectors.shape)
    if width > most:
        raise InputError(
            f"the width of the word vectors is {width}, but those to start from have {most} components; use at most so many."
        )
    centred = (vectors - vectors.mean(0)).double()
    axes = torch.linalg.eigh(centred.T @ centred).eigenvectors  # the largest last
    axes = axes.flip(1)[:, :width]
    axes = axes * torch.sign(axes[axes.abs().argmax(0), torch.arange(width)])  # one sign on every machine
    return (centred @ axes).float()


def rarity_weights(count: int) -> torch.Tensor:
    """A weight for each piece of a vocabulary sorted by frequency, near 0 for common ones and near 1 for rare ones, (pieces,).

    Source: Arora et al. 2017, "A simple but tough-to-beat baseline for sentence embeddings" (SIF), a = 1e-4; by Zipf's law, as
    in model2vec, the piece of rank r has a probability in proportion to 1 / (r + 2).
    """
    chances = 1 / torch.arange(2, count + 2, dtype=torch.float64)
    chances = chances / chances.sum()
    return (SIF / (SIF + chances)).float()
