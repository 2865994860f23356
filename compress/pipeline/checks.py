"""Catch what would fail at the end before hours are spent: labels in another order, exports that cannot be made."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from accelerate.tracking import get_available_trackers

from compress.benchmark.runners import check_device
from compress.errors import InputError, shown
from compress.labels import order_of
from compress.models.attention.long_attention import attention_kind
from compress.models.checkpoint.saving import STRUCTURE
from compress.models.families import longest_text
from compress.models.heads import aligned, label_names
from compress.models.quantizers import quantized_linears
from compress.pipeline.steps import Execution, StepOutput, call_of, models_named, stops_ahead
from compress.quantization.calibration import check_calibration_part
from compress.recipe.plan import INPUT_MODEL, Plan
from compress.recipe.signatures import load_function
from compress.runtimes.table import TRAINED
from compress.targets import TARGETS, runtime_of
from compress.targets.exporting import check_runtime
from compress.targets.onnx.ranges import refuse_unread, source_of_ranges
from compress.targets.onnx.segment import refuse_memory
from compress.targets.refusing import refuse_shape
from compress.tasks.labels import names_shown
from compress.tasks.unlabelled import check_unlabelled
from compress.training.predict import predict
from compress.training.step_context import Guess, StepContext

EXAMPLES = 500


def rehearse(execution: Execution, start: StepOutput) -> None:
    """Let the steps check what they are given, on models of the right shape, before the first of them trains.

    Where only a step's work tells a shape, such as which layers lose heads, all that are plausible are tried until one passes:
    what each of them is refused for is wrong whatever the work will find.

    Raises:
        InputError: Sizes do not fit, layers are not there, or the disk has no room for a teacher's answers.
    """
    guess, refused = Guess(), list[InputError]()
    while guess.number < guess.choices:
        try:
            _rehearse_once(execution, start, guess)
        except InputError as err:
            refused.append(err)
            guess.number += 1
        else:
            return
    first = refused[0]
    if any(str(error) != str(first) for error in refused):
        raise InputError(
            f"{first} (What is left of each layer is known when the steps before are done; this is so for all "
            "that may be left, and the numbers are those of one example.)"
        ) from first
    raise first


def _rehearse_once(execution: Execution, start: StepOutput, guess: Guess) -> None:
    ahead = stops_ahead(execution, start)
    stops = list(ahead.stops.values())
    if execution.plan.steps and all(stop.folder is not None for stop in stops[1:]):
        return  # nothing is left to train
    for number, (step, before, stop) in enumerate(zip(execution.plan.steps, stops, stops[1:], strict=False), 1):
        if stop.folder is None:
            is_new = any(ahead.stops[made].folder is None for made in models_named(step).values())
            run = StepContext(
                seed=execution.plan.seed,
                device=execution.options.device,
                answers=execution.cache.root / "answers" if is_new else None,
                tiny=execution.options.tiny,
                rehearsal=True,
                guess=guess,
            )
            with _without_news():
                stop.loaded = call_of(ahead, step, run)(before.model())
        asked_later = {made for later in execution.plan.steps[number:] for made in models_named(later).values()}
        asked_later.add(ahead.baseline.name)
        if before is not start and before.name not in asked_later:
            before.loaded = None  # so that large models of many steps do not fill the memory
    _check_end(ahead)


def _check_end(ahead: Execution) -> None:
    """Check what exports and benchmark ask of the models that the steps will make."""
    for export in ahead.plan.exports:
        refuse_shape(export.target, export.options, ahead.last.model())
    asked = max(ahead.plan.benchmark.length)
    for stop in (ahead.baseline, ahead.last):
        most = longest_text(stop.model().config)
        if asked > most:
            raise InputError(
                f"benchmark.length is {asked}, but {stop.name!r} reads at most {most} tokens; use shorter lengths."
            )


@contextlib.contextmanager
def _without_news() -> Iterator[None]:
    """Let what a rehearsed step tells of its work stay out of the log; it has not done it."""
    own = logging.getLogger("compress")
    level = own.level
    own.setLevel(logging.WARNING)
    try:
        yield
    finally:
        own.setLevel(level)


def begins_anew(plan: Plan) -> bool:
    """Whether the first step makes a new head and nothing asks the one that the model comes with."""
    first = plan.steps[0] if plan.steps else None
    return first is not None and bool(first.arguments.get("new_head")) and not _is_teacher(plan)


def _is_teacher(plan: Plan) -> bool:
    return any(INPUT_MODEL in models_named(step).values() for step in plan.steps)


def check_teachers(execution: Execution, start: StepOutput) -> None:
    """Check the head that the model of a run comes with: it answers with the task's labels, in their order.

    Raises:
        InputError: It is for other labels, or its accuracy on the selection part is at or below chance. Where the first step
            trains it further, it is enough that its outputs do not clearly stand for the labels in another order.
    """
    if begins_anew(execution.plan) or start.model().has_new_head:
        return
    first = execution.plan.steps[0] if execution.plan.steps else None
    trains = first is not None and first.method == "fine_tune" and not _is_teacher(execution.plan)
    model, labels = start.model(), execution.task.labels
    if trains and order_of(label_names(model), labels) is None:
        return  # fine_tune says that the head was for other labels
    rules = execution.task.rules
    model = aligned(model, labels, rules.head, who=f"the model {execution.plan.model}")
    task = execution.task.read_by(model)
    encoded = task.encode(task.selection.require("selection").take(EXAMPLES), model.tokenizer)
    answers = predict(model, encoded, progress=execution.options.progress, what="check the labels")
    rules.check_answers(answers, encoded.labels, labels, trains=trains)


def check_gates(execution: Execution) -> None:
    """Raise InputError where a gate names a label, or a type of entity, that the task does not have."""
    classes = execution.task.rules.classes(execution.task.labels)
    for label in execution.plan.gates.min_recall or ():
        if label not in classes:
            allowed = names_shown(classes) if classes else f"nothing, since a task of {execution.task.kind} has no labels"
            raise InputError(f"gates.min_recall names {shown(label)}; allowed: {allowed}.")


def check_runtimes(execution: Execution) -> None:
    """Raise InputError when a step measures in a runtime that is not installed, when the benchmark's device is not there, or
    when a tracker is not, before the first step trains."""
    kinds = {runtime_of(export.target) for export in execution.plan.exports}
    check_device(execution.plan.benchmark.device, {TRAINED, *kinds})
    installed = [str(tracker) for tracker in get_available_trackers()]
    for name in execution.options.log_with:
        if name not in ("all", *installed):
            raise InputError(
                f"the tracker {name!r} is not known or not installed; allowed here: all, {', '.join(installed)}. "
                "Install it, or leave it out."
            )
    for step in execution.plan.steps:
        if step.arguments.get("target") in TARGETS:
            check_runtime(step.arguments["target"])


def check_texts(execution: Execution) -> None:
    """Raise InputError when a step reads a file of texts that is not there or none, before an earlier step trains."""
    for step in execution.plan.steps:
        if step.arguments.get("text"):
            try:
                check_unlabelled(step.arguments["text"])
            except InputError as err:
                raise InputError(f"{step.method}.text: {err}") from err


def check_exports(execution: Execution, start: StepOutput) -> None:
    """Check the options of every export against the model that the steps will make, and what it will calibrate on.

    Raises:
        InputError: An option plays no part, or the calibration part is too small.
    """
    if any(step.arguments.get("lsq") for step in execution.plan.steps):
        check_calibration_part(execution.task)
    brings_ranges = any(step.method == "quantize_aware" for step in execution.plan.steps) or _brings_ranges(start)
    for export in execution.plan.exports:
        target = load_function(TARGETS, export.target)
        refuse_unread(export.target, target, export.options, brings_ranges=brings_ranges)
        if export.options.get("memory"):
            refuse_memory(_kind_of_attention(execution, start))
        if source_of_ranges(target, export.options, brings_ranges=brings_ranges) == "calibration":
            check_calibration_part(execution.task)


def _kind_of_attention(execution: Execution, start: StepOutput) -> str | None:
    """What attention is swapped for in the end; None where it is the model's own."""
    kinds = [step.arguments.get("kind") for step in execution.plan.steps if step.method == "swap_attention"]
    return kinds[-1] if kinds else attention_kind(start.model()) if _has_structure(start) else None


def _has_structure(start: StepOutput) -> bool:
    return start.folder is not None and (start.folder / STRUCTURE).is_file()


def _brings_ranges(start: StepOutput) -> bool:
    """Whether the model quantizes; one whose folder does not tell its structure is not loaded for that."""
    return _has_structure(start) and bool(quantized_linears(start.model()))
