"""Write the word table as a thinner table and a Linear behind it."""

from __future__ import annotations

import logging
from typing import Annotated, Literal

import torch
from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import fits_together, one_of_two, within_range
from compress.errors import InputError, NoEffect
from compress.models.factors import embedding_rank, set_embedding_rank
from compress.models.families import family_of
from compress.models.heads import head_of
from compress.models.surgery import copy_of
from compress.models.traits import why_too_late
from compress.tasks.labelled import Task
from compress.tasks.words import occurrences, texts_of
from compress.training.step_context import StepContext

logger = logging.getLogger(__name__)


def _wrong(rank: int | None, energy: float | None) -> list[str]:
    return one_of_two("rank", rank, "energy", energy)


@within_range
@fits_together(_wrong)
def factorize_embedding(
    model: PreTrainedModel,
    *,
    task: Task,
    rank: Annotated[int | None, Field(ge=1, description="columns of the thinner table; or give energy")] = None,
    energy: Annotated[
        float | None, Field(gt=0, lt=1, description="of the rows' spread that is kept at least; or give rank")
    ] = None,
    weighting: Annotated[
        Literal["frequency", "none"],
        Field(description="whether a row counts as often as its piece occurs in the training part"),
    ] = "frequency",
    run: StepContext | None = None,
) -> PreTrainedModel:
    """Write the word table (pieces, width) as a table (pieces, rank) and a Linear (rank, width), as ALBERT has it.

    More than half of a small BERT is its word table; 30522 x 384 at rank 128 is a third of it. Rows of frequent pieces are
    kept best. What the last columns held is lost: let a `distill` with the embedding's or hidden states' objective follow, in
    which table and Linear learn as one.

    Source: Lan et al. 2020, ALBERT, arXiv 1909.11942, section 3.1 (factorized embedding parameterization).
    Differs: it starts from a trained table, by the principal components of its rows about their mean, weighted by how often
    pieces occur; and LayerNorm stays behind the Linear, where the table's own LayerNorm was.

    Args:
        model: Any with an encoder; stays as it is.
        task: The texts of its training part tell how often pieces occur; the evaluation split is not touched.
        rank: Columns of the table; give this or `energy`. Multiples of 8 suit the kernels, even numbers 4-bit tables.
        energy: The share of the rows' weighted spread about their mean that the rank is to keep; give this or `rank`.
        weighting: With "none" all rows count alike, those that the task never reads too.
        run: Its facts take up the rank and what it keeps.

    Returns:
        The copy. structure.json tells its rank, and `compress.load` loads it.

    Raises:
        InputError: Both or neither of rank and energy are given, the two factors would be no smaller than the table, or the
            model quantizes.
        NoEffect: The table has no more columns than that already.
    """
    run = run or StepContext()
    family_of(model)
    if head_of(model).of_pieces:
        raise InputError(
            "factorize_embedding: the word table of a model of masked-words is what its head multiplies by as well; factorize "
            "it in a recipe of the task that comes after it."
        )
    why = why_too_late(model, "factorize its table", "quantize_aware", "spell_words", "early_exit")
    if why:
        raise InputError(f"factorize_embedding: {why}")
    rows = model.get_input_embeddings().weight.detach().double()
    most = (len(rows) * rows.shape[1] - 1) // sum(rows.shape)
    if run.is_rehearsal:
        return _rehearsed(model, min(rank, most) if rank and run.tiny else rank, most, *rows.shape)
    if weighting == "frequency":
        weights = occurrences(model.tokenizer, texts_of(task.train.require("train")), len(rows))
    else:
        weights = torch.ones(len(rows), dtype=torch.float64)
    mean = (weights @ rows) / weights.sum()
    centred = rows - mean
    values, vectors = torch.linalg.eigh(centred.T @ (weights[:, None] * centred) / weights.sum())
    kept = values.flip(0).clamp(min=0).cumsum(0) / values.clamp(min=0).sum()
    if rank is None:
        assert energy is not None
        rank = int((kept < energy).sum()) + 1
    rank = min(rank, most) if run.tiny else rank  # a tiny model's table has few pieces
    _check(model, rank, most, len(rows), rows.shape[1])
    basis = vectors.flip(1)[:, :rank]
    student = copy_of(model)
    made = set_embedding_rank(student, rank)
    with torch.no_grad():
        made.table.weight.copy_(centred @ basis)
        made.up.weight.copy_(basis)
        made.up.bias.copy_(mean)
    run.facts["embedding"] = {"rank": rank, "energy": float(kept[rank - 1])}
    logger.info(
        "the word table has %d of %d columns, which keep %.2f %% of its rows' spread",
        rank,
        rows.shape[1],
        100 * float(kept[rank - 1]),
    )
    return student.eval()


def _rehearsed(model: PreTrainedModel, rank: int | None, most: int, vocab_size: int, width: int) -> PreTrainedModel:
    """The copy with random factors; the rank that keeps an energy is not known before the table is."""
    if rank is None:
        rank = max(1, min(most, (embedding_rank(model) or width) - 1) // 2)
    _check(model, rank, most, vocab_size, width)
    student = copy_of(model)
    set_embedding_rank(student, rank)
    return student.eval()


def _check(model: PreTrainedModel, rank: int, most: int, vocab_size: int, width: int) -> None:
    columns = embedding_rank(model)
    if columns is not None and rank >= columns:
        raise NoEffect(
            f"factorize_embedding: the table has {columns} columns already, and rank {rank} is no less; use a smaller "
            "rank, or remove the step."
        )
    if rank > most:
        raise InputError(
            f"factorize_embedding: {rank} columns and the Linear behind them would be no smaller than the table "
            f"of {vocab_size} x {width}; use at most {most}."
        )
