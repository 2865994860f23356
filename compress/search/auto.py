"""From a model, data and limits to the file that keeps them: try, measure, decide, and leave what was chosen and why."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from compress.benchmark.counts import torch_macs
from compress.disk import Damaged, read_sealed, write_sealed
from compress.errors import CompressError, InputError, first_line, raise_together, shown
from compress.methods.build_decoder import build_decoder
from compress.models.checkpoint.loading import load
from compress.models.families import longest_text
from compress.models.heads import aligned
from compress.record import duration, write_whole
from compress.search.candidates import FORWARD_AND_BACK, Start, Steps, candidates_for, epochs_for, recipe_of, teacher_steps
from compress.search.deciding import Next, Stop, decide
from compress.search.goals import Goals, Outcome, check_goals, outcome_of
from compress.search.prediction import Candidate, Prior
from compress.search.telling import explained, trial_line, write_record, write_report
from compress.search.trial import COMPLETE, RUN, Trial, run_trial
from compress.targets import TARGETS
from compress.targets.exporting import check_runtime
from compress.tasks import task as read_task
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext

logger = logging.getLogger(__name__)

SEARCH, TRIALS, BUNDLE = "search.json", "trials", "bundle"
TRIAL_SECONDS = 40.0
"""A trial that trains nothing, where none was measured: it starts a process, exports and measures."""
GAIN, INT8_GAIN = 1.8, 4.0
"""How many times faster files are than torch at batch 1, until one was measured."""
BYTES, INT8_BYTES = 4.0, 1.0
TRAINING_GAIN = 2.0
"""How many times less an example takes in a batch of many than alone."""
SAMPLE, CALLS, ROUND_TO = 500, 5, 8


@dataclass(frozen=True)
class Found:
    """What a search leaves.

    Args:
        folder: Holds recipe.yaml, run/, bundle/, auto.json and report.html.
        meets: Whether a file meets the goals, by the selection part.
        record: The content of auto.json.
        explanation: Why this one, in five sentences.
    """

    folder: Path
    meets: bool
    record: dict[str, Any]
    explanation: str


def auto(
    model: str,
    data: str | Mapping[str, Any],
    *,
    out: str | Path,
    goals: Goals | None = None,
    hours: float = 2.0,
    target: str = "onnxruntime-cpu-int8",
    length: int | None = None,
    device: str = "auto",
    cache: Path | None = None,
    seed: int = 13,
    new_head: bool = False,
    **task: Any,
) -> Found:
    """Find the fastest file that keeps the goals, and leave it with the recipe that makes it.

    Every trial is judged on the selection part. The evaluation part is measured on once, in the end, for the winner and the
    teacher. Stopped and called again with the same arguments, it goes on; finished trials are not repeated.

    Args:
        model: Hub name, folder or `package:NAME`; fine-tuned, or pretrained and then fine-tuned first.
        data: As `compress.task` takes it.
        out: A folder of its own.
        goals: Limits of the file; a drop of a point at most if None.
        hours: To spend; by at most one trial more.
        target: What is shipped.
        length: Tokens that are timed; the data's median if None.
        device: auto, cpu or cuda.
        cache: Where finished steps are kept; in `out` if None.
        seed: Of every random choice.
        new_head: Train the model first, with a new head, whatever its own was for.
        **task: Other arguments of `compress.task`, such as kind and max_length.

    Raises:
        InputError: Model, data, goals or target are wrong, or the time is too short for one trial.
        CompressError: No trial could be measured.
    """
    goals, folder = goals or Goals(), Path(out).absolute()
    _check_early(goals, hours, target)
    settings = {"model": model, "data": data, "task": task, "target": target, "length": length, "seed": seed}
    settings["new_head"] = new_head
    outcomes = _outcomes_before(folder, settings)
    read = read_task(data, **task)
    check_goals(goals, read.rules.classes(read.labels), read.kind)
    if not len(read.selection):
        raise InputError("the data has no selection part, on which trials are compared; give more training rows.")
    start, prior = _start(model, read, target, length, goals, new_head)
    seconds = hours * 3600
    _check_time(seconds, start, prior)
    candidates, refused = candidates_for(start)
    if not candidates:
        raise InputError("\n  ".join(["nothing can be tried on this model:", *(f"{n}: {why}" for n, why in refused.items())]))
    begin = {"seed": seed, "model": model, "task": {**task, "kind": read.kind, "data": data}}
    search = _Search(goals, candidates, begin, start, prior, seconds, folder, cache or folder / ".cache", device, settings)
    stop, tried = search.run(outcomes)
    if stop.best is None:
        errors = [f"{outcome.candidate}: {outcome.error}" for outcome, _ in tried if outcome.error]
        raise CompressError("\n  ".join(["no trial could be measured, so there is nothing to choose from:", *errors]))
    return search.finish(stop, tried, refused)


def _check_early(goals: Goals, hours: float, target: str) -> None:
    """Raise InputError for what no model and no data is needed to see."""
    wrong = []
    if target not in TARGETS:
        wrong.append(f"--target {shown(target)} is unknown; allowed: {', '.join(TARGETS)}.")
    if not hours > 0:
        wrong.append(f"--hours is {hours:g}; allowed: a number above 0, such as 2.")
    try:
        check_goals(replace(goals, min_recall={}), (), "")
    except InputError as err:
        wrong.append(str(err))
    raise_together(wrong)
    check_runtime(target)


def _outcomes_before(folder: Path, settings: Mapping[str, Any]) -> list[tuple[Outcome, dict[str, Any]]]:
    """The finished trials of a search that was stopped, each with what was predicted.

    Raises:
        InputError: The folder holds something else.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return []
    try:
        content = read_sealed(folder / SEARCH)
    except Damaged as err:
        raise InputError(f"{folder} is not empty and holds no search to go on with ({err}); name another --out.") from err
    if content["settings"] != _digest(settings):
        raise InputError(
            f"{folder} holds a search with another model, data, target, length or seed; name another --out, or give the same."
        )
    return [(outcome_of(entry["outcome"]), entry["predicted"]) for entry in content["tried"]]


def _digest(settings: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


def _start(name: str, task: Task, target: str, length: int | None, goals: Goals, new_head: bool) -> tuple[Start, Prior]:
    """Load the model, see whether it has to be trained first, and time it."""
    model, steps = _loaded(name, task, new_head)
    epochs = epochs_for(len(task.train))
    if model.has_new_head:
        steps = [*steps, *teacher_steps(model, epochs, new_head)]
        model.has_new_head = False  # it stands for the teacher that it will be
    longest = longest_text(model.config)
    tokens = length or min(longest, _usual_length(task.within(longest), model))
    if tokens > longest:
        raise InputError(f"--length is {tokens}, but the model reads at most {longest} tokens; give fewer.")
    needs_speed = any(limit is not None for limit in (goals.p50_ms, goals.p95_ms, goals.speedup))
    start = Start(model, task, steps, target, tokens, epochs, needs_speed)
    return start, _prior(start)


def _loaded(name: str, task: Task, new_head: bool) -> tuple[PreTrainedModel, Steps]:
    head = task.rules.head
    try:
        model = load(name, labels=task.labels, head=head, new_head=new_head)
        if not model.has_new_head:
            model = aligned(model, task.labels, head, who=f"the model {name}")
        return model, []
    except InputError:
        if not head.writes:
            raise
    step: dict[str, Any] = {"layers": 3}
    made = build_decoder(load(name), task=task, **step, run=StepContext(device="cpu", rehearsal=True))
    return made, [{"build_decoder": step}]


def _usual_length(task: Task, model: PreTrainedModel) -> int:
    """The median length of a text, as a multiple of 8."""
    part = task.selection.require("selection")
    lengths = task.encode(part.pick(np.arange(min(SAMPLE, len(part)))), model.tokenizer).lengths
    return int(np.ceil(np.median(lengths) / ROUND_TO)) * ROUND_TO


def _prior(start: Start) -> Prior:
    macs = torch_macs(start.model, start.length)
    teacher_ms = _torch_ms(start)
    is_int8 = "int8" in start.target
    return Prior(
        teacher_ms=teacher_ms,
        teacher_macs=float(macs),
        gain=INT8_GAIN if is_int8 else GAIN,
        bytes_per_parameter=INT8_BYTES if is_int8 else BYTES,
        trial_seconds=TRIAL_SECONDS,
        seconds_per_mac=teacher_ms / 1000 / macs / TRAINING_GAIN,
    )


def _torch_ms(start: Start) -> float:
    """Milliseconds of an example in torch on one thread; hardly measured, for there is nothing better yet."""
    threads = torch.get_num_threads()
    part = start.task.selection.require("selection")
    texts = start.task.up_to(start.length).encode(part.pick(np.arange(1)), start.model.tokenizer)
    ids = torch.full((1, start.length), int(start.model.config.pad_token_id or 0))
    ids[0, : texts.lengths[0]] = 1
    core = start.model.base_model
    times = []
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            for _ in range(CALLS):
                begun = time.perf_counter()
                core(input_ids=ids, attention_mask=torch.ones_like(ids))
                times.append(1000 * (time.perf_counter() - begun))
    finally:
        torch.set_num_threads(threads)
    return float(np.median(times))


def _check_time(seconds: float, start: Start, prior: Prior) -> None:
    """Raise InputError where not even one trial and the end would fit."""
    trained = start.epochs * len(start.task.train) if start.steps else 0
    training = FORWARD_AND_BACK * prior.teacher_macs * prior.seconds_per_mac * trained
    needed = training + 2 * prior.trial_seconds
    if seconds < needed:
        learning = f", {duration(training)} of it to train the teacher" if training else ""
        raise InputError(
            f"--hours {seconds / 3600:g} is too short for one trial: about {duration(needed)} are needed{learning}; give "
            f"--hours {max(0.01, np.ceil(100 * needed / 3600) / 100):g} or more."
        )


@dataclass
class _Search:
    """The loop around `decide`, which runs what that chooses."""

    goals: Goals
    candidates: list[Candidate]
    begin: dict[str, Any]
    start: Start
    prior: Prior
    seconds: float
    folder: Path
    cache: Path
    device: str
    settings: dict[str, Any]

    def run(self, before: list[tuple[Outcome, dict[str, Any]]]) -> tuple[Stop, list[tuple[Outcome, dict[str, Any]]]]:
        """Try until there is nothing worth it."""
        tried = list(before)
        if before:
            logger.info("%d trials were finished before and are not repeated", len(before))
        while True:
            outcomes = [outcome for outcome, _ in tried]
            spent = sum(outcome.seconds for outcome in outcomes)
            left = self.seconds - spent - self.prior.trial_seconds
            step = decide(self.goals, self.candidates, outcomes, self.prior, left)
            if isinstance(step, Stop):
                return step, tried
            outcome = self._try(step, max(left, self.prior.trial_seconds) if tried else None)
            tried.append((outcome, {**vars(step.predicted), "candidate": step.candidate.name, "epochs": step.epochs}))
            entries = [{"outcome": outcome.plain(), "predicted": predicted} for outcome, predicted in tried]
            write_sealed(self.folder / SEARCH, {"settings": _digest(self.settings), "tried": entries})
            logger.info("%s", trial_line(len(tried), outcome, self.goals))

    def _try(self, step: Next, time_limit: float | None) -> Outcome:
        name = step.candidate.name if not step.epochs else f"{step.candidate.name}-{step.epochs}"
        place = self.folder / TRIALS / name
        if not (self.folder / SEARCH).exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_sealed(self.folder / SEARCH, {"settings": _digest(self.settings), "tried": []})
        logger.info("%s: about %s, %.2f ms predicted", name, duration(step.predicted.seconds), step.predicted.p50_ms)
        trial = run_trial(
            recipe_of(step.candidate, step.epochs, self.begin, self.start),
            out=place,
            cache=self.cache,
            device=self.device,
            time_limit=time_limit,
        )
        if trial.exit_code == InputError.exit_code and time_limit is None:  # the first: what is wrong is so for all
            raise InputError(trial.error)
        return measured(trial, step.candidate.name, step.epochs)

    def finish(self, stop: Stop, tried: Sequence[tuple[Outcome, dict[str, Any]]], refused: Mapping[str, str]) -> Found:
        """Measure the best on the evaluation part, and leave everything that tells of it."""
        best = stop.best
        assert best is not None
        candidate = next(candidate for candidate in self.candidates if candidate.name == best.candidate)
        recipe = recipe_of(candidate, best.epochs, self.begin, self.start, self.goals.gates())
        final = run_trial(recipe, out=self.folder, cache=self.cache, device=self.device, judged_on="evaluation")
        if final.status != COMPLETE:
            raise CompressError(f"the winner {best.candidate} could not be measured on the evaluation part: {final.error}")
        evaluated = measured(final, best.candidate, best.epochs)
        bundled = self._bundle()
        explanation = explained(stop, tried, self.goals, evaluated)
        record = write_record(
            self.folder, self.goals, stop, tried, self.candidates, refused, evaluated, explanation, bundled, self.seconds
        )
        write_report(self.folder, [Path(outcome.folder) / RUN for outcome, _ in tried if outcome.is_measured])
        write_whole(self.folder / "explanation.txt", explanation + "\n")
        return Found(self.folder, stop.meets, record, explanation)

    def _bundle(self) -> str:
        """Make the bundle; return why there is none, or nothing."""
        from compress.bundles.making import bundle

        try:
            bundle(self.folder / RUN, self.folder / BUNDLE, overwrite=True)
        except CompressError as err:
            logger.warning("there is no bundle: %s", first_line(err))
            return first_line(err)
        return ""


def measured(trial: Trial, candidate: str, epochs: int) -> Outcome:
    """What a trial says of the goals; the drop, its interval and recalls are in its run.json."""
    if trial.status != COMPLETE:
        return Outcome(candidate, epochs, trial.status, trial.seconds, error=trial.error, folder=str(trial.folder))
    run = json.loads((trial.folder / RUN / "run.json").read_text(encoding="utf-8"))
    shipped = run["subjects"][-1]
    drop = shipped.get("drop") or {}
    ends = drop.get("ci95")
    return Outcome(
        candidate=candidate,
        epochs=epochs,
        seconds=trial.seconds,
        drop=drop.get("value"),
        drop_ci95=(ends[0], ends[1]) if ends else None,
        p50_ms=trial.p50_ms,
        p95_ms=trial.p95_ms,
        speedup=trial.speedup,
        size_bytes=trial.size_bytes,
        recall={label: scores["recall"] for label, scores in (shipped.get("by_label") or {}).items()},
        folder=str(trial.folder),
    )
