"""Train the model on the eight-bit numbers that it will run on."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Unpack

from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import fits_together, within_range
from compress.errors import InputError
from compress.models.quantizers import QuantizedEmbedding, QuantizedLinear, lend_ranges, quantized_linears, with_quantizers
from compress.quantization.calibration import Calibrated, calibrated, check_calibration_part
from compress.tasks.labelled import Task
from compress.training.compatibility import labels_aligned
from compress.training.loop import train
from compress.training.settings import Epochs, LearningRate, TrainingKnobs, settings_of
from compress.training.step_context import StepContext
from compress.training.teaching import Distillation, Objectives, Temperature, training_loss_of
from compress.training.unlabelled import TextFile, with_texts_of


def _wrong(teacher: object, text: object) -> list[str]:
    """What is wrong with who answers the texts."""
    if text is not None and teacher is None:
        return ["text has no labels, and no teacher answers it; give one, most often the model as it is."]
    return []


@within_range
@fits_together(_wrong)
@labels_aligned()
def quantize_aware(
    model: PreTrainedModel,
    *,
    task: Task,
    teacher: PreTrainedModel | None = None,
    objectives: Objectives | None = None,
    temperature: Temperature = 2.0,
    text: TextFile = None,
    per_channel: Annotated[bool, Field(description="one weight scale per output channel instead of one per weight")] = True,
    symmetric: Annotated[bool, Field(description="activation ranges as wide below 0 as above")] = True,
    lsq: Annotated[bool, Field(description="learn the ranges by gradient instead of following them")] = False,
    decay: Annotated[float, Field(ge=0, lt=1, description="of the moving average that activation ranges follow")] = 0.99,
    start_step: Annotated[int, Field(ge=0, description="optimizer steps in float before quantization begins")] = 0,
    freeze: Annotated[float, Field(ge=0, lt=1, description="last fraction of the steps in which ranges stay")] = 0.2,
    epochs: Epochs = 1,
    learning_rate: LearningRate = 2e-5,
    run: StepContext | None = None,
    **knobs: Unpack[TrainingKnobs],
) -> PreTrainedModel:
    """Train a copy whose Linears and embeddings compute with eight-bit numbers, so that its int8 file answers as it does.

    The float weights are kept and rounded in every forward pass; gradients pass the rounding straight through. Quantized are
    the inputs and weights of every Linear but the classifier, and the embeddings; attention's inner products, softmax,
    LayerNorm and GELU stay float. The ranges of activations stand in structure.json, and every int8 target uses them.

    Source: Zafrir et al. 2019, Q8BERT, arXiv 1910.06188, section 3; learned steps: Esser et al. 2020, LSQ, arXiv 1902.08153,
    on the logarithmic scale of Jain et al. 2020, arXiv 1903.08066.
    Differs: embeddings have a scale per row, weights one per channel unless `per_channel` is false; the moving average is
    faster than Q8BERT's 0.9999, since fine-tuning takes few steps; activations may be -128, as in the runtimes.

    Args:
        model: A fine-tuned float model; stays as it is.
        task: Learned from; the evaluation split is not touched.
        teacher: A float model to learn from as well, most often the one that comes in; of a text, it alone teaches.
        objectives: Objective -> weight; labels alone without a teacher, else logits 0.9 and labels 0.1, of a text logits.
        temperature: T of the logits objective.
        text: A file of texts to learn the teacher's answers to instead of the task's, as in `distill`.
        per_channel: One scale per output channel of a weight; false is one per weight, as in Q8BERT.
        symmetric: Ranges of activations as wide below 0 as above, which every runtime can run.
        lsq: Learn the ranges of activations and weights by gradient, from where calibration puts them.
        decay: Of the moving average of an activation's least and greatest values; nearer to 1 follows more slowly.
        start_step: Steps in float first, in which ranges are followed already.
        freeze: In the last steps the ranges stay and the weights settle into them.
        epochs: Passes over the training part.
        learning_rate: Highest rate of AdamW.
        run: Seed, device, checkpoints and progress.
        **knobs: How to train; see `TrainingKnobs`.

    Returns:
        The trained copy, which quantizes.

    Raises:
        InputError: The model quantizes already or has no Linear, an objective does not fit, or `start_step` lies beyond the
            first epoch.
        CompressError: The loss is not finite.
    """
    run = run or StepContext()
    settings = settings_of(epochs, learning_rate, **knobs)
    taught = {"logits": 1.0} if text is not None else {"logits": 0.9, "labels": 0.1}
    wanted = objectives or (taught if teacher is not None else {"labels": 1.0})
    if text is not None:
        task = with_texts_of("quantize_aware", text, task, wanted, run)
    epoch_steps = math.ceil(math.ceil(len(task.train) / settings.batch_size) / settings.accumulate)
    first = min(epoch_steps, math.ceil(epochs * epoch_steps), run.max_steps or epoch_steps)
    unread = text is not None and run.is_rehearsal
    if start_step >= max(1, first) and not unread:
        raise InputError(
            f"quantize_aware.start_step is {start_step}, but an epoch has {first} steps; begin within the first, since the "
            "epoch that is kept must have quantized."
        )
    student = with_quantizers(model, per_channel=per_channel, symmetric=symmetric)
    goal = training_loss_of(
        "quantize_aware", wanted, Distillation(temperature), student=student, teacher=teacher, task=task, run=run
    )
    if lsq:
        check_calibration_part(task)
    if lsq and not run.is_rehearsal:
        student = calibrated(model, task, Calibrated("mse", symmetric=symmetric, per_channel=per_channel))
        for linear in quantized_linears(student).values():
            linear.learn_ranges()
    before_step = partial(_before_step, decay=None if lsq else decay, start_step=start_step, freeze=freeze)
    trained = train(student, task=task, settings=settings, goal=goal, run=run, before_step=before_step)
    _set_quantizers(trained, on=True, decay=None)
    for linear in quantized_linears(trained).values():
        linear.settle_ranges()
    lend_ranges(trained)
    return trained


def _before_step(
    model: PreTrainedModel, step: int, total: int, *, decay: float | None, start_step: int, freeze: float
) -> None:
    _set_quantizers(model, on=step >= start_step, decay=None if step >= (1 - freeze) * total else decay)


def _set_quantizers(model: PreTrainedModel, *, on: bool, decay: float | None) -> None:
    for module in model.modules():
        if isinstance(module, QuantizedLinear | QuantizedEmbedding):
            module.on = on
        if isinstance(module, QuantizedLinear):
            module.decay = decay
