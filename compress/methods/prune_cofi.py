"""Learn which parts of an encoder to leave out, large and small ones at once, while its teacher teaches the rest."""

from __future__ import annotations

import logging
import math
from contextlib import ExitStack
from functools import partial
from typing import Annotated, Any, Unpack

import torch
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.errors import InputError
from compress.models.families import can, family_of
from compress.models.layout import distinct_layers, encoder_layers
from compress.models.surgery import keep_heads, keep_neurons
from compress.models.traits import why_not_cut
from compress.objectives.logits import logits
from compress.pruning.gates import fold_gates
from compress.pruning.guesses import with_fewer
from compress.pruning.layer_matching import matched_layers
from compress.pruning.structure_masks import Gates, StructureMasks, encoder_parameters, layer_costs
from compress.pruning.width import fold_width, keep_width, of_width, refuse_width
from compress.tasks.labelled import Task
from compress.training.compatibility import check_fit, labels_aligned
from compress.training.loop import train
from compress.training.objective_fit import check_labels, check_vocabularies
from compress.training.projection import fitted_projection
from compress.training.settings import Epochs, LearningRate, StepKnobs, settings_of
from compress.training.step_context import Guess, StepContext
from compress.training.teaching import (
    Distillation,
    TeacherCacheBytes,
    Temperature,
    answers_of,
    check_room,
)
from compress.training.training_loss import TrainingLoss

logger = logging.getLogger(__name__)

TAUGHT = 4  # layers of the teacher, as in the paper
MISSED = 0.02  # of the encoder's parameters, that a result may be off without a word


@within_range
@labels_aligned()
def prune_cofi(
    model: PreTrainedModel,
    *,
    teacher: PreTrainedModel,
    task: Task,
    fraction: Annotated[float, Field(gt=0, lt=1, description="of the encoder's parameters to leave out")],
    width: Annotated[bool, Field(description="leave out dimensions of the states between layers too")] = False,
    multiple_of: Annotated[
        int, Field(ge=1, le=1024, description="numbers of neurons, and the width, are multiples of it")
    ] = 8,
    temperature: Temperature = 2.0,
    alpha: Annotated[float, Field(gt=0, lt=1, description="weight of the layers' loss; the rest is the logits'")] = 0.9,
    teacher_layers: Annotated[
        list[Annotated[int, Field(ge=1)]] | None,
        Field(min_length=1, description="layers of the teacher to learn from, counted from 1; null: four, evenly spread"),
    ] = None,
    mask_learning_rate: Annotated[
        float, Field(gt=0, lt=1, description="highest learning rate of masks and multipliers")
    ] = 0.02,
    reached_by: Annotated[
        float, Field(ge=0, le=1, description="fraction of the steps in which the asked sparsity rises to fraction")
    ] = 0.2,
    teacher_cache_bytes: TeacherCacheBytes = 4_000_000_000,
    epochs: Epochs = 5,
    learning_rate: LearningRate = 1e-4,
    run: StepContext | None = None,
    **knobs: Unpack[StepKnobs],
) -> PreTrainedModel:
    """Prune attentions, heads, feed-forward parts and neurons to a given size, learning under a teacher which of them can go.

    Each part has a gate that is drawn in every step and learns how often it is open (hard concrete); a Lagrangian holds the
    parameters that are left on average to the target. Layers of the teacher teach the student's nearest ones that are alive.
    In the end the likeliest gates stay, are multiplied into the weights, and the rest is cut away. Let a `distill` follow.

    Source: Xia et al. 2022, "Structured pruning learns compact and accurate models" (CoFi), arXiv 2204.00408, sections 3.1
    and 3.2; code at github.com/princeton-nlp/CoFiPruning (MIT).
    Differs: an attention or feed-forward part that is gone leaves LayerNorm(input + bias), in training as in the result, where
    CoFi's leaves the identity. Gates of the width multiply what each LayerNorm answers, not what is added before it as well,
    and the pooler's answer, whose width is the same. Biases count. A layer is alive by its feed-forward gates, not by its
    heads', and layers stay in order. The number of neurons that settle makes up for what rounding layers and heads adds or
    takes, which CoFi's result is off by. The last epoch is kept, since the earlier ones are of another size. Rates of masks
    follow the schedule, and log alpha of large parts starts at its upper end, 4.6, where CoFi's 10 ends up after one step.

    Args:
        model: A fine-tuned model; stays as it is.
        teacher: Has the same labels and the same tokenizer; most often the model that comes in.
        task: Learned from, without its labels; the evaluation split is not touched.
        fraction: How much of the encoder (its layers, without embeddings and head) goes.
        width: Give the dimensions of the states gates too (BERT and DistilBERT); embeddings and head become narrower too.
        multiple_of: The numbers of neurons, and the width, are rounded to multiples of it, which kernels multiply faster.
        temperature: T of the logits.
        alpha: Weight of the layers' loss (a sum of mean squared errors); 1 - alpha is that of the logits.
        teacher_layers: The layers of the teacher that teach, rising; more cost time and hold the student closer.
        mask_learning_rate: Higher reaches the target in fewer steps and chooses with less care.
        reached_by: Later removes more slowly and leaves fewer steps at the full sparsity.
        teacher_cache_bytes: The largest teacher's answers that are kept on disk; see `distill`.
        epochs: Passes over the training part; the paper takes 20, and 100 for small tasks.
        learning_rate: Highest rate of AdamW, for the weights.
        weight_decay: Decoupled decay of all weights but biases, LayerNorm and masks.
        run: Seed, device, checkpoints and progress.
        **knobs: How to train; see `StepKnobs`.

    Returns:
        The smaller copy, with layers of different sizes.

    Raises:
        InputError: Student and teacher do not fit together, the fraction is more than the parts that can go, or the model
            quantizes.
        CompressError: The loss is not finite.
    """
    run = run or StepContext()
    layers = _checked(model, teacher, fraction, width, teacher_layers)
    if run.is_rehearsal:
        check_fit(model, task)
        how = Distillation(temperature, teacher_cache_bytes=teacher_cache_bytes)
        check_room(teacher, {("hidden", layer) for layer in layers}, how, task, run)
        return _rehearsed(model, fraction, width, multiple_of, run.guess)
    masks = StructureMasks(model, width=width, multiple_of=multiple_of, seed=run.seed)
    how = Distillation(temperature, teacher_cache_bytes=teacher_cache_bytes)
    goal = _goal(model, teacher, task, masks, layers, alpha, mask_learning_rate, how, run)
    settings = settings_of(epochs, learning_rate, **knobs)
    with ExitStack() as stack:
        before_step = partial(
            _before_step, masks, stack, fraction=fraction, reached_by=reached_by, width=width, multiple_of=multiple_of
        )
        student = train(model, task=task, settings=settings, goal=goal, run=run, before_step=before_step)
    masks.cpu().clamp()
    result = materialised(student, masks.settled())
    _tell(result, masks, fraction)
    return result


def _rehearsed(model: PreTrainedModel, fraction: float, width: bool, multiple_of: int, guess: Guess) -> PreTrainedModel:
    """A copy of about the size that is asked for; where the width may go too, it is whole or without half of the fraction."""
    depth, before = len(distinct_layers(model)), model.config.hidden_size
    chosen = guess.among(2 * depth if width else depth)
    cut = with_fewer(model, fraction, fraction, chosen % depth, multiple_of=multiple_of)
    narrow = max(1, round(before * (1 - fraction / 2) / multiple_of)) * multiple_of
    return of_width(cut, narrow) if chosen >= depth and narrow < before else cut


def _checked(
    model: PreTrainedModel, teacher: PreTrainedModel, fraction: float, width: bool, teacher_layers: list[int] | None
) -> list[int]:
    """The teacher's layers that teach, once everything fits together."""
    for network in (model, teacher):
        family_of(network)
    why = why_not_cut(model)
    if why:
        raise InputError(f"prune_cofi: {why}")
    if width:
        try:
            refuse_width(model)
        except InputError as err:
            raise InputError(f"prune_cofi.width is true, but {err}") from err
    check_labels(model, teacher)
    check_vocabularies("prune_cofi compares", model, teacher)
    costs = layer_costs(model)
    most = 1.0 if width else 1 - sum(layer.rest.weights for layer in costs) / encoder_parameters(costs)
    if fraction >= most:
        raise InputError(
            f"prune_cofi.fraction is {fraction}, but heads and neurons are only {most:.3f} of the encoder's parameters; lower "
            f"it{', or set width to true' if can(model, 'gate_width') else ''}."
        )
    depth = len(encoder_layers(teacher))
    layers = sorted({max(1, math.floor(number * depth / TAUGHT + 0.5)) for number in range(1, TAUGHT + 1)})
    chosen = layers if teacher_layers is None else teacher_layers
    if chosen != sorted(set(chosen)) or chosen[-1] > depth:
        raise InputError(f"prune_cofi.teacher_layers is {chosen}; layers 1 to {depth} of the teacher, rising, are allowed.")
    return chosen


def _goal(
    model: PreTrainedModel,
    teacher: PreTrainedModel,
    task: Task,
    masks: StructureMasks,
    layers: list[int],
    alpha: float,
    mask_learning_rate: float,
    how: Distillation,
    run: StepContext,
) -> TrainingLoss:
    distinct, executed = distinct_layers(model), encoder_layers(model)
    projection = _projection(model, teacher, task, layers, run)
    uses = [distinct.index(layer) for layer in executed]
    return TrainingLoss(
        {
            "logits": (1 - alpha, partial(logits, temperature=how.temperature)),
            "layers": (alpha, partial(matched_layers, masks, projection, layers=layers, uses=uses)),
            "sparsity": (1.0, lambda *_: masks.penalty()),
        },
        states=frozenset(("hidden", number) for number in range(1, len(executed) + 1)),
        teacher=answers_of(teacher, {("hidden", layer) for layer in layers}, how, task, run),
        learned=nn.ModuleDict({"masks": masks, "projection": projection}),
        teaches_logits=False,
        rates={f"masks.{name}": mask_learning_rate for name, _ in masks.named_parameters()},
    )


def _projection(
    model: PreTrainedModel, teacher: PreTrainedModel, task: Task, layers: list[int], run: StepContext
) -> nn.Linear:
    """The identity, to begin with, where student and teacher are as wide; else what fits evenly spread layers best."""
    width, depths = model.config.hidden_size, [len(encoder_layers(network)) for network in (model, teacher)]
    if width != teacher.config.hidden_size:
        pairs = tuple((max(1, round(layer * depths[0] / depths[1])), layer) for layer in layers)
        return fitted_projection(model, teacher, task, pairs, "hidden", run)
    with torch.random.fork_rng(devices=[]):
        projection = nn.Linear(width, width, bias=False)
    nn.init.eye_(projection.weight)
    return projection


def _before_step(
    masks: StructureMasks,
    stack: ExitStack,
    student: PreTrainedModel,
    step: int,
    total: int,
    *,
    fraction: float,
    reached_by: float,
    **_: Any,
) -> None:
    """Gate the student from the first step on; let the target rise, and hold log alpha in its range."""
    if masks.latest is None:
        stack.enter_context(masks.applied(student))
    masks.clamp()
    masks.target = fraction * min(1.0, step / max(1.0, reached_by * total))


def materialised(student: PreTrainedModel, gates: Gates) -> PreTrainedModel:
    """Copy a student with the gates multiplied into its weights, and without what they close.

    Args:
        student: Stays as it is.
        gates: Settled ones.
    """
    cut = fold_gates(student, gates.heads, gates.neurons)
    cut = keep_neurons(keep_heads(cut, [_open(layer) for layer in gates.heads]), [_open(layer) for layer in gates.neurons])
    return cut if gates.width is None else keep_width(fold_width(cut, gates.width), _open(gates.width))


def _open(gates: torch.Tensor) -> list[int]:
    indices: list[int] = gates.nonzero()[:, 0].tolist()
    return indices


def _tell(result: PreTrainedModel, masks: StructureMasks, fraction: float) -> None:
    costs = layer_costs(result)
    gone = 1 - encoder_parameters(costs) / encoder_parameters(masks.costs)
    sizes = ", ".join(f"{layer.heads}/{layer.neurons}" for layer in costs)
    logger.info("%.3f of the encoder's parameters are gone; heads/neurons of each layer: %s", gone, sizes)
    if abs(gone - fraction) > MISSED:
        logger.warning(
            "prune_cofi.fraction is %g, but %.3f of the encoder's parameters are gone; raise epochs or mask_learning_rate, or "
            "lower multiple_of.",
            fraction,
            gone,
        )
