"""Run the steps of a plan, each taken from the cache or computed into it."""

from __future__ import annotations

import hashlib
import inspect
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PreTrainedModel

from compress.benchmark.machine import machine_key
from compress.benchmark.worker import peak_memory_bytes
from compress.dependencies import What, dependencies
from compress.disk import remove
from compress.errors import CompressError
from compress.log import Progress
from compress.methods import METHODS
from compress.models.checkpoint.loading import load
from compress.models.checkpoint.model_source import find_model
from compress.models.checkpoint.saving import write_model
from compress.models.heads import logits_of
from compress.models.layout import parameter_count
from compress.objectives import OBJECTIVES
from compress.pipeline.cache import Cache
from compress.pipeline.keys import VERSIONS, digest, folder_digest, shipping_of, source_digest, versions
from compress.pipeline.options import RunOptions
from compress.pipeline.processes import broadcast, is_main, wait_for_all
from compress.recipe.plan import INPUT_MODEL, Plan, Step
from compress.recipe.signatures import load_function, names_a_step, recipe_parameters
from compress.training.step_context import StepContext

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

logger = logging.getLogger(__name__)

STEPS = 3
"""Of the optimizer, in a step of a tiny run."""
CHECKED_EXAMPLES = 8
TOLERANCE = 1e-5
CHECKPOINT = "checkpoint"
SAME = "with this model, method, arguments, data, seed and code"


@dataclass
class StepOutput:
    """A model on its way through the steps: known by key and folder, loaded when someone needs it."""

    name: str
    key: str
    folder: Path | None
    loaded: PreTrainedModel | None = None

    @property
    def made(self) -> Path | None:
        """The folder in the cache that a step has written; None of the model that came in."""
        return self.folder

    def model(self) -> PreTrainedModel:
        """The model, from memory or from its folder."""
        if self.loaded is None:
            assert self.folder is not None
            self.loaded = load(self.folder)
            self.loaded.label = self.name
        return self.loaded


@dataclass
class Execution:
    """What the steps share, and what they left behind: `stops` by name, `records` for run.json, `logs` for trackers.

    The device of the `options` is one that is there. The `keys` of the steps, and the `digests` of the files and checkpoints
    that they name, are worked out once in a run, by whoever looks at a step first.
    """

    plan: Plan
    task: Task
    cache: Cache
    options: RunOptions
    stops: dict[str, StepOutput] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str | None] = field(default_factory=dict)
    logs: Path | None = None

    @property
    def last(self) -> StepOutput:
        """The model after the steps so far."""
        return list(self.stops.values())[-1]

    @property
    def baseline(self) -> StepOutput:
        """What results are compared with: the recipe's, else the first step that trains, else the first model."""
        baseline = self.plan.benchmark.baseline
        trained = [step.name for step in self.plan.steps if "epochs" in step.arguments]
        return self.stops[baseline or (trained[0] if trained else INPUT_MODEL)]


def execute_steps(execution: Execution, start: StepOutput) -> None:
    """Run every step of the plan, from `start` on."""
    execution.stops[INPUT_MODEL] = start
    for step in execution.plan.steps:
        execution.stops[step.name] = _run_step(execution, step, execution.last)


def stops_ahead(execution: Execution, start: StepOutput) -> Execution:
    """The same execution with all of its outputs: what each will go by, and its folder where it was made before."""
    ahead = replace(execution, stops={INPUT_MODEL: start})
    for step in execution.plan.steps:
        key = _key_of(ahead, step, ahead.last)
        ahead.stops[step.name] = StepOutput(step.name, key, execution.cache.find("steps", key))
    return ahead


def models_named(step: Step) -> dict[str, str]:
    """Which of a step's arguments are models, each with the step that makes it."""
    return {name: value for name, value in step.arguments.items() if value and names_a_step(name)}


def call_of(execution: Execution, step: Step, run: StepContext) -> Callable[[PreTrainedModel], PreTrainedModel]:
    """The step's method with all of its arguments; it is to be called with the model."""
    function = load_function(METHODS, step.method)
    wants = inspect.signature(function).parameters
    models = {name: execution.stops[made].model() for name, made in models_named(step).items()}
    arguments = step.arguments | models
    supplied = {"task": execution.task, "run": run}
    return partial(function, **arguments, **{name: supplied[name] for name in supplied.keys() & wants.keys()})


def _run_step(execution: Execution, step: Step, before: StepOutput) -> StepOutput:
    key = _key_of(execution, step, before)
    folder = execution.cache.find("steps", key)
    started = time.perf_counter()
    reused = broadcast(folder is not None)
    if not reused:
        folder, reused = _make_step(execution, step, before, key)
    assert folder is not None
    facts = execution.cache.facts(folder)
    record = {
        "name": step.name,
        "method": step.method,
        "arguments": step.arguments,
        "key": key,
        "status": "reused" if reused else "computed",
        "why": f"{'made' if reused else 'not made'} before {SAME}",
        "seconds": facts.pop("seconds", 0.0),
        **facts,
    }
    execution.records.append(record)
    execution.options.progress(f"{step.name}: {'reused' if reused else 'done'}", 1, 1)
    said = "reused" if reused else f"{time.perf_counter() - started:.1f} s"
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in record["metrics"].items())
    logger.info(
        "%s (%s): %s; %.1f M -> %.1f M parameters%s",
        step.name,
        step.method,
        said,
        record["parameters_before"] / 1e6,
        record["parameters"] / 1e6,
        metrics and f"; {metrics}",
    )
    return StepOutput(step.name, key, folder)


def _key_of(execution: Execution, step: Step, before: StepOutput) -> str:
    if step.name not in execution.keys:
        execution.keys[step.name] = _key(execution, step, before)
    return execution.keys[step.name]


def _key(execution: Execution, step: Step, before: StepOutput) -> str:
    function = load_function(METHODS, step.method)
    wants = inspect.signature(function).parameters
    needs: dict[What, list[Any]] = {}
    for name, parameter in recipe_parameters(function).items():
        for what, value in dependencies(parameter.annotation, step.arguments.get(name)):
            needs.setdefault(what, []).append(value)
    objectives = [name for given in needs.get("objectives", [OBJECTIVES]) for name in given]
    return digest(
        {
            "parent": before.key,
            "method": step.method,
            "arguments": step.arguments,
            "models": {name: execution.stops[made].key for name, made in models_named(step).items()},
            "files": [_once(execution, _file_digest, path) for path in needs.get("file", [])],
            "checkpoints": [_once(execution, _model_digest, name) for name in needs.get("checkpoint", [])],
            "seed": execution.plan.seed if "run" in wants else None,
            "data": execution.task.fingerprint if "task" in wants else None,
            "source": source_digest(METHODS[step.method], *(OBJECTIVES[name] for name in objectives)),
            "versions": versions(VERSIONS),
            "tiny": STEPS if execution.options.tiny else None,
            "machine": _machine(needs.get("target", [])) if "machine" in needs else None,
            "device": execution.options.device if "run" in wants else None,
        }
    )


def _machine(targets: Sequence[str]) -> dict[str, Any]:
    """What a step that is asked for a speed depends on: the machine, the runtimes, how files are written for them."""
    return {"machine": machine_key(), "files": [shipping_of(target) for target in targets]}


def _once(execution: Execution, digest_of: Callable[[str], str | None], name: str | None) -> str | None:
    """What a file or a model is known by, read once in a run however many steps name it."""
    if name is None:
        return None
    known = f"{digest_of.__name__} {name}"
    if known not in execution.digests:
        execution.digests[known] = digest_of(name)
    return execution.digests[known]


def _file_digest(path: str) -> str | None:
    if not Path(path).expanduser().is_file():  # the method says what is wrong with it
        return None
    with Path(path).expanduser().open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _model_digest(name: str) -> str | None:
    return folder_digest(find_model(name))


def _make_step(execution: Execution, step: Step, before: StepOutput, key: str) -> tuple[Path, bool]:
    """The folder of the step's result, and whether another run made it meanwhile.

    Every process trains; the main one alone locks and writes. All of them take up the same checkpoint.
    """
    with execution.cache.alone("steps", key) if is_main() else nullcontext():
        reused = broadcast(execution.cache.find("steps", key) is not None)
        if not reused:
            unfinished = execution.cache.partial("steps", key)
            model, facts = _apply(execution, step, before, unfinished / CHECKPOINT)
            if is_main():
                _keep(execution, model, facts, unfinished, key)
    wait_for_all()
    folder = execution.cache.find("steps", key)
    if folder is None:
        raise CompressError(
            f"the result of {step.name} is no longer in the cache {execution.cache.root}; run the command again."
        )
    return folder, reused


def _keep(execution: Execution, model: PreTrainedModel, facts: dict[str, Any], unfinished: Path, key: str) -> None:
    """Write a step's model and check that it answers the same when loaded again, before it counts as made."""
    for path in unfinished.iterdir():
        if path.name != CHECKPOINT:
            remove(path)
    write_model(model, unfinished)
    _check_reload(model, unfinished, execution.task)
    remove(unfinished / CHECKPOINT)
    execution.cache.finish("steps", key, facts)


def _apply(execution: Execution, step: Step, before: StepOutput, checkpoint: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    options = execution.options
    run = StepContext(
        seed=execution.plan.seed,
        device=options.device,
        folder=checkpoint,
        answers=execution.cache.root / "answers",
        progress=_named(options.progress, step.name),
        max_steps=STEPS if options.tiny else None,
        checkpoint_seconds=options.checkpoint_seconds,
        log_with=options.log_with,
        logs=execution.logs and execution.logs / step.name,
        tiny=options.tiny,
    )
    call, model = call_of(execution, step, run), before.model()
    logger.info("%s (%s) starts", step.name, step.method)
    execution.options.progress(f"{step.name}: starts", 0, 1)
    started = time.perf_counter()
    changed = call(model)
    facts: dict[str, Any] = {
        "seconds": time.perf_counter() - started,
        "parameters_before": parameter_count(model),
        "parameters": parameter_count(changed),
        "peak_memory_bytes": peak_memory_bytes(),
        "metrics": {},
        "examples_per_second": None,
    }
    return changed, facts | run.facts


def _named(progress: Progress, step: str) -> Progress:
    def report(what: str, done: int, total: int, **facts: float) -> None:
        progress(f"{step}: {what}", done, total, **facts)

    return report


def _check_reload(model: PreTrainedModel, folder: Path, task: Task) -> None:
    encoded = task.read_by(model).encode(task.calibration.take(CHECKED_EXAMPLES), model.tokenizer)
    batch = {name: torch.from_numpy(values) for name, values in encoded.batch(range(len(encoded))).items()}
    again = load(folder)
    with torch.inference_mode():
        expected, actual = logits_of(model.eval()(**batch)).numpy(), logits_of(again(**batch)).numpy()
    worst = float(np.abs(expected - actual).max())
    if not worst <= TOLERANCE:
        raise CompressError(f"the model saved in {folder} answers differently when loaded again (largest error {worst:.2g}).")
