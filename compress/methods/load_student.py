"""Take a checkpoint that is small already as the student."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.dependencies import Checkpoint
from compress.errors import NoEffect
from compress.models.checkpoint.loading import load
from compress.models.heads import head_of, label_names
from compress.training.step_context import StepContext


@within_range
def load_student(
    model: PreTrainedModel,
    *,
    checkpoint: Annotated[Checkpoint, Field(min_length=1, description="a folder, package:NAME or a hub name")],
    run: StepContext | None = None,
) -> PreTrainedModel:
    """Go on with another checkpoint as the student, which may have a tokenizer of its own; the model stays its teacher.

    Train it with `distill` afterwards, whose `teacher` names the model. Where the tokenizers differ, it can learn from the
    teacher's answers (logits, logit_mse) and the labels; other objectives compare token by token.

    Source: Turc et al. 2019, "Well-read students learn better", arXiv 1908.08962 (small checkpoints, pre-trained for
    themselves, that are then distilled for a task).

    Args:
        model: The teacher; tells the labels.
        checkpoint: A model of the BERT family; one without a head gets a new one.
        run: Its seed is for the weights of a new head.

    Returns:
        The checkpoint's model, with the teacher's labels.

    Raises:
        InputError: There is no such model, it is damaged, or its head is for other labels.
        NoEffect: It is the model that comes in.
    """
    run = run or StepContext()
    student = load(checkpoint, labels=label_names(model) or None, head=head_of(model), seed=run.seed)
    if run.is_rehearsal:  # in which the model that comes in may not have been trained yet
        return student
    own, loaded = model.state_dict(), student.state_dict()
    if own.keys() == loaded.keys() and all(own[name].equal(loaded[name]) for name in own):
        raise NoEffect(f"load_student.checkpoint is {checkpoint}, the same as the model that comes in; remove the step.")
    return student
