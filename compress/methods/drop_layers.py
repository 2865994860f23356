"""Keep some of the encoder's layers."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import fits_together, one_of_two, within_range
from compress.errors import InputError, NoEffect
from compress.models.layout import decoder_layers, encoder_layers
from compress.models.students import spread_layers
from compress.models.surgery import copy_of, keep_layers
from compress.pruning.importance import layer_similarity
from compress.tasks.labelled import Task
from compress.training.compatibility import labels_aligned
from compress.training.device import pick_device
from compress.training.step_context import StepContext

logger = logging.getLogger(__name__)

LayerIndex = Annotated[int, Field(ge=0)]
Strategy = Literal["top", "alternate", "symmetric", "bottom", "contribution"]


def _wrong(keep: list[int] | None, layers: int | None, by: Strategy | None) -> list[str]:
    wrong = one_of_two("keep", keep, "layers", layers, hint=": which layers stay, or how many")
    if wrong:
        return wrong
    return [f"by is {by}, but keep names the layers; give layers in place of keep, or no by."] if by and layers is None else []


@within_range
@fits_together(_wrong)
@labels_aligned()
def drop_layers(
    model: PreTrainedModel,
    *,
    keep: Annotated[
        list[LayerIndex] | None,
        Field(min_length=1, description="layers to keep, counted from 0, in rising order; or give layers"),
    ] = None,
    layers: Annotated[int | None, Field(ge=1, description="how many to keep; `by` tells which; or give keep")] = None,
    by: Annotated[Strategy | None, Field(description="which layers go; null: top")] = None,
    part: Annotated[Literal["encoder", "decoder"], Field(description="of a model that writes, whose layers go")] = "encoder",
    task: Task | None = None,
    run: StepContext | None = None,
) -> PreTrainedModel:
    """Copy the model with some of its layers only; embeddings and head stay.

    Source: Sajjad et al. 2020, "On the effect of dropping layers", arXiv 2004.03844, section 3; Sanh et al. 2019, DistilBERT,
    arXiv 1910.01108, section 2 (every second layer). Accuracy falls until the copy is trained again, best with `distill`.
    Differs: contribution removes as many layers as asked, and not those above a threshold.

    Args:
        model: Stays as it is.
        keep: Indices of the layers to keep, counted from 0, in rising order. Fewer layers are faster in proportion.
        layers: How many to keep, with `by`.
        by: "top" removes the last ones, which fine-tuning needs least in the paper; "bottom" the first ones; "symmetric" those
            in the middle; "alternate" keeps evenly spread ones; "contribution" removes those whose answers are most similar to
            what they read, measured on the task's calibration part.
        part: The layers of the "decoder" cost their time again for each token that is written.
        task: For contribution.
        run: Its device measures the contribution.

    Returns:
        The shallower copy.

    Raises:
        InputError: Not one of keep and layers is given, an index is not in the model, or they do not rise.
        NoEffect: All layers would be kept.
    """
    count = len(encoder_layers(model) if part == "encoder" else decoder_layers(model))
    if not count:
        raise InputError(f"drop_layers: this {model.config.model_type} has no {part} layers; remove the step.")
    if keep is not None:
        _check(keep, count)
        return keep_layers(model, keep, part)
    assert layers is not None
    if layers > count:
        raise InputError(f"drop_layers.layers is {layers}, but the model has {count}; use less.")
    if layers == count:
        raise NoEffect(f"drop_layers.layers is {layers}, as many as the model has; use less, or remove the step.")
    if by == "contribution" and part == "decoder":
        raise InputError("drop_layers.by is contribution, which is measured on encoder layers alone; use another.")
    chosen = _chosen(model, count, layers, by or "top", task, run or StepContext())
    logger.info("layers %s of %d stay", chosen, count)
    return keep_layers(model, chosen, part)


def _check(keep: list[int], count: int) -> None:
    outside = [index for index in keep if index >= count]
    if outside:
        shown = ", ".join(map(str, outside))
        raise InputError(f"drop_layers.keep names layer {shown}, but the model has 0 to {count - 1}; name some of these.")
    if any(later <= earlier for earlier, later in pairwise(keep)):
        raise InputError(f"drop_layers.keep is {keep}; name each layer once, in rising order: {sorted(set(keep))}.")
    if len(keep) == count:
        raise NoEffect(f"drop_layers.keep names all {count} layers; leave some out, or remove the step.")


def _chosen(model: PreTrainedModel, count: int, layers: int, by: Strategy, task: Task | None, run: StepContext) -> list[int]:
    """The layers that stay, rising."""
    if by == "top":
        return list(range(layers))
    if by == "bottom":
        return list(range(count - layers, count))
    if by == "symmetric":
        below = (layers + 1) // 2
        return [*range(below), *range(count - (layers - below), count)]
    if by == "alternate":
        return spread_layers(layers, count)
    if task is None:
        raise InputError("drop_layers.by is contribution, which is measured on a task; give one.")
    task.calibration.require("calibration")
    if run.is_rehearsal:
        first = run.guess.among(count)
        return sorted((first + step) % count for step in range(layers))
    device = pick_device(run.device)
    reader = copy_of(model).to(device).eval()
    encoded = task.read_by(model).encode(task.calibration.require("calibration"), model.tokenizer)
    similar = layer_similarity(reader, encoded, device, run.progress)
    logger.info("cosines between what layers read and answer: %s", ", ".join(f"{value:.3f}" for value in similar))
    run.facts["similarity"] = similar
    return sorted(sorted(range(count), key=lambda index: (similar[index], index))[:layers])
