"""Prune a model until it takes no longer than asked on this machine."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.bert.families import FAMILIES
from compress.bert.layout import encoder_layers
from compress.bert.quantizers import quantized_linears
from compress.bert.surgery import copy_of
from compress.errors import InputError, raise_together
from compress.export.exporting import check_runtime
from compress.measure.block_times import BlockTimes, Setting, Shape, block_times, model_times, shapes_of
from compress.search.budget import Budget, fastest_ms
from compress.search.stitching import Batches, Parts, kept_layers, parts_of, stitched
from compress.tasks.text_classification import Task
from compress.train.batches import sorted_batches
from compress.train.calibration import FEWEST, answers
from compress.train.loop import train
from compress.train.predict import on_device
from compress.train.run import Run
from compress.train.settings import Average, BatchSize, Epochs, LearningRate, Settings
from compress.train.teaching import TeacherCacheBytes, Teaching, goal_of

logger = logging.getLogger(__name__)

Faster = Annotated[float, Field(gt=1)]

JUDGED = 256  # sentences of the calibration part on which structures are compared
READ = 32  # examples in a batch
RANDOM_FIRST = 0.5  # of the trials; the others change the best weights so far
CHANGED = 0.1  # probability that a weight is drawn anew
OBJECTIVES = {"logits": 1.0, "hidden": 1.0}
PAYS = 0.5  # of what half a layer is to save
CORRECTIONS = 4  # times at most that the last cut is repeated with a time that makes up for what the table is off by
NEAR = 0.03  # of what was asked, within which a measured time is right
LATE = 1.1


@dataclass(frozen=True)
class _Search:
    """What the cuts share.

    Args:
        dense: The model that comes in.
        task: Its training part is read for pruning.
        judged: Sentences on which structures are compared.
        told: The logarithms of its probabilities for them, (examples, labels).
        times: The table.
        setting: Where and how it will run.
        trials: Structures to compare in each cut.
        examples: Sentences to prune on.
        run: Seed and progress.
        losses: What each cut's best structure diverges from the incoming model by.
    """

    dense: PreTrainedModel
    task: Task
    judged: Batches
    told: torch.Tensor
    times: BlockTimes
    setting: Setting
    trials: int
    examples: int
    run: Run
    losses: list[float] = field(default_factory=list)


@within_range
def prune_to_latency(
    model: PreTrainedModel,
    *,
    task: Task,
    speedup: Annotated[float | None, Field(gt=1, description="how many times faster than today; or give p50_ms")] = None,
    p50_ms: Annotated[float | None, Field(gt=0, description="median milliseconds of a call; or give speedup")] = None,
    target: Annotated[
        Literal["onnxruntime-cpu", "onnxruntime-cpu-int8", "openvino-cpu", "openvino-cpu-int8"],
        Field(description="what will run it; times are of its files, with its default options"),
    ] = "onnxruntime-cpu",
    batch: Annotated[int, Field(ge=1, description="examples in a call")] = 1,
    length: Annotated[int, Field(ge=1, description="tokens of each example")] = 32,
    threads: Annotated[int, Field(ge=1, description="threads of the runtime")] = 1,
    examples: Annotated[int, Field(ge=16, description="training sentences that pruning looks at")] = 1024,
    trials: Annotated[int, Field(ge=1, description="structures compared in each cut; time grows in proportion")] = 40,
    schedule: Annotated[
        list[Faster] | None, Field(min_length=1, description="speed-ups on the way, after each of which the model is trained")
    ] = None,
    teacher: PreTrainedModel | None = None,
    teacher_cache_bytes: TeacherCacheBytes = 4_000_000_000,
    epochs: Epochs = 1,
    learning_rate: LearningRate = 1e-4,
    batch_size: BatchSize = 64,
    average: Average = 0.0,
    run: Run | None = None,
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
    run = run or Run()
    setting = Setting(target, batch, length, threads, quick=run.max_steps is not None)
    _check(model, task, setting, speedup, p50_ms, schedule, teacher)
    told = run.answers / "times" if run.answers else None
    times = block_times(model, task, setting, folder=told, progress=run.progress)
    budgets = _budgets(times, setting, speedup, p50_ms, schedule or [])
    dense = copy_of(model).eval()
    _tell_what_pays(times, setting, shapes_of(model))
    judged = _batches(task, dense, task.calibration.require("calibration").take(JUDGED))
    search = _Search(dense, task, judged, _log_probabilities(dense, judged), times, setting, trials, examples, run)
    settings = Settings(epochs, learning_rate, batch_size, 1, "linear", 0.1, 0.01, 1.0, average, None)
    student, layers, cuts = dense, list(range(len(encoder_layers(dense)))), []
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


def wrong_times(speedup: float | None, p50_ms: float | None, schedule: Sequence[float] | None) -> list[str]:
    """What is wrong with the times that are asked for."""
    given = [name for name, value in (("speedup", speedup), ("p50_ms", p50_ms)) if value is not None]
    steps = [*(schedule or []), *([speedup] if speedup is not None else [])]
    found = []
    if len(given) != 1:
        found.append(f"prune_to_latency is given {' and '.join(given) or 'neither speedup nor p50_ms'}; give one of the two.")
    if any(later <= earlier for earlier, later in pairwise(steps)):
        below = "" if speedup is None else f", the last below speedup, which is {speedup:g}"
        found.append(f"prune_to_latency.schedule is {list(schedule or [])}; speed-ups rise{below}: correct the list.")
    return found


def _check(
    model: PreTrainedModel, task: Task, setting: Setting, speedup: float | None, p50_ms: float | None,
    schedule: Sequence[float] | None, teacher: PreTrainedModel | None,
) -> None:  # fmt: skip
    """Raise InputError for everything that is wrong and can be told without measuring."""
    known = [kind for kind, family in FAMILIES.items() if family.after_attention is not None]
    if model.config.model_type not in known:
        raise InputError(
            f"prune_to_latency: a {model.config.model_type} cannot be pruned part by part; allowed: {', '.join(known)}. Use "
            "build_student for another shape."
        )
    longest = model.config.max_position_embeddings
    raise_together([
        *wrong_times(speedup, p50_ms, schedule),
        *([f"prune_to_latency.length is {setting.length}, but the model reads at most {longest} tokens; use fewer."]
          if setting.length > longest else []),
        *(["prune_to_latency: the model quantizes already; prune it before quantize_aware."]
          if quantized_linears(model) else []),
        *([f"the task's calibration part has {len(task.calibration)} examples; prune_to_latency needs at least {FEWEST} to "
           "compare structures on: give more training data, from which it is cut."] if len(task.calibration) < FEWEST else []),
        *(["prune_to_latency.teacher has another width, tokenizer or other labels than the model; leave it out, and the model "
           "is its own teacher."] if teacher is not None and not _fits(model, teacher) else []),
    ])  # fmt: skip
    check_runtime(setting.target)


def _fits(model: PreTrainedModel, teacher: PreTrainedModel) -> bool:
    own, its = ((one.config.hidden_size, list(one.config.id2label.values()), one.tokenizer.get_vocab())
                for one in (model, teacher))  # fmt: skip
    return own == its


def _budgets(
    times: BlockTimes, setting: Setting, speedup: float | None, p50_ms: float | None, schedule: Sequence[float]
) -> list[float]:
    """What the model may take after each cut, in milliseconds.

    Raises:
        InputError: The last is not below today's time, or cannot be reached.
    """
    today, fastest = times.dense_ms, fastest_ms(times)
    logger.info("%s takes %.3g ms today, of which %.3g ms cannot be pruned; with one head in one layer it would take %.3g ms, "
                "%.3g times less", setting, today, times.base_ms, fastest, today / fastest)  # fmt: skip
    wanted = today / speedup if speedup else p50_ms
    assert wanted is not None
    if setting.quick and not fastest < wanted < today:
        logger.info("a tiny model's time is nearly all overhead, so that the middle of what can be reached is taken")
        return [float(one) for one in np.linspace(today, (today + fastest) / 2, len(schedule) + 2)[1:]]
    if wanted >= today:
        raise InputError(
            f"prune_to_latency.p50_ms is {wanted:g}, but the model takes {today:.3g} ms already ({setting}); ask for less, or "
            "remove the step."
        )
    if wanted < fastest:
        asked = f"speedup is {speedup:g}, which is {wanted:.3g} ms" if speedup else f"p50_ms is {p50_ms:g}"
        raise InputError(
            f"prune_to_latency.{asked}, but {setting} takes at least {fastest:.3g} ms, when all but one head in one layer is "
            f"gone, {today / fastest:.3g} times less than today's {today:.3g} ms; ask for less than that, or use "
            "build_student for a narrower model or one without an encoder."
        )
    late = [one for one in schedule if today / one <= wanted]
    if late:
        raise InputError(
            f"prune_to_latency.schedule names {late[0]:g}, but p50_ms is {wanted:g}, {today / wanted:.3g} times less than "
            "today; name smaller speed-ups."
        )
    return [*(today / one for one in schedule), wanted]


def _tell_what_pays(times: BlockTimes, setting: Setting, shapes: Sequence[Shape]) -> None:
    """Say aloud when narrower layers are hardly faster, so that only fewer of them are."""
    shape = max(shapes)
    whole, half = times.layer_ms(shape), times.layer_ms((shape[0] // 2, shape[1] // 2))
    saved = 1 - half / whole if whole else 0.0
    if saved < PAYS * 0.5:
        logger.warning("%s: half the heads and neurons make a layer only %.0f %% faster, so that narrower layers do not pay, "
                       "and fewer do; a larger batch or length would change that", setting, 100 * saved)  # fmt: skip
    else:
        logger.info("%s: half the heads and neurons make a layer %.0f %% faster", setting, 100 * saved)


def _batches(task: Task, model: PreTrainedModel, split: Any) -> list[dict[str, torch.Tensor]]:
    encoded = task.encode(split, model.tokenizer)
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
    losses, times, tried = [one.losses for one in parts], search.times, []
    for attempt in range(CORRECTIONS + 1):
        budget = Budget(losses, times, max(budget_ms, fastest_ms(times)))
        structure, loss = _best_structure(student, parts, budget, search, random)
        pruned = stitched(student, parts, structure)
        predicted_ms = times.model_ms(shapes_of(pruned))
        taken = _measured({"dense": search.dense, "pruned": pruned}, search) if is_measured else {}
        ms = taken["pruned"] / taken["dense"] * search.times.dense_ms if taken else predicted_ms
        tried.append((abs(math.log(ms / budget_ms)), ms, loss, _Cut(pruned, kept_layers(structure), predicted_ms, taken)))
        if abs(ms / budget_ms - 1) <= NEAR or attempt == CORRECTIONS or search.setting.quick or not taken:
            break
        logger.info("%.3g ms allowed, %.3g predicted, but %.3g measured: the search is repeated", budget_ms, predicted_ms, ms)
        times = search.times.refitted([(shapes_of(cut.student), measured) for _, measured, _, cut in tried])
    _, _, loss, found = min(tried, key=lambda one: one[0])
    search.losses.append(loss)
    return found


def _measured(models: Mapping[str, PreTrainedModel], search: _Search) -> dict[str, float]:
    return model_times(models, search.task, search.setting, progress=search.run.progress)


def _best_structure(
    student: PreTrainedModel, parts: Sequence[Parts], budget: Budget, search: _Search, random: np.random.Generator
) -> tuple[list[Shape], float]:
    """The structure whose answers are nearest to the incoming model's, of those that are best for some weights of the layers.

    The first trial weighs all layers alike, others draw weights at random, and the rest draw some of the best ones anew.
    """
    tried: dict[tuple[Shape, ...], float] = {}
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
            tried[structure] = float((search.told.exp() * (search.told - said)).sum(-1).mean())
        if tried[structure] < best:
            best_weights, best = weights, tried[structure]
        search.run.progress("search", trial + 1, search.trials, loss=best)
    found = min(tried, key=tried.__getitem__)
    return list(found), tried[found]


def _trained(
    student: PreTrainedModel, teacher: PreTrainedModel, layers: Sequence[int], settings: Settings, teacher_cache_bytes: int,
    search: _Search,
) -> PreTrainedModel:  # fmt: skip
    """Let a pruned student learn from its teacher's answers, and from the states of the same layers where it has as many as
    the model had."""
    folder = search.run.folder and search.run.folder / f"cut-{len(search.losses)}"
    run = replace(search.run, folder=folder, facts={})
    alike = len(encoder_layers(teacher)) == len(encoder_layers(search.dense))
    how = Teaching(layers=[index + 1 for index in layers] if alike else "uniform", teacher_cache_bytes=teacher_cache_bytes)
    goal = goal_of("prune_to_latency", OBJECTIVES, how, student=student, teacher=teacher, task=search.task, run=run)
    trained = train(student, task=search.task, settings=settings, goal=goal, run=run)
    search.run.facts.update(run.facts)
    return trained


def _facts_of_cut(cut: _Cut, layers: Sequence[int], budget_ms: float, search: _Search) -> dict[str, Any]:
    shapes = shapes_of(cut.student)
    found = {
        "budget_ms": round(budget_ms, 4), "predicted_ms": round(cut.predicted_ms, 4), "layers": list(layers),
        "heads": [shape[0] for shape in shapes], "neurons": [shape[1] for shape in shapes],
        "divergence": round(search.losses[-1], 6),
    }  # fmt: skip
    logger.info("%.3g ms allowed, %.3g predicted: layers %s with %s heads and %s neurons; divergence %.3g", budget_ms,
                found["predicted_ms"], layers, found["heads"], found["neurons"], search.losses[-1])  # fmt: skip
    return found


def _facts(taken: Mapping[str, float], search: _Search, cuts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What was asked, predicted and measured, for run.json."""
    setting, dense_ms = search.setting, search.times.dense_ms
    asked, predicted = dense_ms / cuts[-1]["budget_ms"], dense_ms / cuts[-1]["predicted_ms"]
    measured = taken["dense"] / taken["pruned"]
    say = logger.warning if measured * LATE < asked and not setting.quick else logger.info
    say("%s: %.3g times faster was asked, %.3g predicted, %.3g measured", setting, asked, predicted, measured)
    return {
        "target": setting.target, "batch": setting.batch, "length": setting.length, "threads": setting.threads,
        "dense_ms": round(dense_ms, 4), "base_ms": round(search.times.base_ms, 4),
        "fastest_ms": round(fastest_ms(search.times), 4), "cuts": list(cuts),
        "speedup": {"asked": round(asked, 3), "predicted": round(predicted, 3), "measured": round(measured, 3)},
        "measured_ms": {name: round(ms, 4) for name, ms in taken.items()},
    }  # fmt: skip
