"""Remove single weights, blocks of them, or heads and neurons, while the model is trained."""

from __future__ import annotations

import logging
import zlib
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Unpack

import torch
from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import fits_together, within_range
from compress.errors import InputError, NoEffect
from compress.models.layout import distinct_layers, head_count, neuron_count
from compress.models.surgery import copy_of
from compress.models.traits import why_not_cut
from compress.objectives.outputs import Batch, Outputs
from compress.pruning.guesses import cut_to, left_unevenly
from compress.pruning.masks import SCORES, Mask, UnitShape, burn_in, masked_linears, with_masks
from compress.pruning.sparsity import (
    Importance,
    count_removed,
    mean_open,
    ranked_together,
    removed_by,
    set_masks,
    units_removed,
)
from compress.pruning.unused import without_unused
from compress.tasks.labelled import Task
from compress.training.compatibility import check_fit, labels_aligned
from compress.training.loop import train
from compress.training.settings import Epochs, LearningRate, TrainingKnobs, settings_of
from compress.training.step_context import Guess, StepContext
from compress.training.teaching import Distillation, Objectives, Temperature, training_loss_of

logger = logging.getLogger(__name__)

Side = Annotated[int, Field(ge=1, le=1 << 16)]


def _wrong(
    importance: str, shape: str, block: list[int] | None, penalty: float | None, pruned_from: float, pruned_by: float
) -> list[str]:
    problems = []
    if (shape == "block") != (block is not None):
        problems.append(f"block is {block}, but shape is {shape}; give block for shape block, and for no other.")
    if penalty is not None and importance != "soft_movement":
        problems.append(f"penalty is {penalty}, but importance is {importance}; only soft_movement has one.")
    if pruned_from >= pruned_by:
        problems.append(f"pruned_from is {pruned_from}, but pruned_by is {pruned_by}; begin before the end.")
    return problems


@within_range
@fits_together(_wrong)
@labels_aligned()
def prune_weights(
    model: PreTrainedModel,
    *,
    task: Task,
    fraction: Annotated[float, Field(gt=0, lt=1, description="of the units of the encoder that is removed in the end")],
    importance: Annotated[Importance, Field(description="what tells which units go")] = "magnitude",
    shape: Annotated[UnitShape, Field(description="units: weights, blocks, or whole heads and neurons")] = "weight",
    block: Annotated[
        list[Side] | None, Field(min_length=2, max_length=2, description="rows and columns of a block, for shape block")
    ] = None,
    teacher: PreTrainedModel | None = None,
    objectives: Objectives | None = None,
    temperature: Temperature = 2.0,
    penalty: Annotated[
        float | None, Field(ge=0, description="weight of the scores' mean sigmoid, for soft_movement; null: 100")
    ] = None,
    score_learning_rate: Annotated[float, Field(gt=0, lt=1, description="highest rate of the scores")] = 1e-2,
    pruned_from: Annotated[float, Field(ge=0, lt=1, description="fraction of the steps before the first is removed")] = 0.1,
    pruned_by: Annotated[float, Field(gt=0, le=1, description="fraction of the steps after which all are removed")] = 0.7,
    epochs: Epochs = 5,
    learning_rate: LearningRate = 1e-4,
    run: StepContext | None = None,
    **knobs: Unpack[TrainingKnobs],
) -> PreTrainedModel:
    """Train a copy while ever more weights of its encoder become zero, one by one, in blocks, or by whole heads and neurons.

    Heads and neurons that blocks, heads or rows leave without a weight are removed for real. Other zeros stay zeros: they make
    the file smaller when it is compressed, and no dense runtime faster; a step that trains afterwards fills them again.

    Source: Gordon et al. 2020, arXiv 2002.08307 (magnitude); Sanh et al. 2020, "Movement Pruning", arXiv 2005.07683
    (movement, soft movement, the cubic schedule); Lagunas et al. 2021, "Block Pruning For Faster Transformers", arXiv
    2109.04838 (blocks; heads and rows).
    Differs: soft movement has no fixed threshold: it is where the wanted fraction of all units of a kind goes, over all
    layers, so that the sparsity is the one that was asked for; a matrix keeps 0.5 % and one unit at least. Only an epoch
    that has ended with all removed can be picked.

    Args:
        model: Fine-tuned or not; stays as it is.
        task: Learned from; the evaluation split is not touched.
        fraction: Of the weights, blocks, or heads and neurons: of each matrix (each layer) for magnitude and movement, of all
            together for soft movement. The embeddings and the head are not pruned.
        importance: "magnitude" removes units of the smallest norm; "movement" those of the lowest scores, which learn from
            weight times gradient, so that what training moves towards zero goes (better where most goes); "soft_movement"
            compares scores over all layers, and pulls them down by `penalty`.
        shape: "weight"; "block"; or "head_row": heads and neurons, which makes the model faster.
        block: Rows and columns of a block, [32, 32] or [4, 1]; they divide every Linear of the encoder.
        teacher: A model to learn from as well, most often the one that comes in.
        objectives: Objective -> weight; labels alone without a teacher, else logits 0.9 and labels 0.1.
        temperature: T of the logits objective.
        penalty: Weight of the mean of the scores' sigmoids, for soft movement; more lets undecided units go sooner.
        score_learning_rate: Highest rate of the scores; magnitude has none.
        pruned_from: Up to here the model is trained whole.
        pruned_by: From here on the fraction stays and the rest settles.
        epochs: Passes over the training part.
        learning_rate: Highest rate of AdamW.
        average: Last fraction of the steps whose weights are averaged into the result, under the last masks.
        patience: Epochs without a better selection metric before stopping; they count once all is removed.
        run: Seed, device, checkpoints and progress.
        **knobs: How to train; see `TrainingKnobs`.

    Returns:
        The trained copy with its zeros.

    Raises:
        InputError: The model quantizes or has no encoder, an option does not fit the others, or blocks do not fit the model.
        NoEffect: The fraction is less than one unit.
        CompressError: The loss is not finite.
    """
    run = run or StepContext()
    _check(model)
    try:
        student = with_masks(model, shape=shape, block=block or (1, 1), learned=importance != "magnitude")
    except InputError as err:
        raise InputError(f"prune_weights: {err}") from err
    if not any(count_removed(masks, fraction) for masks in ranked_together(masked_linears(student), importance)):
        raise NoEffect(
            f"prune_weights.fraction is {fraction}, less than half a unit of every matrix; remove more, or less at a time."
        )
    wanted = objectives or ({"logits": 0.9, "labels": 0.1} if teacher is not None else {"labels": 1.0})
    goal = training_loss_of(
        "prune_weights", wanted, Distillation(temperature), student=model, teacher=teacher, task=task, run=run
    )
    if run.is_rehearsal:
        check_fit(model, task)
        return _rehearsed(model, importance, shape, fraction, run.guess)
    live: list[Mask] = []
    terms = dict(goal.terms)
    if importance == "soft_movement":
        terms["penalty"] = (100.0 if penalty is None else penalty, partial(_penalty, live))
    goal = replace(goal, terms=terms, rates={SCORES: score_learning_rate}, picks_from=pruned_by)
    settings = settings_of(epochs, learning_rate, **knobs)
    before_step = partial(_mask, live, importance=importance, fraction=fraction, begin=pruned_from, end=pruned_by)
    trained = train(student, task=task, settings=settings, goal=goal, run=run, before_step=before_step)
    burn_in(trained)
    pruned, heads, neurons = without_unused(trained)
    result = trained if shape == "weight" else pruned
    _tell(run, model, result, heads, neurons)
    return result.eval()


def _rehearsed(
    model: PreTrainedModel, importance: Importance, shape: UnitShape, fraction: float, guess: Guess
) -> PreTrainedModel:
    """The copy without the heads and neurons that go: so many of each layer, or nobody knows of which, or none at all."""
    layers = distinct_layers(model)
    heads, neurons = [head_count(layer) for layer in layers], [neuron_count(layer) for layer in layers]
    if shape == "head_row" and importance != "soft_movement":
        return cut_to(
            model, *([count and count - units_removed([count], fraction) for count in counts] for counts in (heads, neurons))
        )
    chosen = guess.among(len(layers) + (shape == "block")) if shape != "weight" else len(layers)
    if chosen == len(layers):
        return copy_of(model).eval()
    return cut_to(
        model, *(left_unevenly(counts, units_removed(counts, fraction), chosen, at_least=1) for counts in (heads, neurons))
    )


def _check(model: PreTrainedModel) -> None:
    if not distinct_layers(model):
        raise InputError(f"prune_weights: a {model.config.model_type} has no encoder; remove the step.")
    why = why_not_cut(model)
    if why:
        raise InputError(f"prune_weights: {why}")


def _mask(
    live: list[Mask],
    student: PreTrainedModel,
    step: int,
    total: int,
    *,
    importance: Importance,
    fraction: float,
    begin: float,
    end: float,
) -> None:
    """Set the masks of this step, and let the penalty see them."""
    live[:] = masked_linears(student)
    set_masks(student, importance, removed_by(fraction, step, total, begin, end))


def _penalty(live: list[Mask], student: Outputs, teacher: Outputs | None, batch: Batch) -> torch.Tensor:
    return mean_open(live)


def _tell(run: StepContext, model: PreTrainedModel, pruned: PreTrainedModel, heads: int, neurons: int) -> None:
    zeros, weights = (
        sum(count(tensor) for layer in distinct_layers(pruned) for tensor in layer.parameters() if tensor.ndim > 1)
        for count in (_zeros, torch.numel)
    )
    before, after = _compressed_bytes(model), _compressed_bytes(pruned)
    run.facts.update(
        zeros=zeros / max(1, weights),
        removable_heads=heads,
        removable_neurons=neurons,
        compressed_bytes_before=before,
        compressed_bytes=after,
    )
    logger.info(
        "%d heads and %d neurons have no weights left; of the encoder's weights now %.1f %% are zeros; compressed by "
        "zlib, the model has %.1f MB, before %.1f MB",
        heads,
        neurons,
        100 * zeros / max(1, weights),
        after / 1e6,
        before / 1e6,
    )
    if zeros:
        logger.warning(
            "zeros make the compressed file smaller, and no dense runtime faster; for speed use "
            "prune_weights with shape head_row, or prune_after_training"
        )


def _zeros(tensor: torch.Tensor) -> int:
    return int((tensor == 0).sum())


def _compressed_bytes(model: PreTrainedModel) -> int:
    """What the weights take when each is compressed at zlib's fastest level."""
    tensors: list[Any] = list(model.state_dict().values())
    return sum(len(zlib.compress(tensor.contiguous().numpy().tobytes(), 1)) for tensor in tensors)
