"""Remove heads and neurons of a trained model in minutes, without training it again."""

from __future__ import annotations

import logging
import math
from typing import Annotated

from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import fits_together, one_of_two, within_range
from compress.benchmark.block_times import BlockTimes, Setting, shapes_of
from compress.errors import InputError, raise_together
from compress.models.costs import Costs, encoder_macs
from compress.models.layout import distinct_layers, encoder_layers, neuron_count
from compress.models.surgery import copy_of, keep_heads, keep_neurons
from compress.pruning.budget import Kept, kept_under
from compress.pruning.deployed import Examples, Speedup, Target, Threads, Tokens, not_timed, times_of
from compress.pruning.fisher import GateGradients, drawn_examples, gate_gradients, importance, rearranged
from compress.pruning.gates import fold_gates
from compress.pruning.guesses import with_fewer
from compress.pruning.reconstruction import fitted_scales
from compress.tasks.labelled import Task
from compress.training.compatibility import check_prunable, labels_aligned
from compress.training.device import pick_device
from compress.training.step_context import StepContext

logger = logging.getLogger(__name__)


def _wrong(macs: float | None, speedup: float | None) -> list[str]:
    return one_of_two("macs", macs, "speedup", speedup)


@within_range
@fits_together(_wrong)
@labels_aligned()
def prune_after_training(
    model: PreTrainedModel,
    *,
    task: Task,
    macs: Annotated[
        float | None, Field(gt=0, lt=1, description="fraction of the encoder's multiply-adds that stays; or give speedup")
    ] = None,
    speedup: Speedup = None,
    target: Target = "onnxruntime-cpu",  # type: ignore[valid-type]
    batch: Examples = 1,
    length: Tokens = 32,
    threads: Threads = 1,
    examples: Annotated[int, Field(ge=1, le=1 << 20, description="of the training part to learn from; more cost time")] = 2048,
    rearrange: Annotated[bool, Field(description="exchange gates within layers, what they do together counted")] = True,
    tune: Annotated[bool, Field(description="scale what is left, so that layers answer as before")] = True,
    multiple_of: Annotated[int, Field(ge=1, le=1024, description="of neurons in a layer; multiples suit the kernels")] = 8,
    run: StepContext | None = None,
) -> PreTrainedModel:
    """Remove the heads and neurons that the task's loss needs least, and scale the others to make up for them; no retraining.

    Importance is the Fisher information of gates on heads and neurons, at the task's own labels. Of all that costs no more
    than the budget, what is worth most stays. Then heads and neurons are exchanged within their layers, and scales of those
    that stay are fitted layer by layer to a model that is pruned half as far. What is removed is gone from the model. Let a
    `distill` follow where much goes.

    Source: Kwon et al. 2022, "A Fast Post-Training Pruning Framework for Transformers", arXiv 2204.09656, section 4.
    Differs: gradients are each example's own, where the code takes those of batches of 32; counts are found by dynamic
    programming for costs of any shape; multiply-adds are those that exported files compute, which for the last layer are few;
    and see `fisher.rearranged` and `reconstruction.fitted_scales` in compress.pruning.

    Args:
        model: Fine-tuned on the task; stays as it is.
        task: Of its training part examples are read, with their labels; the evaluation split is not touched.
        macs: What may stay of the encoder's multiply-adds, at the mean length of these examples; give this or `speedup`.
        speedup: The model's file today over the pruned one's, by a table of what its parts take on this machine; give this or
            `macs`.
        target: What will run it, with its default options; for `speedup`.
        batch: Examples in a call; for `speedup`.
        length: Tokens of each example; for `speedup`.
        threads: That the runtime may use; for `speedup`.
        examples: How many, drawn by the seed; all of them if the part has fewer.
        rearrange: Exchange within layers.
        tune: Scale what is left. An ALBERT, whose layers run several times, needs false.
        multiple_of: Neurons of a layer stay in multiples of this, or all of them.
        run: Seed, device and progress.

    Returns:
        The smaller copy, of uneven layers.

    Raises:
        InputError: The model quantizes, does not fit the task, or cannot get as small; or there is nothing to learn from.
    """
    run = run or StepContext()
    setting = Setting(target, batch, length, threads, quick=run.tiny) if speedup else None
    _check(model, task, tune, multiple_of, setting)
    encoded = drawn_examples(model, task, examples, run.seed)
    if setting is None or speedup is None:
        costs = encoder_macs(model, float(encoded.lengths.mean()))
        left = _left(costs, macs or 1.0)
    elif run.is_rehearsal:
        left = 1 / speedup
    else:
        times = times_of(model, task, setting, run)
        costs = times.costs(shapes_of(model))
        left = _left_in_time(costs, times, speedup, setting)
    if run.is_rehearsal:
        chosen = run.guess.among(len(distinct_layers(model)))
        return with_fewer(model, 1 - left, 1 - left, chosen, multiple_of=multiple_of)
    device = pick_device(run.device)
    reader = copy_of(model).to(device).eval().requires_grad_(False)
    gradients = gate_gradients(reader, encoded, device, run.progress)
    kept = _searched(gradients, costs, left, multiple_of)
    teacher = _cut(reader, _searched(gradients, costs, math.sqrt(left), multiple_of)) if tune else None
    if rearrange:
        kept = Kept(
            *(
                [rearranged(layer, indices) for layer, indices in zip(layers, parts, strict=True)]
                for layers, parts in ((gradients.heads, kept.heads), (gradients.neurons, kept.neurons))
            )
        )
    student = _cut(model, kept)
    if teacher is not None:
        scales = fitted_scales(_cut(reader, kept), teacher, encoded, device, run.progress)
        student = fold_gates(student, *([scale.cpu() for scale in part] for part in scales))
    _tell(run, costs, kept, setting)
    return student.eval()


def _left(costs: Costs, macs: float) -> float:
    """The fraction of what the encoder costs that may stay."""
    least = costs.least / costs.whole
    if least >= macs:
        raise InputError(
            f"prune_after_training.macs is {macs}, but without any head and neuron {least:.3g} of the encoder's multiply-adds "
            "stay; use more."
        )
    return macs


def _left_in_time(costs: Costs, times: BlockTimes, speedup: float, setting: Setting) -> float:
    """The same where the model is to be so many times faster; costs are what parts take alone."""
    least = costs.least / costs.whole
    left = (costs.rest + times.room_ms(times.dense_ms / speedup)) / costs.whole
    if left > least:
        return left
    if setting.quick:
        logger.info("a tiny model's time is nearly all overhead, so that the middle of what can be reached is taken")
        return (1 + least) / 2
    reachable = times.dense_ms / times.together_ms(costs.least - costs.rest)
    raise InputError(
        f"prune_after_training.speedup is {speedup:g}, but without any head and neuron {setting} is {reachable:.3g} times "
        "faster; use less, or prune_to_latency, which removes whole layers."
    )


def _check(model: PreTrainedModel, task: Task, tune: bool, multiple_of: int, setting: Setting | None) -> None:
    layers = distinct_layers(model)
    if not layers:
        raise InputError(f"prune_after_training: a {model.config.model_type} has no encoder; remove the step.")
    check_prunable("prune_after_training", model, task)
    raise_together(not_timed("prune_after_training", model, setting) if setting else [])
    if tune and len(layers) < len(encoder_layers(model)):
        raise InputError(
            "prune_after_training.tune is true, but the model's layers are shared, so that no scale fits all of "
            "their runs; set it to false."
        )
    most = max(neuron_count(layer) for layer in layers)
    if multiple_of > most:
        raise InputError(
            f"prune_after_training.multiple_of is {multiple_of}, but no layer has more than {most} neurons; use at most that."
        )


def _searched(gradients: GateGradients, costs: Costs, fraction: float, multiple_of: int) -> Kept:
    heads, neurons = ([importance(layer).numpy() for layer in part] for part in (gradients.heads, gradients.neurons))
    return kept_under(heads, neurons, costs, fraction * costs.whole, multiple_of=multiple_of)


def _cut(model: PreTrainedModel, kept: Kept) -> PreTrainedModel:
    return keep_neurons(keep_heads(model, kept.heads), kept.neurons)


def _tell(run: StepContext, costs: Costs, kept: Kept, setting: Setting | None) -> None:
    heads, neurons = kept.counts
    left = costs.of(heads, neurons) / costs.whole
    run.facts.update(heads=heads, neurons=neurons)
    what = "the encoder's multiply-adds" if setting is None else f"what the parts take, {setting},"
    if setting is None:
        run.facts["encoder_macs_left"] = left
    logger.info(
        "%d heads and %d neurons stay, %.1f %% of %s; heads by layer %s, neurons %s",
        sum(heads),
        sum(neurons),
        100 * left,
        what,
        heads,
        neurons,
    )
