"""Cut the width of the residual stream, and with it almost every matrix of the model."""

from __future__ import annotations

import logging
import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.errors import InputError, NoEffect
from compress.models.families import family_of, why_not
from compress.models.heads import check_reads_whole, logits_of
from compress.models.layout import distinct_layers
from compress.models.surgery import copy_of
from compress.models.traits import why_not_cut
from compress.pruning.fisher import drawn_examples
from compress.pruning.residual import Place, channel_sums, coupled_places, keep_channels, narrow, refit_stream
from compress.pruning.width import of_width
from compress.tasks.encoding import Encoded
from compress.tasks.labelled import Task
from compress.training.batches import sorted_batches
from compress.training.compatibility import check_prunable, labels_aligned
from compress.training.device import pick_device
from compress.training.predict import on_device
from compress.training.step_context import StepContext

logger = logging.getLogger(__name__)

BATCH_SIZE = 32
Importance = Literal["magnitude", "taylor", "fisher"]
Width = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)]


@within_range
@labels_aligned()
def prune_width(
    model: PreTrainedModel,
    *,
    width: Annotated[Width, Field(description="channels that stay, or the fraction of them")],
    task: Task,
    importance: Annotated[Importance, Field(description="what tells which channels stay")] = "taylor",
    multiple_of: Annotated[int, Field(ge=1, le=1024, description="what the width is a multiple of")] = 16,
    examples: Annotated[int, Field(ge=1, description="of the training part, that are looked at")] = 512,
    refit: Annotated[bool, Field(description="fit what is left to the model's own states")] = True,
    run: StepContext | None = None,
) -> PreTrainedModel:
    """Cut channels of the residual stream: the hidden size of embeddings, LayerNorms, every layer and the head.

    A channel runs through every layer and goes from all of them at once; torch-pruning's graph of dependencies finds all that
    hold it. What the pooler answers, as wide as the stream, is cut to the same width by an importance of its own. Heads and
    neurons stay as many and as wide. Let a `distill` follow: every state and answer changes.

    Source: Fang et al. 2023, DepGraph, arXiv 2301.12900, section 3 (coupled parameters are scored and removed together);
    Molchanov et al. 2019, arXiv 1906.10771 (first-order importance); Theis et al. 2018, arXiv 1801.05787 (Fisher importance);
    He et al. 2017, arXiv 1707.06168 (what is left is fitted by least squares).
    Differs: importances are summed over the group, neither normalized by layer nor regularized in training before. LayerNorm's
    mean and variance become those of fewer channels; `refit` makes up for it: from the embeddings up, each LayerNorm's gains
    and offsets are fitted to what the model's own answers in the channels that stay, and each Linear behind it reads what of
    the model's whole state a linear map tells from the narrow one.

    Args:
        model: A BERT, DistilBERT or ALBERT; stays as it is.
        width: Of the stream afterwards: a whole number, which `multiple_of` divides, or a fraction of the width before,
            which is rounded to its nearest multiple.
        task: Its training part gives the examples; the evaluation split is not touched.
        importance: What is summed over every parameter w of a channel, with g its gradient of the labels' loss: "magnitude" is
            w², "taylor" |w E[g]| and "fisher" w² E[g²], each example's gradient for itself: the slowest.
        multiple_of: Matrix products are fastest where widths are multiples of 16 or more.
        examples: How many are looked at, drawn by the seed, for gradients and for `refit`; more cost time in proportion.
        refit: Whether LayerNorms and Linears are fitted; without it, tensors are sliced and nothing else. An ALBERT, whose
            layers run several times each, is always sliced only.
        run: Its device computes the gradients, its seed draws the examples.

    Returns:
        The narrower copy. Its heads are as wide as before, which config.json cannot say, so `compress.load` loads it and
        transformers alone does not. num_attention_heads there is the largest number up to the old one that divides the width;
        structure.json tells the true heads.

    Raises:
        InputError: The width does not fit, or the model is a MobileBERT, quantizes, or is for other labels.
        NoEffect: The width would stay.
    """
    run = run or StepContext()
    _check(model, task)
    before: int = model.config.hidden_size
    width = _settled(width, before, multiple_of)
    if run.is_rehearsal:
        return of_width(model, width)
    encoded = drawn_examples(model, task, examples, run.seed)
    student = copy_of(model).requires_grad_(True)
    stream, pooled = coupled_places(student)
    keep, keep_pooled = (
        sums.topk(width).indices.sort().values for sums in _importances(student, (stream, pooled), importance, encoded, run)
    )
    narrow(student, stream, keep)
    if refit and not family_of(model).repeats_layers:
        batches = [on_device(encoded.batch(rows), "cpu") for rows in sorted_batches(encoded.lengths, BATCH_SIZE)]
        refit_stream(model, student, keep, batches)
    keep_channels(pooled, keep_pooled)
    logger.info(
        "prune_width: hidden size %d -> %d, %d -> %d multiply-adds of the layers' Linears for a token",
        before,
        width,
        _products(model),
        _products(student),
    )
    return student


def _check(model: PreTrainedModel, task: Task) -> None:
    why = why_not(model, "narrow") or why_not_cut(model, width=True)
    check_reads_whole("prune_width", model)
    if why:
        raise InputError(f"prune_width: {why}")
    check_prunable("prune_width", model, task)


def _settled(width: int | float, before: int, multiple_of: int) -> int:
    """The number of channels that stay; a fraction half way between two multiples becomes the lower one."""
    if isinstance(width, float):
        settled = max(1, math.ceil(width * before / multiple_of - 0.5)) * multiple_of
        if settled >= before:
            raise NoEffect(
                f"prune_width.width is {width}, which of {before} channels leaves all, rounded to a multiple of "
                f"{multiple_of}; use a smaller fraction or multiple_of, or remove the step."
            )
        return settled
    if width == before:
        raise NoEffect(f"prune_width.width is {width}, as wide as the model is; use less, or remove the step.")
    if width > before:
        raise InputError(f"prune_width.width is {width}, but the model is {before} wide; use less.")
    if width % multiple_of:
        below = width // multiple_of * multiple_of
        near = [size for size in (below, below + multiple_of) if 0 < size < before]
        raise InputError(
            f"prune_width.width is {width}, no multiple of {multiple_of} (multiple_of); use "
            f"{' or '.join([*map(str, near), 'a smaller multiple_of'])}."
        )
    return width


def _importances(
    student: PreTrainedModel, groups: tuple[list[Place], ...], importance: Importance, encoded: Encoded, run: StepContext
) -> list[torch.Tensor]:
    """Each channel's importance in each group; the student keeps no gradient."""
    if importance == "magnitude":
        return [channel_sums(places, lambda weight: weight.detach().square()) for places in groups]
    device = pick_device(run.device)
    student.to(device).eval()
    size = 1 if importance == "fisher" else BATCH_SIZE
    batches, sums = sorted_batches(encoded.lengths, size, encoded.groups), [torch.zeros(1)] * len(groups)
    for done, rows in enumerate(batches, 1):
        logits = logits_of(student(**on_device(encoded.batch(rows), device)))
        targets = encoded.rules.collate(encoded, rows, logits.shape[1]).to(device)
        torch.autograd.backward(encoded.rules.loss(logits, targets, "sum"))
        if importance == "fisher":
            sums = [
                total.to(device) + channel_sums(places, _squared_change) for total, places in zip(sums, groups, strict=True)
            ]
            student.zero_grad()
        run.progress("importance", done, len(batches))
    if importance == "taylor":
        sums = [channel_sums(places, _change) for places in groups]
    student.zero_grad()
    student.to("cpu")
    return [total.cpu() for total in sums]


def _change(weight: nn.Parameter) -> torch.Tensor:
    """How the loss changes, to first order, with each element becoming 0."""
    return torch.zeros_like(weight) if weight.grad is None else (weight.detach() * weight.grad).abs()


def _squared_change(weight: nn.Parameter) -> torch.Tensor:
    return _change(weight).square()


def _products(model: PreTrainedModel) -> int:
    """Elements of the weights of the layers' Linears, a layer that is shared once."""
    modules = [module for layer in distinct_layers(model) for module in layer.modules()]
    return sum(module.weight.numel() for module in modules if isinstance(module, nn.Linear))
