"""Run the steps of a plan, each taken from the cache or computed into it."""

from __future__ import annotations

import hashlib
import inspect
import logging
import resource
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import PreTrainedModel

from compress.artifact.loading import load
from compress.artifact.places import find_model
from compress.artifact.saving import write_model
from compress.bert.layout import parameter_count
from compress.disk import remove
from compress.errors import CompressError
from compress.export import TARGETS
from compress.log import Progress
from compress.measure.machine import machine_key
from compress.methods import METHODS
from compress.objectives import OBJECTIVES
from compress.pipeline.cache import Cache
from compress.pipeline.keys import EXPORT_VERSIONS, VERSIONS, digest, folder_digest, source_digest, versions
from compress.pipeline.processes import agreed, is_main, wait_for_all
from compress.recipe.plan import INPUT_MODEL, Plan, Step
from compress.recipe.signatures import load_function
from compress.train.run import Run

if TYPE_CHECKING:
    from compress.tasks.text_classification import Task

logger = logging.getLogger(__name__)

CHECKED_EXAMPLES = 8
TOLERANCE = 1e-5
CHECKPOINT = "checkpoint"
SAME = "with this model, method, arguments, data, seed and code"


@dataclass
class Stop:
    """A model on its way through the steps: known by key and folder, loaded when someone needs it."""

    name: str
    key: str
    folder: Path | None
    loaded: PreTrainedModel | None = None

    @property
    def is_known(self) -> bool:
        """Whether there is a model to load."""
        return self.folder is not None or self.loaded is not None

    def model(self) -> PreTrainedModel:
        """The model, from memory or from its folder."""
        if self.loaded is None:
            assert self.folder is not None
            self.loaded = load(self.folder)
            self.loaded.label = self.name
        return self.loaded


@dataclass
class Walk:
    """What the steps share, and what they left behind: `stops` by name, `records` for run.json, `logs` for trackers.

    The `keys` of the steps, and the `digests` of the files and checkpoints that they name, are worked out once in a run, by
    whoever looks at a step first.
    """

    plan: Plan
    task: Task
    cache: Cache
    device: str
    progress: Progress
    max_steps: int | None
    log_with: tuple[str, ...]
    checkpoint_seconds: float
    stops: dict[str, Stop] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str | None] = field(default_factory=dict)
    logs: Path | None = None

    @property
    def last(self) -> Stop:
        """The model after the steps so far."""
        return list(self.stops.values())[-1]

    @property
    def baseline(self) -> Stop:
        """What results are compared with: the recipe's, else the first step that trains, else the first model."""
        told = self.plan.benchmark.baseline
        trained = [step.name for step in self.plan.steps if "epochs" in step.arguments]
        return self.stops[told or (trained[0] if trained else INPUT_MODEL)]


def walk_steps(walk: Walk, start: Stop) -> None:
    """Run every step of the plan, from `start` on."""
    walk.stops[INPUT_MODEL] = start
    for step in walk.plan.steps:
        walk.stops[step.name] = _run_step(walk, step, walk.last)


def stops_ahead(walk: Walk, start: Stop) -> Walk:
    """The same walk with all of its stops: what every step's result will go by, and its folder where it was made before."""
    ahead = replace(walk, stops={INPUT_MODEL: start})
    for step in walk.plan.steps:
        key = _key_of(ahead, step, ahead.last)
        ahead.stops[step.name] = Stop(step.name, key, walk.cache.find("steps", key))
    return ahead


def call_of(walk: Walk, step: Step, run: Run) -> Callable[[PreTrainedModel], PreTrainedModel]:
    """The step's method with all of its arguments; it is to be called with the model."""
    function = load_function(METHODS, step.method)
    wants = inspect.signature(function).parameters
    arguments = dict(step.arguments)
    if arguments.get("teacher"):
        arguments["teacher"] = walk.stops[arguments["teacher"]].model()
    supplied = {"task": walk.task, "run": run}
    return partial(function, **arguments, **{name: supplied[name] for name in supplied.keys() & wants.keys()})


def _run_step(walk: Walk, step: Step, before: Stop) -> Stop:
    key = _key_of(walk, step, before)
    found = walk.cache.find("steps", key)
    started = time.perf_counter()
    reused = agreed(found is not None)
    if not reused:
        found, reused = _make_step(walk, step, before, key)
    assert found is not None
    facts = walk.cache.facts(found)
    record = {
        "name": step.name, "method": step.method, "arguments": step.arguments, "key": key,
        "status": "reused" if reused else "computed", "why": f"{'made' if reused else 'not made'} before {SAME}",
        "seconds": facts.pop("seconds", 0.0), **facts,
    }  # fmt: skip
    walk.records.append(record)
    walk.progress(f"{step.name}: {'reused' if reused else 'done'}", 1, 1)
    said = "reused" if reused else f"{time.perf_counter() - started:.1f} s"
    metrics = ", ".join(f"{name} {value:.4f}" for name, value in record["metrics"].items())
    logger.info("%s (%s): %s; %.1f M -> %.1f M parameters%s", step.name, step.method, said,
                record["parameters_before"] / 1e6, record["parameters"] / 1e6, metrics and f"; {metrics}")  # fmt: skip
    return Stop(step.name, key, found)


def _key_of(walk: Walk, step: Step, before: Stop) -> str:
    if step.name not in walk.keys:
        walk.keys[step.name] = _key(walk, step, before)
    return walk.keys[step.name]


def _key(walk: Walk, step: Step, before: Stop) -> str:
    wants = inspect.signature(load_function(METHODS, step.method)).parameters
    teacher = step.arguments.get("teacher")
    objectives = [OBJECTIVES[name] for name in step.arguments.get("objectives") or OBJECTIVES]
    return digest({
        "parent": before.key,
        "method": step.method,
        "arguments": step.arguments,
        "teacher": walk.stops[teacher].key if teacher else None,
        "text": _once(walk, _file_digest, step.arguments.get("text")),
        "masked_lm": [_once(walk, _model_digest, one.get("masked_lm"))
                      for one in (step.arguments, step.arguments.get("augment") or {})],
        "checkpoint": _once(walk, _model_digest, step.arguments.get("checkpoint")),
        "seed": walk.plan.seed if "run" in wants else None,
        "data": walk.task.fingerprint if "task" in wants else None,
        "source": source_digest(METHODS[step.method], *objectives),
        "versions": versions(VERSIONS),
        "max_steps": walk.max_steps,
        "machine": _machine(step),
        "device": walk.device if "run" in wants else None,
    })  # fmt: skip


def _machine(step: Step) -> dict[str, Any] | None:
    """What a step that is asked for a speed depends on besides: the machine, the runtimes, how files are written for them."""
    asked = any(step.arguments.get(name) for name in ("speedup", "p50_ms"))
    if not asked and step.arguments.get("break_even") != "measured":
        return None
    source = source_digest(TARGETS[step.arguments["target"]])
    return {"machine": machine_key(), "versions": versions(EXPORT_VERSIONS), "source": source}


def _once(walk: Walk, digest_of: Callable[[str], str | None], name: str | None) -> str | None:
    """What a file or a model is known by, read once in a run however many steps name it."""
    if name is None:
        return None
    known = f"{digest_of.__name__} {name}"
    if known not in walk.digests:
        walk.digests[known] = digest_of(name)
    return walk.digests[known]


def _file_digest(path: str) -> str | None:
    if not Path(path).expanduser().is_file():  # the method says what is wrong with it
        return None
    with Path(path).expanduser().open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _model_digest(name: str) -> str | None:
    return folder_digest(find_model(name))


def _make_step(walk: Walk, step: Step, before: Stop, key: str) -> tuple[Path, bool]:
    """The folder of the step's result, and whether another run made it meanwhile.

    Every process trains; the main one alone locks and writes. All of them take up the same checkpoint.
    """
    with walk.cache.alone("steps", key) if is_main() else nullcontext():
        reused = agreed(walk.cache.find("steps", key) is not None)
        if not reused:
            unfinished = walk.cache.partial("steps", key)
            model, facts = _apply(walk, step, before, unfinished / CHECKPOINT)
            if is_main():
                _keep(walk, model, facts, unfinished, key)
    wait_for_all()
    found = walk.cache.find("steps", key)
    if found is None:
        raise CompressError(f"the result of {step.name} is no longer in the cache {walk.cache.root}; run the command again.")
    return found, reused


def _keep(walk: Walk, model: PreTrainedModel, facts: dict[str, Any], unfinished: Path, key: str) -> None:
    """Write a step's model and check that it answers the same when loaded again, before it counts as made."""
    for path in unfinished.iterdir():
        if path.name != CHECKPOINT:
            remove(path)
    write_model(model, unfinished)
    _check_reload(model, unfinished, walk.task)
    remove(unfinished / CHECKPOINT)
    walk.cache.finish("steps", key, facts)


def _apply(walk: Walk, step: Step, before: Stop, checkpoint: Path) -> tuple[PreTrainedModel, dict[str, Any]]:
    run = Run(walk.plan.seed, walk.device, checkpoint, walk.cache.root / "answers", _named(walk.progress, step.name),
              walk.max_steps, walk.checkpoint_seconds, walk.log_with, logs=walk.logs and walk.logs / step.name,
              tiny=walk.max_steps is not None)  # fmt: skip
    call, model = call_of(walk, step, run), before.model()
    logger.info("%s (%s) starts", step.name, step.method)
    walk.progress(f"{step.name}: starts", 0, 1)
    started = time.perf_counter()
    changed = call(model)
    facts = {
        "seconds": time.perf_counter() - started,
        "parameters_before": parameter_count(model),
        "parameters": parameter_count(changed),
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "metrics": {},
        "examples_per_second": None,
    }
    return changed, facts | run.facts


def _named(progress: Progress, step: str) -> Progress:
    def told(what: str, done: int, total: int, **facts: float) -> None:
        progress(f"{step}: {what}", done, total, **facts)

    return told


def _check_reload(model: PreTrainedModel, folder: Path, task: Task) -> None:
    encoded = task.read_by(model).encode(task.calibration.take(CHECKED_EXAMPLES), model.tokenizer)
    batch = {name: torch.from_numpy(values) for name, values in encoded.batch(range(len(encoded))).items()}
    again = load(folder)
    with torch.inference_mode():
        told, found = model.eval()(**batch).logits.numpy(), again(**batch).logits.numpy()
    worst = float(np.abs(told - found).max())
    if not worst <= TOLERANCE:
        raise CompressError(f"the model saved in {folder} answers differently when loaded again (largest error {worst:.2g}).")
