"""Train a student to answer as its teacher does."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.tasks.text_classification import Task
from compress.train.loop import train
from compress.train.run import Run
from compress.train.settings import (
    Accumulate,
    Average,
    BatchSize,
    ClipNorm,
    Epochs,
    LearningRate,
    Patience,
    Schedule,
    Settings,
    Warmup,
    WeightDecay,
)
from compress.train.teaching import Temperature, Weight, goal_of


@within_range
def distill(
    model: PreTrainedModel,
    *,
    teacher: PreTrainedModel,
    task: Task,
    objectives: Annotated[dict[str, Weight], Field(min_length=1, description="objective -> weight in the sum")],
    temperature: Temperature = 2.0,
    epochs: Epochs = 3,
    learning_rate: LearningRate = 2e-4,
    batch_size: BatchSize = 64,
    accumulate: Accumulate = 1,
    schedule: Schedule = "linear",
    warmup: Warmup = 0.1,
    weight_decay: WeightDecay = 0.01,
    clip_norm: ClipNorm = 1.0,
    average: Average = 0.0,
    patience: Patience = None,
    run: Run | None = None,
) -> PreTrainedModel:
    """Train a copy of the student on a weighted sum of objectives that look at the teacher.

    Source: Hinton et al. 2015, arXiv 1503.02531; for BERT, Sanh et al. 2019, DistilBERT, arXiv 1910.01108, section 3.
    Differs: the teacher's logits are computed once, without dropout, and used in every epoch.

    Args:
        model: The student; stays as it is.
        teacher: Has the same labels, and the same tokenizer unless logits alone are matched.
        task: Learned from; the evaluation split is not touched.
        objectives: Objective -> weight; see `bert-compress list`.
        temperature: T of the logits objective.
        epochs: Passes over the training part.
        learning_rate: Highest rate of AdamW.
        batch_size: Examples per forward pass.
        accumulate: Batches per optimizer step.
        schedule: How the rate falls after warm-up.
        warmup: Fraction of the steps in which the rate rises.
        weight_decay: Decoupled decay of all weights but biases and LayerNorm.
        clip_norm: Largest gradient norm.
        average: Last fraction of the steps whose weights are averaged into the result.
        patience: Epochs without a better selection metric before stopping.
        run: Seed, device, checkpoints and progress.

    Returns:
        The trained copy.

    Raises:
        InputError: An objective is unknown, or student and teacher do not fit together.
        CompressError: The loss is not finite.
    """
    run = run or Run()
    goal = goal_of(
        "distill", objectives, {"temperature": temperature}, student=model, teacher=teacher, task=task, run=run
    )
    settings = Settings(
        epochs, learning_rate, batch_size, accumulate, schedule, warmup, weight_decay, clip_norm, average, patience
    )
    return train(model, task=task, settings=settings, goal=goal, run=run)
