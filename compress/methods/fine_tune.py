"""Train the model, or a part of it, on the task's labels."""

from __future__ import annotations

import logging
from typing import Annotated, Unpack

from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.labels import listed
from compress.models.heads import with_new_head
from compress.tasks.emphasis import emphasis_of
from compress.tasks.labelled import Task
from compress.training.compatibility import labels_aligned, shortened
from compress.training.loop import train as trained
from compress.training.settings import ClassWeights, Epochs, Focal, LearningRate, MaxLength, TrainingKnobs, settings_of
from compress.training.step_context import StepContext
from compress.training.teaching import Distillation, Nested, training_loss_of
from compress.training.ways import Train, mixing, way_of

logger = logging.getLogger(__name__)


@within_range
@labels_aligned(trains=True)
def fine_tune(
    model: PreTrainedModel,
    *,
    task: Task,
    train: Train = "all",
    new_head: Annotated[bool, Field(description="begin with a new head, whatever labels the old one was for")] = False,
    nested: Nested = None,
    class_weights: ClassWeights = None,
    focal: Focal = 0.0,
    max_length: MaxLength = None,
    epochs: Epochs = 3,
    learning_rate: LearningRate = 1e-4,
    run: StepContext | None = None,
    **knobs: Unpack[TrainingKnobs],
) -> PreTrainedModel:
    """Fine-tune the model on the task's labels: every weight, or its head, or some layers.

    Source: Devlin et al. 2019, BERT, arXiv 1810.04805, section 4.1; focal loss: Lin et al. 2017, arXiv 1708.02002, equation 5.
    Differs: the epoch that does best on the selection part is kept; the default rate suits models of about 20 million
    parameters (use 2e-5 to 5e-5 for BERT-base).

    Args:
        model: Stays as it is.
        task: Learned from; the evaluation split is not touched.
        train: What learns: "all"; the "head" alone, on features of an encoder that stays as it was and runs once, so that an
            epoch takes seconds (Peters et al. 2019, "To Tune or Not to Tune", arXiv 1903.05987); or `{layers: [...]}` with the
            head, what lies below being computed once as well, without dropout, where 4 GB hold it; "layer_mix", the head and
            the weights of a sum of all layers that it reads (Peters et al. 2018, ELMo, arXiv 1802.05365, equation 1), which
            stays in the model and tells in the report which layers the task is read from; "adapters", two thin
            Linears behind each part of each layer, with the head and the layers' normalizations (Houlsby et al. 2019,
            arXiv 1902.00751; `{adapters: {size: 64, both: true}}` tells how large, and whether behind attention too). They
            stay in the model, and a rate of 3e-4 and more suits them; or "lora", products of two thin matrices beside Linears
            of each layer, which are added to them in the end (Hu et al. 2021, arXiv 2106.09685; `{lora: {rank: 8, alpha: 16,
            places: [query, value]}}`; needs the extra peft), or with `keep: true` stay, to be saved alone, and are added by an
            export; "layers", all of them and the head, while the embeddings stay;
            or "gradual", all of it, but the head first and then one layer more at a time, from the highest down
            (`{gradual: {share: 0.5}}`: in half of the steps; Howard and Ruder 2018, ULMFiT, arXiv 1801.06146, section 3.3).
        new_head: Begin with a new head, of random weights; the one that the model has may be for other labels, and for more or
            fewer of them. Without it, training begins with a head for as many other labels, and says so.
        nested: Of sentence embedding: numbers of dimensions; so many first numbers of a vector learn to be one of their own
            (Matryoshka, Kusupati et al. 2022, arXiv 2205.13147).
        class_weights: How much each label counts in the loss: "balanced" lets rare ones of the training part count as much as
            common ones, `{label: weight}` names weights, 1 for those that are left out. Where a text has several labels, a
            weight is that of the texts that have the label. Raising one finds more of a label, and answers it wrongly more
            often.
        focal: Gamma of the focal loss: an answer counts by (1 - p) to this power, where p is the probability of what is true,
            so that examples that are right already count less. 0 lets all count alike; 2 is the paper's.
        max_length: Tokens of each text to read while it learns, where the task's texts have more than the model reads.
        epochs: Passes over the training part.
        learning_rate: Highest rate of AdamW.
        run: Seed, device, checkpoints and progress.
        **knobs: How to train; see `TrainingKnobs`.

    Returns:
        The fine-tuned copy.

    Raises:
        InputError: The model does not read so many tokens, or the task has no such labels to weigh.
        CompressError: The loss is not finite.
    """
    settings = settings_of(epochs, learning_rate, **knobs)
    run = run or StepContext()
    task = shortened("fine_tune", task, max_length, model)
    if new_head:
        logger.info("fine_tune begins with a new head for %s.", listed(task.labels))
        model = with_new_head(model, task.labels, run.seed, task.rules.head)
    how = Distillation(nested=tuple(nested or ()), emphasis=emphasis_of("fine_tune", class_weights, focal, task))
    goal = training_loss_of("fine_tune", {"labels": 1.0}, how, student=model, teacher=None, task=task, run=run)
    way = way_of("fine_tune", train, model)
    return trained(model, task=task, settings=settings, goal=mixing(goal, way), run=run, before_step=way.each_step, way=way)
