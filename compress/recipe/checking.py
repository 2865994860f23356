"""Check a recipe in two levels: its structure, then its arguments against the signatures of methods and targets."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import compress.methods as methods
import compress.tasks as tasks
from compress import targets
from compress.arguments import wrong_together
from compress.errors import InputError
from compress.recipe.document import Document
from compress.recipe.mistakes import KeyPath, Mistakes, shown, stands_for, unknown
from compress.recipe.plan import Benchmark, Export, Gates, Plan, Step
from compress.recipe.signatures import (
    Table,
    check_arguments,
    load_signature,
    recipe_parameters,
    takes_any_key,
)
from compress.recipe.steps import StepNames, check_exports, check_steps
from compress.runtimes.table import load_runtime, module_of
from compress.targets.onnx.ranges import unread_options

DEFAULT_SEED = 13
LARGEST_SEED = 2**32 - 1
"""numpy takes no larger one."""
DEFAULT_KIND = tasks.DEFAULT_KIND

KEYS = ("name", "seed", "model", "task", "steps", "export", "benchmark", "gates")
DATA_KEYS = ("train", "validation", "text", "pair", "label", "quoting", "separator", "parted_by")
JOINABLE = ("text", "pair")
"""What may stand in several columns."""
_FOLDER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_HINTS = {
    "max_drop": "; it is a fraction: 0.02 means two points",
    "min_accuracy": "; it is a fraction: 0.9 means 90 %",
}


def check_structure(document: Document, default_name: str, path: Path | None) -> Plan | None:
    """Check everything but the values of arguments; note the mistakes in the document.

    default_name: the recipe's name where it gives none.
    Returns the plan, without defaults in the arguments; it may be run only if the document has no mistakes.
    None when the recipe is no mapping.
    """
    data, mistakes = document.data, document.mistakes
    if data is None:
        mistakes.add((), "the recipe is empty; it needs at least model, task and steps or export")
        return None
    if not isinstance(data, dict):
        mistakes.add((), f"{shown(data)} is no recipe; a recipe is a mapping with the keys {', '.join(KEYS)}")
        return None
    for key in data:
        if key not in KEYS:
            mistakes.add((key,), unknown("key", key, KEYS))
    steps, names = check_steps(data.get("steps"), mistakes)
    exports = check_exports(data.get("export"), mistakes)
    if not data.get("steps") and not data.get("export"):
        mistakes.add((), "there are no steps and no exports, so there is nothing to do; add a list of either")
    benchmark = _benchmark(data.get("benchmark"), names, mistakes)
    _check_runtimes(exports, benchmark.device, mistakes)
    task, gates = _task(data, mistakes), Gates(**_section(Gates, data.get("gates"), "gates", mistakes, _HINTS))
    kind = task.get("kind", DEFAULT_KIND)
    if gates.min_accuracy is not None and kind in tasks.TASKS and "accuracy" not in tasks.metrics_of(kind):
        said = f"a task of {kind} has no accuracy, but {' and '.join(tasks.metrics_of(kind))}; use max_drop"
        mistakes.add(("gates", "min_accuracy"), said)
    return Plan(
        name=_name(data, default_name, mistakes),
        seed=_seed(data, mistakes),
        model=_model(data, mistakes),
        task=task,
        steps=steps,
        exports=exports,
        benchmark=benchmark,
        gates=gates,
        path=path,
    )


def _check_runtimes(exports: Sequence[Export], device: str, mistakes: Mistakes) -> None:
    """Note a target whose runtime is not known here, and the first that does not run on the benchmark's device."""
    for export in exports:
        try:
            module_of(targets.runtime_of(export.target))
        except InputError as err:
            mistakes.add(("export", export.index, export.target), str(err).rstrip("."))
            continue
        if device == "cpu":  # so that no runtime's module is imported where it need not be
            continue
        runtime = load_runtime(targets.runtime_of(export.target))
        if not runtime.runs_on(device) and ("benchmark", "device") not in mistakes.closed:
            said = f"{shown(device)} is not allowed: {export.target} runs on {runtime.places}; use cpu, or other targets"
            mistakes.add(("benchmark", "device"), said)
            mistakes.closed.add(("benchmark", "device"))


def check_signatures(plan: Plan, mistakes: Mistakes) -> Plan:
    """Check the arguments of steps and exports against the signatures.

    Returns the plan with the defaults filled in; mistakes are noted, not raised.
    """
    steps: list[Step] = []
    for step in plan.steps:
        path = ("steps", step.index, step.method)
        arguments = _checked(methods.METHODS, step.method, step.arguments, path, mistakes)
        steps.append(replace(step, arguments=arguments))
    exports: list[Export] = []
    for export in plan.exports:
        path = ("export", export.index, export.target)
        before = len(mistakes.entries)
        options = _checked(targets.TARGETS, export.target, export.options, path, mistakes)
        if len(mistakes.entries) == before:
            _check_unread(plan, export.target, options, path, mistakes)
        exports.append(replace(export, options=options))
    return replace(plan, steps=tuple(steps), exports=tuple(exports))


def _check_unread(plan: Plan, target: str, options: dict[str, Any], path: KeyPath, mistakes: Mistakes) -> None:
    """Note the options that will play no part, whatever the model that comes in is."""
    brings_ranges = any(step.method == "quantize_aware" for step in plan.steps) or None
    function = load_signature(targets.TARGETS, target)
    for name, why in unread_options(function, options, brings_ranges=brings_ranges).items():
        mistakes.add((*path, name), f"{shown(options[name])} has no effect: {why}")


def _checked(table: Table, entry: str, arguments: dict[str, Any], path: KeyPath, mistakes: Mistakes) -> dict[str, Any]:
    try:
        function = load_signature(table, entry)
    except ImportError as err:
        mistakes.add(path, f"cannot be loaded: {err}; install what is missing, or leave it out of the recipe")
        return arguments
    before = len(mistakes.entries)
    checked = check_arguments(function, arguments, path, mistakes)
    if len(mistakes.entries) == before:
        for problem in wrong_together(function, checked):
            mistakes.add(path, problem.rstrip("."))
    return checked


def _name(data: dict[str, Any], default: str, mistakes: Mistakes) -> str:
    name = data.get("name")
    if name is None:
        return re.sub(r"[^A-Za-z0-9._-]+", "_", default).lstrip(".-")[:100].rstrip(".") or "recipe"
    if isinstance(name, str) and _FOLDER_NAME.fullmatch(name) and not name.endswith("."):
        return name
    quotes = ", in quotes" if not isinstance(name, str | list | dict) else ""
    said = "a folder is called by it: use up to 100 letters, digits, '_', '-' and '.', none of '.-' first"
    mistakes.add(("name",), f"{shown(name)} is no name; {said}{quotes}")
    return default


def _seed(data: dict[str, Any], mistakes: Mistakes) -> int:
    seed = data.get("seed", DEFAULT_SEED)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= LARGEST_SEED:
        said = f"allowed: a whole number from 0 to {LARGEST_SEED} (default: {DEFAULT_SEED})"
        mistakes.add(("seed",), f"{shown(seed)} is not allowed; {said}")
        return DEFAULT_SEED
    return seed


def _model(data: dict[str, Any], mistakes: Mistakes) -> str:
    allowed = "a hub name, a folder, or package:NAME of an installed package that carries a model"
    model = data.get("model")
    if "model" not in data and stands_for("model", data, KEYS):
        return ""
    if "model" not in data:
        mistakes.add(("model",), f"missing; give {allowed}")
    elif not isinstance(model, str) or not model.strip():
        mistakes.add(("model",), f"{shown(model)} is no model; allowed: {allowed}")
    return str(model)


def _task(data: dict[str, Any], mistakes: Mistakes) -> dict[str, Any]:
    task = data.get("task")
    if "task" not in data and stands_for("task", data, KEYS):
        return {}
    if "task" not in data:
        mistakes.add(("task",), "missing; give the name of a data set, or {kind: ..., data: ...}")
        return {}
    if isinstance(task, str) and task.strip():
        return {"kind": DEFAULT_KIND, "data": task}
    if not isinstance(task, dict):
        said = "give the name of a data set, or {kind: ..., data: ...}"
        mistakes.add(("task",), f"{shown(task)} is no task; {said}")
        return {}
    kind = task.get("kind", DEFAULT_KIND)
    kind = tasks.kind_named(kind) if isinstance(kind, str) else kind
    if not isinstance(kind, str) or kind not in tasks.TASKS:
        said = unknown("kind of task", str(kind), tasks.TASKS)
        mistakes.add(("task", "kind"), f"{shown(kind)} is an {said}")
        mistakes.closed.add(("task", "kind"))
    elif task.get("metric") is not None and task["metric"] not in tasks.metrics_of(kind):
        allowed = " or ".join(tasks.metrics_of(kind))
        mistakes.add(("task", "metric"), f"{shown(task['metric'])} is not allowed; allowed: {allowed}")
        mistakes.closed.add(("task", "metric"))
    _check_data(task, mistakes)
    function = getattr(tasks, "task", None)
    rest = {key: value for key, value in task.items() if key not in ("kind", "data")}
    if function is not None:
        _check_task_arguments(function, rest, mistakes)
    return {**task, "kind": kind}


def _check_task_arguments(function: Callable[..., Any], rest: dict[str, Any], mistakes: Mistakes) -> None:
    known = [name for name in recipe_parameters(function) if name not in ("kind", "data")]
    takes_others = takes_any_key(function)
    for key in [key for key in rest if key not in known]:
        del rest[key]
        if takes_others:
            continue
        mistakes.add(("task", key), unknown("key", key, ["kind", "data", *known]))
    check_arguments(function, rest, ("task",), mistakes, leave_out=("kind", "data"))


def _check_data(task: dict[str, Any], mistakes: Mistakes) -> None:
    data, path = task.get("data"), ("task", "data")
    if "data" not in task:
        mistakes.add(path, "missing; give the name of a data set, or {train: FILE, validation: FILE, ...}")
    elif isinstance(data, dict):
        for key, value in data.items():
            if key not in DATA_KEYS:
                mistakes.add((*path, key), unknown("key", key, DATA_KEYS))
            elif value is not None and not _fits_data(key, value):
                what = "a file" if key in ("train", "validation") else "a text"
                more = " or a list of two texts or more, each once" if key in JOINABLE else ""
                mistakes.add((*path, key), f"{shown(value)} is not allowed; allowed: {what}{more}")
        if not data.get("train") and not stands_for("train", data, DATA_KEYS):
            mistakes.add((*path, "train"), "missing; give the file to learn from")
    elif not isinstance(data, str) or not data.strip():
        said = "allowed: the name of a data set, or {train: FILE, validation: FILE, ...}"
        mistakes.add(path, f"{shown(data)} is no data; {said}")


def _fits_data(key: str, value: Any) -> bool:
    if key in JOINABLE and isinstance(value, list):
        texts = [part for part in value if isinstance(part, str) and part.strip()]
        return len(texts) == len(value) == len(set(texts)) and len(texts) > 1
    return isinstance(value, str) and bool(value if key == "separator" else value.strip())


def _section(described: type, given: Any, key: str, mistakes: Mistakes, hints: dict[str, str] | None = None) -> dict[str, Any]:
    """Check one mapping of the recipe against the fields of its dataclass; return {} when it is of no use."""
    if given is None:
        return {}
    if not isinstance(given, dict):
        names = ", ".join(field.name for field in fields(described))
        mistakes.add((key,), f"{shown(given)} is no mapping; write {key}: {{key: value}}; allowed: {names}")
        return {}
    before = len(mistakes.entries)
    checked = check_arguments(described, given, (key,), mistakes, hints=hints)
    return checked if len(mistakes.entries) == before else {}


def _benchmark(given: Any, names: StepNames, mistakes: Mistakes) -> Benchmark:
    lists = ("batch", "length", "threads")
    if isinstance(given, dict):
        as_list = {key for key in lists if key in given and not isinstance(given[key], list)}
        given = {key: [value] if key in as_list else value for key, value in given.items()}
        for key in lists:
            values = given.get(key, [])
            for index, value in enumerate(values):
                if value in values[:index]:
                    mistakes.add(("benchmark", key, index), f"{shown(value)} is there twice; keep one")
        if given.get("baseline") is not None:
            path = ("benchmark", "baseline")
            given["baseline"] = names.named(given["baseline"], path, mistakes)
    benchmark = Benchmark(**_section(Benchmark, given, "benchmark", mistakes))
    if benchmark.most_rounds is not None and (benchmark.tight is None or benchmark.most_rounds < benchmark.rounds):
        few = f"is less than the {benchmark.rounds} rounds that there are in any case; raise it, or lower rounds"
        said = "has no effect without tight, up to which further rounds go on" if benchmark.tight is None else few
        mistakes.add(("benchmark", "most_rounds"), f"{benchmark.most_rounds} {said}")
    return benchmark
