"""Train a student to answer as its teacher does."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Annotated, Literal, Unpack

import numpy as np
from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import fits_together, one_of_two, with_presets, within_range
from compress.augmentation.pairs import PairOptions, check_pairs, with_pairs
from compress.augmentation.sentences import Augment, AugmentOptions, augmented, check_words
from compress.dependencies import Checkpoint
from compress.errors import InputError
from compress.models.embedder import unfinished, with_projection
from compress.models.heads import head_of, output_count
from compress.models.layout import encoder_layers
from compress.objectives.layer_map import LayerMap
from compress.runtimes.writer_files import MOST_BEAMS
from compress.tasks.emphasis import emphasis_of
from compress.tasks.labelled import Task
from compress.training.answers import KnownAnswers
from compress.training.compatibility import labels_aligned, shortened
from compress.training.loop import train as trained
from compress.training.mixup import Mixup, check_mixup
from compress.training.near_texts import NearTask
from compress.training.presets import PRESETS, Preset
from compress.training.projection import fitted_to_vectors
from compress.training.settings import ClassWeights, Epochs, Focal, LearningRate, MaxLength, TrainingKnobs, settings_of
from compress.training.step_context import StepContext
from compress.training.teacher_texts import taught_texts
from compress.training.teaching import (
    Distillation,
    LastTokens,
    LogitTokens,
    Nested,
    Objectives,
    RelationHeads,
    TeacherCacheBytes,
    Temperature,
    training_loss_of,
)
from compress.training.unlabelled import TextFile, with_texts_of
from compress.training.ways import Train, mixing, way_of
from compress.training.zero_shot import ZeroShot, zero_shot_by

BEAMS = 5  # of Kim and Rush


def _wrong(
    teacher: object,
    nli: object,
    hypotheses: object,
    targets: str,
    beams: int | None,
    progressive: bool,
    train: object,
    mixup: float,
    text: object,
    nearest: int | None,
    beside: bool,
) -> list[str]:
    """What is wrong with who teaches, with what it writes, with what learns, and from what."""
    if mixup and (progressive or train != "all"):
        what = "progressive is true" if progressive else f"train is {train!r}"
        return [f"mixup is {mixup}, which lets the whole student learn, but {what}; leave out one of them."]
    if text is None and (nearest is not None or beside):
        given = "beside is true" if nearest is None else f"nearest is {nearest}"
        return [f"{given}, but there is no text, a file of texts to choose from; give text, or leave it out."]
    if progressive and train != "all":
        return [f"progressive lets one layer learn after the other, but train is {train!r}; leave out one of them."]
    if beams and targets != "teacher":
        return [f"beams is {beams}, but targets is {targets}; set it to teacher."]
    if nli is not None and hypotheses is None:
        return ['hypotheses is missing, which nli answers; give a sentence for each label, or "This text is about {}."']
    if hypotheses is not None and nli is None:
        return ["hypotheses is given, but no nli, whose checkpoint answers them; give both, or teacher alone."]
    return one_of_two("teacher", teacher, "nli", nli)


@with_presets(PRESETS)
@within_range
@fits_together(_wrong)
@labels_aligned(trains=True)
def distill(
    model: PreTrainedModel,
    *,
    teacher: PreTrainedModel | None = None,
    task: Task,
    objectives: Objectives,
    preset: Preset = None,
    train: Train = "all",
    temperature: Temperature = 2.0,
    class_weights: ClassWeights = None,
    focal: Focal = 0.0,
    layers: LayerMap = "uniform",
    last_tokens: LastTokens = "all",
    logit_tokens: LogitTokens = "all",
    relation_heads: RelationHeads = None,
    project: bool = True,
    keep_projection: bool = False,
    nested: Nested = None,
    progressive: bool = False,
    augment: Annotated[AugmentOptions | None, Field(description="copies of texts with other words to learn from too")] = None,
    pairs: Annotated[PairOptions | None, Field(description="pairs made of the task's, to learn from too")] = None,
    mixup: Annotated[
        float, Field(ge=0, le=1, description="share of the batches whose texts are mixed with one another")
    ] = 0.0,
    nli: Annotated[Checkpoint | None, Field(description="checkpoint that tells entailment, to teach by hypotheses")] = None,
    hypotheses: Annotated[
        dict[str, str] | str | None,
        Field(description="label -> sentence that is true of its texts, or a template with {} for the label"),
    ] = None,
    text: TextFile = None,
    nearest: Annotated[
        int | None, Field(ge=1, le=10_000, description="of text, so many that are nearest to each training text; null: all")
    ] = None,
    beside: Annotated[bool, Field(description="learn from the task's texts too, and not from text alone")] = False,
    targets: Annotated[
        Literal["data", "teacher"],
        Field(description="whose texts are learned to be written: the data's, or the teacher's"),
    ] = "data",
    beams: Annotated[
        int | None, Field(ge=1, le=MOST_BEAMS, description="that the teacher writes with, for targets: teacher; null: 5")
    ] = None,
    masked_lm: Annotated[Checkpoint | None, Field(description="checkpoint whose head tells hidden words")] = None,
    mlm_probability: Annotated[float, Field(gt=0, lt=1, description="fraction of the words that are hidden")] = 0.15,
    teacher_cache_bytes: TeacherCacheBytes = 4_000_000_000,
    max_length: MaxLength = None,
    epochs: Epochs = 3,
    learning_rate: LearningRate = 2e-4,
    run: StepContext | None = None,
    **knobs: Unpack[TrainingKnobs],
) -> PreTrainedModel:
    """Train a copy of the student on a weighted sum of objectives that look at the teacher.

    Source: Hinton et al. 2015, arXiv 1503.02531; for BERT, Sanh et al. 2019, DistilBERT, arXiv 1910.01108, section 3.
    Differs: the teacher answers without dropout, and once for all epochs where its answers fit into `teacher_cache_bytes`.

    With objectives that compare states alone (hidden, attention, relations, ...) the head is not taught and the last epoch is
    kept: TinyBERT's first stage, to be followed by a `distill` with logits. Any mix is possible in one step.

    Args:
        model: The student; stays as it is.
        teacher: Has the same labels; the same tokenizer too where states are compared. None where nli teaches.
        task: Learned from; the evaluation split is not touched.
        objectives: Objective -> weight; see `bert-compress list`.
        preset: Values of knobs that are left out, for a size of data: "small_data" takes many epochs, small batches and no
            dropout, and stops when the selection metric no longer rises; "large_data" few epochs and large batches. What is
            given counts, and what came of it stands in run.json.
        train: What of the student learns, see `fine_tune`.
        temperature: T of the logits objective.
        class_weights: How much each label counts in the labels objective, see `fine_tune`.
        focal: Gamma of the focal loss in the labels objective, see `fine_tune`.
        layers: Which layer of the teacher each layer of the student learns from, where an objective compares layers: uniform
            (j -> j N / M, TinyBERT's and PKD-Skip's), top (PKD-Last's), last (MiniLM's), or a list.
        last_tokens: Of the student's last layer, "all" compares the hidden states of every token, as the papers do; "first"
            that of the first token alone, which is all that a classifier reads, so that the others need not be computed: a
            third of a three-layer student's work.
        logit_tokens: Where each token has outputs, the logits objectives compare those of "all" tokens, or of those that are
            "answering", whose outputs alone are ever read: the first tokens of words, the tokens that an answer may stand in.
        relation_heads: Into how many slices the relations objective splits queries, keys and values, which
            divides both widths; None for as many as the teacher has heads.
        project: Learn a projection to the teacher's width where widths differ; without it, that is an error.
        keep_projection: Give the student a projection to the dimensions of its teacher's vectors, which learns with it and
            stays (LEAF): its vectors are then in the teacher's space. Else the projection goes when training ends.
        nested: Numbers of dimensions; so many first numbers of the student's vectors are taught to be vectors of their own
            (Matryoshka, Kusupati et al. 2022, arXiv 2205.13147), by the objectives labels, similarities and contrastive.
        progressive: Let one layer after the other learn, the lower ones frozen (MobileBERT's progressive transfer).
        augment: What copies of the texts, with other words in them, are learned from too; the teacher answers them. Its keys
            are the fields of `Augment`: kind ("tinybert" or "masking"), copies, probability, candidates, ...
        pairs: Of a task of two texts, which pairs are made of the training part's for the teacher to answer (Augmented SBERT,
            Thakur et al. 2021, arXiv 2010.08240): `swap`, each the other way round, with its label, which only a symmetric
            relation keeps; `shuffled: N`, each first text with the second ones of other pairs; `near: N`, with the second
            texts that are nearest to its own by the teacher's vectors. The latter two have no labels.
        mixup: Share of the batches of which each text is mixed with another one, word vector with word vector, by a weight
            drawn from Beta(0.4, 0.4), in student and teacher alike, which answers the mixture (MixKD, Liang et al. 2021,
            arXiv 2011.00593). The teacher runs in these steps; the objectives are logits, logit_mse and labels.
        nli: A checkpoint that tells entailment from contradiction (labels that begin with entail, and with contradict or
            not_entail), as transformers' zero-shot-classification pipeline uses it: each text is answered with each
            hypothesis, and of one label the student learns the softmax over how well they follow, of several the sigmoid of
            entailment against contradiction. It takes as many passes as there are labels, once; the objectives are logits,
            logit_mse and labels.
        hypotheses: What nli is asked for each label: `{sport: "This text is about sport.", ...}`, or a template such as
            "This text is about {}." for all of them.
        text: A file of plain text (a text per line), or a table, whose texts are learned from instead of the task's, before
            the task: no objective may look at labels. The task's own texts to select and to measure on are left out of it, and
            texts that are kin of them.
        nearest: Takes of these texts those alone that are among so many nearest to one of the task's training texts, by the
            mean of the teacher's last states (SentAugment, Du et al. 2021, arXiv 2010.02194, with the task's own teacher). The
            teacher reads all of them once, and every training text is compared with each.
        beside: Learn from the task's training texts as well as from `text`; without their labels.
        targets: Where texts are written, "teacher" lets it write one for each training text by beam search, which is learned
            in the place of the data's (sequence-level distillation, Kim and Rush 2016, arXiv 1606.07947, section 3.2): one
            text of the teacher's is easier to learn than all that people would write, and greedy writing then costs little.
        beams: Texts that the teacher follows at once; more cost time in proportion, once.
        masked_lm: The checkpoint that the teacher was pre-trained as, for masked_words and masked_logits; its head tells
            hidden words from the last states of both.
        mlm_probability: Which fraction of the words these hide, anew in each step.
        teacher_cache_bytes: The largest teacher's answers that are kept on disk, in the cache of the recipe; larger ones are
            computed anew in every step. Their size is told before they are written.
        max_length: Tokens of each text to read while the student learns, where the task's texts have more than student or
            teacher read.
        epochs: Passes over the training part.
        learning_rate: Highest rate of AdamW.
        run: Seed, device, checkpoints and progress.
        **knobs: How to train; see `TrainingKnobs`.

    Returns:
        The trained copy.

    Raises:
        InputError: An objective is unknown, student and teacher do not fit together, or the disk has no room for the answers.
        CompressError: The loss is not finite.
    """
    run = run or StepContext()
    task = shortened("distill", task, max_length, model)
    zero_shot = zero_shot_by("distill", nli, hypotheses, task) if nli is not None and hypotheses is not None else None
    words_of = teacher if zero_shot is None else zero_shot.model
    assert words_of is not None
    if text is not None:
        chosen_by = NearTask(words_of, nearest) if nearest is not None else None
        task = with_texts_of(
            "distill", text, task, objectives, run, written=targets == "teacher", beside=beside, chosen_by=chosen_by
        )
    if mixup:
        check_mixup("distill", objectives, model, teacher, task)
    if pairs is not None:
        check_pairs("distill", pairs, task, objectives)
    if (class_weights is not None or focal) and "labels" not in objectives:
        key = "focal" if class_weights is None else "class_weights"
        raise InputError(
            f"distill.{key} weighs the labels objective, which objectives does not name; add it, or remove {key}."
        )
    emphasis = emphasis_of("distill", class_weights, focal, task)
    if logit_tokens == "answering" and not task.rules.head.reads_tokens:
        raise InputError(f"distill.logit_tokens is 'answering', but tokens have no outputs in {task.kind}; leave it out.")
    if targets == "teacher" and not task.rules.head.writes:
        raise InputError(f"distill.targets is 'teacher', but a model for {task.kind} writes no texts; leave it out.")
    if augment is not None and task.rules.head.writes and targets == "data":
        raise InputError(
            "distill.augment puts other words into texts, which calls for other texts to write; set targets: teacher."
        )
    if augment is not None and task.train.words is not None:
        raise InputError(f"distill.augment puts other words into texts, whose words have labels in {task.kind}; leave it out.")
    if augment is not None:
        wanted = Augment(**augment)
        if run.is_rehearsal:
            check_words(wanted, words_of)
        else:
            copies = augmented(task.train, wanted, model=words_of, seed=run.seed, progress=run.progress)
            task = replace(task, train=copies)
    if pairs is not None and not run.is_rehearsal:
        task = with_pairs(task, pairs, words_of, run)
    if targets == "teacher" and not run.is_rehearsal:
        task = taught_texts(task, words_of, beams or BEAMS, run)
    if keep_projection:
        model = _projecting(model, teacher, task, run)
    how = Distillation(
        temperature,
        layers,
        relation_heads,
        project,
        progressive,
        teacher_cache_bytes,
        masked_lm,
        mlm_probability,
        last_tokens,
        logit_tokens,
        tuple(nested or ()),
        emphasis,
    )
    goal = training_loss_of(
        "distill",
        objectives,
        how,
        student=model,
        teacher=teacher,
        task=task,
        run=run,
        answers=_answers(zero_shot, task, run, how),
    )
    settings = settings_of(epochs, learning_rate, **knobs)
    if not goal.teaches_logits and settings.patience is not None:
        raise InputError(
            f"distill.patience is {settings.patience}, but these objectives do not teach the logits, so that no selection "
            "metric tells when to stop; remove it, or add logits or labels."
        )
    way = way_of("distill", train, model)
    before_step = partial(_freeze_lower_layers, goal.stages) if progressive else way.each_step
    with Mixup(mixup) as mixed:
        if mixup and teacher is not None and not run.is_rehearsal:
            goal, before_step = mixed.goal(goal, teacher, task), mixed.before_step
        return trained(model, task=task, settings=settings, goal=mixing(goal, way), run=run, before_step=before_step, way=way)


def _projecting(model: PreTrainedModel, teacher: PreTrainedModel, task: Task, run: StepContext) -> PreTrainedModel:
    """The student with a projection to the dimensions of its teacher's vectors."""
    wide = output_count(teacher) if head_of(model).gives_vectors else None
    if wide is None or output_count(model) == wide:
        what = "the model answers with no vectors" if wide is None else f"student and teacher both answer {wide} numbers"
        raise InputError(f"distill.keep_projection is true, but {what}; leave it out.")
    return with_projection(model, fitted_to_vectors(unfinished(model), teacher, task, run))


def _answers(zero_shot: ZeroShot | None, task: Task, run: StepContext, how: Distillation) -> KnownAnswers | None:
    """What hypotheses say of the training part; nothing yet in a rehearsal."""
    if zero_shot is None:
        return None
    if run.is_rehearsal:
        return KnownAnswers(np.zeros((0, len(task.labels))), {})
    return zero_shot.answers(task, run, how.teacher_cache_bytes)


def _freeze_lower_layers(stages: int, student: PreTrainedModel, step: int, total: int) -> None:
    """Let the layers below the one that learns now stay as they are; MobileBERT lets them go on at a tenth of the rate."""
    stage = 1 + step * stages // total
    for number, layer in enumerate(encoder_layers(student), 1):
        layer.requires_grad_(number >= stage)
    student.base_model.embeddings.requires_grad_(stage == 1)
