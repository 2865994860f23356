"""Prune a model until it takes no longer than asked on this machine."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import fits_together, within_range
from compress.benchmark.block_times import BlockTimes, LayerShape, Setting, model_times, shapes_of
from compress.errors import raise_together
from compress.models.head import SINGLE_LABEL_HEAD
from compress.models.layout import encoder_layers
from compress.models.surgery import copy_of, keep_layers
from compress.models.traits import why_not_cut
from compress.pruning.deployed import Examples, Milliseconds, Speedup, Target, Threads, Tokens, not_timed, times_of
from compress.pruning.guesses import with_fewer
from compress.pruning.latency_target import budgets_of, tell_what_pays, wrong_times
from compress.pruning.stitching import Batches, Parts, kept_layers, parts_of, stitched
from compress.pruning.time_budget import Budget, fastest_ms
from compress.quantization.calibration import FEWEST, answers
from compress.tasks.labelled import Task
from compress.training.batches import sorted_batches
from compress.training.compatibility import check_fit, labels_aligned
from compress.training.loop import train
from compress.training.predict import on_device
from compress.training.settings import Average, BatchSize, Epochs, LearningRate, Settings, settings_of
from compress.training.step_context import StepContext
from compress.training.teaching import Distillation, TeacherCacheBytes, training_loss_of
from compress.training.training_loss import TrainingLoss

logger = logging.getLogger(__name__)

Faster = Annotated[float, Field(gt=1)]

JUDGED = 256  # sentences of the calibration part on which structures are compared
READ = 32  # examples in a batch
RANDOM_FIRST = 0.5  # of the trials; the others change the best weights so far
CHANGED = 0.1  # probability that a weight is drawn anew
OBJECTIVES = {"logits": 1.0, "hidden": 1.0}
CORRECTIONS = 4  # times at most that the last cut is repeated with a time that makes up for what the table is off by
NEAR = 0.03  # of what was asked, within which a measured time is right
LATE = 1.1
UNKNOWN = 2.0  # times that a model is rehearsed to become faster where milliseconds were asked for


@dataclass(frozen=True)
class _Search:
    """What the cuts share.

    Args:
        dense: The model that comes in, or its teacher where speed-ups count against that.
        dense_ms: What its file takes.
        depth: Layers of the model that comes in.
        task: Its training part is read for pruning.
        judged: Sentences on which structures are compared.
        log_targets: The logarithms of its probabilities for them, (examples, labels).
        times: The table.
        setting: Where and how it will run.
        trials: Structures to compare in each cut.
        examples: Sentences to prune on.
        run: Seed and progress.
        losses: What each cut's best structure diverges from the incoming model by.
    """

    dense: PreTrainedModel
    dense_ms: float
    depth: int
    task: Task
    judged: Batches
    log_targets: torch.Tensor
    times: BlockTimes
    setting: Setting
    trials: int
    examples: int
    run: StepContext
    losses: list[float] = field(default_factory=list)


@within_range
@fits_together(wrong_times)
@labels_aligned()
def prune_to_latency(
    model: PreTrainedModel,
    *,
    task: Task,
    speedup: Speedup = None,
    p50_ms: Milliseconds = None,
    target: Target = "onnxruntime-cpu",  # type: ignore[valid-type]
    batch: Examples = 1,
    length: Tokens = 32,
    threads: Threads = 1,
    examples: Annotated[int, Field(ge=16, description="training sentences that pruning looks at")] = 1024,
    trials: Annotated[int, Field(ge=1, description="structures compared in each cut; time grows in proportion")] = 40,
    schedule: Annotated[
        list[Faster] | None, Field(min_length=1, description="speed-ups on the way, after each of which the model is trained")
    ] = None,
    teacher: PreTrainedModel | None = None,
    against: Annotated[Literal["model", "teacher"], Field(description="whose file speed-ups are counted against")] = "model",
    teacher_cache_bytes: TeacherCacheBytes = 4_000_000_000,
    epochs: Epochs = 1,
    learning_rate: LearningRate = 1e-4,
    batch_size: BatchSize = 64,
    average: Average = 0.0,
    run: StepContext | None = None,
) -> PreTrainedModel:
    """Prune heads, neurons and layers until the exported file takes no longer than asked on this machine.

    What heads and neurons cost is measured first, in the target's runtime and precision, at this batch, length and number of
    threads. Then every size of every part is pruned with the others making up for what goes, and structures that keep to the
    time are compared by what the model answers. The first lines of the log say how fast the model can get at all, and
    whether narrower layers pay here or only fewer ones.

    Accuracy comes back in training: pass speed-ups on the way (`schedule: [2]` before 4), and let `distill` follow.

    Source: Kurtic, Frantar and Alistarh 2023, ZipLM, arXiv 2302.04089.
    Differs: an attention or feed-forward part without heads or neurons leaves its LayerNorm and bias behind, which the paper
    drops too; only a layer that loses both is gone as a whole. Biases are fitted with the weights. A last layer of which the
    head reads one token has costs of its own. The structure's quality is the divergence of its answers from the model's.

    Args:
        model: A BERT or DistilBERT that has learned the task; stays as it is.
        task: Its training part is pruned on, its calibration part judges structures; the evaluation split is not touched.
        speedup: The model's file today over the pruned model's, both in the target; give this or `p50_ms`.
        p50_ms: The median that a call of the pruned model's file may take; give this or `speedup`.
        target: What will run it, with its default options.
        batch: Examples in a call; at small batches, fewer layers pay more than narrower ones.
        length: Tokens of each example.
        threads: That the runtime may use.
        examples: Sentences that pruning looks at; more cost time in proportion, fewer make wide layers' fits worse.
        trials: Structures compared in each cut; more find better ones, and cost an evaluation each.
        schedule: Speed-ups below the last one, rising; after each the model is trained to answer and to represent tokens as
            its teacher does. None cuts once.
        teacher: What it learns from between the cuts, as wide as the model and with its tokenizer; None is the model itself.
        against: "teacher" lets a model that was pruned and distilled before be pruned further, to so many times the speed of
            the teacher that all began with: a family of models, each of which goes on from the one before.
        teacher_cache_bytes: The largest teacher's answers that are kept on disk.
        epochs: Passes over the training part after each cut of the schedule.
        learning_rate: Highest rate of AdamW between the cuts.
        batch_size: Examples per forward pass between the cuts.
        average: Last fraction of the steps between two cuts whose weights are averaged.
        run: Seed, device, checkpoints, cache and progress.

    Returns:
        The pruned copy.

    Raises:
        InputError: The time is not below today's or cannot be reached, the runtime is missing, or the model, its teacher or
            the data do not fit.
        CompressError: The machine is too busy to measure on.
    """
    run = run or StepContext()
    setting = Setting(target, batch, length, threads, quick=run.tiny)
    _check(model, task, setting, teacher)
    task = task.read_by(model) if teacher is None else task.read_by(model).read_by(teacher)
    if run.is_rehearsal:
        return _rehearsed(model, teacher, speedup or UNKNOWN, bool(schedule), teacher_cache_bytes, task, run)
    times = times_of(model, task, setting, run)
    dense = copy_of(teacher if against == "teacher" and teacher is not None else model).eval()
    dense_ms = times.dense_ms
    if against == "teacher":
        taken = model_times({"dense": dense, "model": model}, task, setting, progress=run.progress)
        dense_ms *= taken["dense"] / taken["model"]
    budgets = budgets_of(times, dense_ms, setting, speedup, p50_ms, schedule or [])
    tell_what_pays(times, setting, shapes_of(model))
    judged = _batches(task, dense, task.calibration.require("calibration").take(JUDGED))
    depth = len(encoder_layers(model))
    log_targets = _log_probabilities(dense, judged)
    search = _Search(dense, dense_ms, depth, task, judged, log_targets, times, setting, trials, examples, run)
    settings = settings_of(epochs, learning_rate, batch_size=batch_size, average=average)
    student, layers, cuts = copy_of(model).eval(), list(range(depth)), []
    for number, budget_ms in enumerate(budgets, 1):
        is_last = number == len(budgets)
        cut = _cut(student, budget_ms, search, is_measured=is_last)
        student, layers = cut.student, [layers[index] for index in cut.kept]
        cuts.append(_facts_of_cut(cut, layers, budget_ms, search))
        if not is_last:
            student = _trained(student, teacher or dense, layers, settings, teacher_cache_bytes, search)
    run.facts["latency"] = _facts(cut.taken, search, cuts)
    student.requires_grad_(True)
    return student


def _rehearsed(
    model: PreTrainedModel,
    teacher: PreTrainedModel | None,
    speedup: float,
    learns: bool,
    teacher_cache_bytes: int,
    task: Task,
    run: StepContext,
) -> PreTrainedModel:
    """A copy of all layers or of fewer, of which so much stays that it may be fast enough."""
    depth = len(encoder_layers(model))
    chosen = run.guess.among(depth)
    layers = list(range(depth - chosen))
    gone = 1 - min(1.0, depth / speedup / len(layers))
    student = with_fewer(keep_layers(model, layers), gone, gone, chosen % len(layers))
    if learns:
        _goal_between(student, teacher or model, layers, depth, teacher_cache_bytes, task, run)
        check_fit(student, task)
    return student.requires_grad_(True)


def _check(model: PreTrainedModel, task: Task, setting: Setting, teacher: PreTrainedModel | None) -> None:
    """Raise InputError for everything that is wrong and can be told without measuring."""
    wrong = not_timed("prune_to_latency", model, setting)
    if why := why_not_cut(model):
        wrong = [*wrong, f"prune_to_latency: {why}"]
    if len(task.calibration) < FEWEST:
        wrong = [
            *wrong,
            f"the task's calibration part has {len(task.calibration)} examples; prune_to_latency needs at least {FEWEST} to "
            "compare structures on: give more training data, from which it is cut.",
        ]
    if task.rules.head != SINGLE_LABEL_HEAD:
        wrong = [*wrong, f"prune_to_latency compares probabilities of labels, which a task of {task.kind} does not have."]
    if teacher is not None and not _fits(model, teacher):
        wrong = [
            *wrong,
            "prune_to_latency.teacher has another width, tokenizer or other labels than the model; leave it out, and the "
            "model is its own teacher.",
        ]
    raise_together(wrong)


def _fits(model: PreTrainedModel, teacher: PreTrainedModel) -> bool:
    own, its = (
        (network.config.hidden_size, list(network.config.id2label.values()), network.tokenizer.get_vocab())
        for network in (model, teacher)
    )
    return own == its


def _batches(task: Task, model: PreTrainedModel, split: Any) -> list[dict[str, torch.Tensor]]:
    encoded = task.read_by(model).encode(split, model.tokenizer)
    return [on_device(encoded.batch(indices), "cpu") for indices in sorted_batches(encoded.lengths, READ)]


def _log_probabilities(model: PreTrainedModel, batches: Batches) -> torch.Tensor:
    return torch.from_numpy(answers(model, batches)).log_softmax(-1)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Cut:
    """A pruned copy.

    Args:
        student: The copy.
        kept: Which layers are left.
        predicted_ms: What it takes by the table, what the table was found to be off by included.
        taken: What its file and the incoming model's were measured to take, in milliseconds; empty where they were not.
    """

    student: PreTrainedModel
    kept: list[int]
    predicted_ms: float
    taken: Mapping[str, float]


def _cut(student: PreTrainedModel, budget_ms: float, search: _Search, *, is_measured: bool) -> _Cut:
    """Prune the student to a time.

    Where it is measured and found to be off, structures are searched anew, by a table that fits what was measured; the one
    that came nearest to the time is taken.
    """
    random = np.random.default_rng((search.run.seed, len(search.losses)))
    train_part = search.task.train.require("train")
    chosen = np.sort(random.permutation(len(train_part))[: search.examples])
    parts = parts_of(student, _batches(search.task, student, train_part.pick(chosen)), search.run.progress)
    losses, times, tried = [part.losses for part in parts], search.times, []
    for attempt in range(CORRECTIONS + 1):
        budget = Budget(losses, times, max(budget_ms, fastest_ms(times)))
        structure, loss = _best_structure(student, parts, budget, search, random)
        pruned = stitched(student, parts, structure)
        predicted_ms = times.model_ms(shapes_of(pruned))
        taken = _measured({"dense": search.dense, "pruned": pruned}, search) if is_measured else {}
        ms = taken["pruned"] / taken["dense"] * search.dense_ms if taken else predicted_ms
        tried.append((abs(math.log(ms / budget_ms)), ms, loss, _Cut(pruned, kept_layers(structure), predicted_ms, taken)))
        if abs(ms / budget_ms - 1) <= NEAR or attempt == CORRECTIONS or search.setting.quick or not taken:
            break
        logger.info("%.3g ms allowed, %.3g predicted, but %.3g measured: the search is repeated", budget_ms, predicted_ms, ms)
        times = search.times.refitted([(shapes_of(cut.student), measured) for _, measured, _, cut in tried])
    _, _, loss, best = min(tried, key=lambda trial: trial[0])
    search.losses.append(loss)
    return best


def _measured(models: Mapping[str, PreTrainedModel], search: _Search) -> dict[str, float]:
    return model_times(models, search.task, search.setting, progress=search.run.progress)


def _best_structure(
    student: PreTrainedModel, parts: Sequence[Parts], budget: Budget, search: _Search, random: np.random.Generator
) -> tuple[list[LayerShape], float]:
    """The structure whose answers are nearest to the incoming model's, of those that are best for some weights of the layers.

    The first trial weighs all layers alike, others draw weights at random, and the rest draw some of the best ones anew.
    """
    tried: dict[tuple[LayerShape, ...], float] = {}
    best_weights, best = np.ones((len(parts), 2)), torch.inf
    for trial in range(search.trials):
        weights = best_weights
        if 0 < trial < RANDOM_FIRST * search.trials:
            weights = random.random(best_weights.shape)
        elif trial:
            weights = np.where(random.random(best_weights.shape) < CHANGED, random.random(best_weights.shape), best_weights)
        structure = tuple(budget.best(weights))
        if structure not in tried:
            said = _log_probabilities(stitched(student, parts, structure), search.judged)
            tried[structure] = float((search.log_targets.exp() * (search.log_targets - said)).sum(-1).mean())
        if tried[structure] < best:
            best_weights, best = weights, tried[structure]
        search.run.progress("search", trial + 1, search.trials, loss=best)
    nearest = min(tried, key=tried.__getitem__)
    return list(nearest), tried[nearest]


def _trained(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    layers: Sequence[int],
    settings: Settings,
    teacher_cache_bytes: int,
    search: _Search,
) -> PreTrainedModel:
    """Let a pruned student learn from its teacher's answers, and from the states of the same layers where it has as many as
    the model had."""
    folder = search.run.folder and search.run.folder / f"cut-{len(search.losses)}"
    run = replace(search.run, folder=folder, facts={})
    goal = _goal_between(student, teacher, layers, search.depth, teacher_cache_bytes, search.task, run)
    trained = train(student, task=search.task, settings=settings, goal=goal, run=run)
    search.run.facts.update(run.facts)
    return trained


def _goal_between(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    layers: Sequence[int],
    depth: int,
    teacher_cache_bytes: int,
    task: Task,
    run: StepContext,
) -> TrainingLoss:
    """What a student learns between two cuts, of which these of once `depth` layers are left."""
    alike = len(encoder_layers(teacher)) == depth
    how = Distillation(layers=[index + 1 for index in layers] if alike else "uniform", teacher_cache_bytes=teacher_cache_bytes)
    return training_loss_of("prune_to_latency", OBJECTIVES, how, student=student, teacher=teacher, task=task, run=run)


def _facts_of_cut(cut: _Cut, layers: Sequence[int], budget_ms: float, search: _Search) -> dict[str, Any]:
    shapes = shapes_of(cut.student)
    facts = {
        "budget_ms": round(budget_ms, 4),
        "predicted_ms": round(cut.predicted_ms, 4),
        "layers": list(layers),
        "heads": [shape[0] for shape in shapes],
        "neurons": [shape[1] for shape in shapes],
        "divergence": round(search.losses[-1], 6),
    }
    logger.info(
        "%.3g ms allowed, %.3g predicted: layers %s with %s heads and %s neurons; divergence %.3g",
        budget_ms,
        facts["predicted_ms"],
        layers,
        facts["heads"],
        facts["neurons"],
        search.losses[-1],
    )
    return facts


def _facts(taken: Mapping[str, float], search: _Search, cuts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What was asked, predicted and measured, for run.json."""
    setting, dense_ms = search.setting, search.dense_ms
    asked, predicted = dense_ms / cuts[-1]["budget_ms"], dense_ms / cuts[-1]["predicted_ms"]
    measured = taken["dense"] / taken["pruned"]
    say = logger.warning if measured * LATE < asked and not setting.quick else logger.info
    say("%s: %.3g times faster was asked, %.3g predicted, %.3g measured", setting, asked, predicted, measured)
    return {
        "target": setting.target,
        "batch": setting.batch,
        "length": setting.length,
        "threads": setting.threads,
        "dense_ms": round(dense_ms, 4),
        "base_ms": round(search.times.base_ms, 4),
        "fastest_ms": round(fastest_ms(search.times), 4),
        "cuts": list(cuts),
        "speedup": {"asked": round(asked, 3), "predicted": round(predicted, 3), "measured": round(measured, 3)},
        "measured_ms": {name: round(ms, 4) for name, ms in taken.items()},
    }
