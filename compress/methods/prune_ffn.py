"""Remove neurons of the feed-forward parts."""

from __future__ import annotations

import logging
from typing import Annotated

from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.errors import InputError, NoEffect
from compress.models.layout import distinct_layers, neuron_count
from compress.models.surgery import copy_of, keep_neurons
from compress.pruning.fisher import drawn_examples
from compress.pruning.guesses import cut_to, left_unevenly
from compress.pruning.importance import Importance, highest_in_multiples, neuron_importance
from compress.tasks.labelled import Task
from compress.training.compatibility import check_prunable, labels_aligned
from compress.training.device import pick_device
from compress.training.step_context import StepContext

logger = logging.getLogger(__name__)


@within_range
@labels_aligned()
def prune_ffn(
    model: PreTrainedModel,
    *,
    task: Task,
    fraction: Annotated[float, Field(gt=0, le=1, description="of all neurons that go")],
    importance: Annotated[Importance, Field(description="what tells which neurons stay")] = "fisher",
    multiple_of: Annotated[int, Field(ge=1, le=1024, description="of neurons in a layer; multiples suit the kernels")] = 16,
    examples: Annotated[int, Field(ge=1, le=1 << 20, description="of the training part to learn importance from")] = 1024,
    run: StepContext | None = None,
) -> PreTrainedModel:
    """Remove the neurons of the feed-forward parts that the task's loss needs least, more in some layers than in others.

    Two thirds of a BERT's multiply-adds are in these parts. Nothing is trained; let a `distill` follow where many neurons go.
    A part that loses all of them is gone.

    Source: Michel et al. 2019, arXiv 1905.10650 (gates; "taylor"); Kwon et al. 2022, arXiv 2204.09656, section 4.1 ("fisher");
    Prasanna et al. 2020, arXiv 2005.00561 (feed-forward parts).
    Differs: which neurons go is decided over all layers at once, in multiples.

    Args:
        model: Fine-tuned on the task; stays as it is.
        task: Of its training part examples are read, with their labels; the evaluation split is not touched.
        fraction: How many of all neurons go at least; 1 leaves no feed-forward part.
        importance: "magnitude" is the norm of the weights that a neuron reads and writes by, against its layer's mean;
            "taylor" the mean absolute gradient of a gate on it; "fisher" the mean squared one, which spares neurons that
            matter to few examples.
        multiple_of: Neurons of a layer stay in multiples of this, or all of them.
        examples: How many are looked at, drawn by the seed; more cost time in proportion.
        run: Seed, device and progress.

    Returns:
        The copy with narrower feed-forward parts.

    Raises:
        InputError: The model quantizes, has no neurons, or does not fit the task, or multiple_of is more than a layer has.
        NoEffect: The fraction is less than half a neuron.
    """
    run = run or StepContext()
    counts = _counts(model, task, fraction, multiple_of)
    if run.is_rehearsal:
        gone, most_from = round(fraction * sum(counts)), run.guess.among(len(counts))
        return cut_to(model, neurons=left_unevenly(counts, gone, most_from, multiple_of=multiple_of))
    device = pick_device(run.device)
    reader = copy_of(model).to(device).eval().requires_grad_(False)
    worth = neuron_importance(reader, drawn_examples(model, task, examples, run.seed), importance, device, run.progress)
    kept = highest_in_multiples(worth, sum(counts) - round(fraction * sum(counts)), multiple_of)
    run.facts["neurons"] = [len(layer) for layer in kept]
    logger.info("%d of %d neurons stay; by layer %s", sum(map(len, kept)), sum(counts), run.facts["neurons"])
    return keep_neurons(model, kept).eval()


def _counts(model: PreTrainedModel, task: Task, fraction: float, multiple_of: int) -> list[int]:
    """The neurons of each distinct layer, everything checked."""
    counts = [neuron_count(layer) for layer in distinct_layers(model)]
    if not sum(counts):
        raise InputError(f"prune_ffn: this {model.config.model_type} has no feed-forward neurons; remove the step.")
    check_prunable("prune_ffn", model, task)
    if multiple_of > max(counts):
        raise InputError(
            f"prune_ffn.multiple_of is {multiple_of}, but no layer has more than {max(counts)} neurons; use at most that."
        )
    if not round(fraction * sum(counts)):
        raise NoEffect(
            f"prune_ffn.fraction is {fraction}, less than half of one of {sum(counts)} neurons; use more, or remove the step."
        )
    return counts
