"""From a plan to a run folder: read, change, export, measure, report."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from compress.benchmark.machine import commit
from compress.dependencies import dependencies
from compress.errors import GateMissed
from compress.models.checkpoint.loading import load
from compress.models.checkpoint.model_source import find_model
from compress.models.head import Head
from compress.pipeline.cache import cache_folder, cache_loss_told, disk_errors_told, open_cache
from compress.pipeline.checks import (
    begins_anew,
    check_exports,
    check_gates,
    check_runtimes,
    check_teachers,
    check_texts,
    rehearse,
)
from compress.pipeline.keys import digest, folder_digest, shipping_of, source_digest
from compress.pipeline.measuring import measure_run
from compress.pipeline.options import RunOptions
from compress.pipeline.processes import check_shared, is_main, join_processes
from compress.pipeline.remote import copy_run, open_copy, open_store
from compress.pipeline.run_files import LOGS, RUN, SCHEMA, check_apart, check_out, claimed
from compress.pipeline.run_log import logged
from compress.pipeline.steps import Execution, StepOutput, execute_steps
from compress.pipeline.tiny import EXAMPLES, tiny_model, tiny_plan, tiny_sizes
from compress.recipe.plan import INPUT_MODEL, Plan
from compress.recipe.signatures import load_function, recipe_parameters
from compress.targets import TARGETS
from compress.targets.exporting import check_runtime, export
from compress.tasks import task as read_task
from compress.training.device import freed_memory_kept, pick_device

logger = logging.getLogger(__name__)


def run(plan: Plan, options: RunOptions | None = None) -> dict[str, Any]:
    """Run a plan and leave a run folder; steps that were made before are taken from the cache.

    Returns:
        The content of run.json. A missed gate is in it; `raise_for_gates` turns it into an error.

    Raises:
        InputError: Model, data or arguments are wrong; nothing was written.
        CompressError: The work failed; finished steps are kept.
    """
    options = options or RunOptions()
    out = run_folder(plan, options.out, options.tiny)
    folder = cache_folder(options.cache, out)
    plan = tiny_plan(plan) if options.tiny else plan
    targets = [wanted.target for wanted in plan.exports]
    if is_main():
        check_out(out, targets, force=options.force)
        check_apart(out, folder, plan.model)
    for target in targets:
        check_runtime(target)
    remote = open_store(options.shared_cache) if options.shared_cache else None
    copy = open_copy(options.copy_to, force=options.force) if options.copy_to and is_main() else None
    device = pick_device(options.device)
    join_processes(device)
    # checking and measuring long texts gains from kept memory as training does
    with freed_memory_kept(), disk_errors_told(out), logged() as log:
        cache = open_cache(folder, out, remote)
        check_shared(cache.root)
        started, clock = datetime.now(UTC), time.perf_counter()
        task = read_task(**plan.task)
        if options.tiny:
            task = task.capped(EXAMPLES)
        execution = Execution(plan, task, cache, replace(options, device=device), logs=out / LOGS)
        check_gates(execution)
        with cache_loss_told(cache):
            start = _start(execution, options.tiny)
            check_exports(execution, start)
            check_runtimes(execution)
            check_texts(execution)
            if not options.tiny:
                check_teachers(execution, start)
                rehearse(execution, start)
            with claimed(out, targets, log, force=options.force, has_worked=lambda: bool(execution.records)):
                execute_steps(execution, start)
                if not is_main():
                    return {}
                shipped = _export_all(execution, options.tiny)
                if options.judged_on == "selection":
                    execution = replace(execution, task=task.judged_on_selection())
                record = {
                    "schema": SCHEMA,
                    "name": plan.name,
                    "recipe": plan.resolved(),
                    "started": started.isoformat(timespec="seconds"),
                    "seconds": 0.0,
                    "commit": commit(),
                    "data": _data_of(execution),
                }
                record = measure_run(execution, shipped, out, record, clock)
            if copy is not None:
                copy_run(out, copy, RUN)
            return record


def run_folder(plan: Plan, out: Path | None, tiny: bool) -> Path:
    """Where a run goes: `out`, else runs/<name>, or runs/<name>-tiny, so that a trial overwrites no result."""
    return out or Path("runs") / (f"{plan.name}-tiny" if tiny else plan.name)


def raise_for_gates(record: dict[str, Any]) -> None:
    """Raise GateMissed when run.json tells of a gate that was missed."""
    missed = [gate for gate in record.get("gates", []) if not gate["passed"]]
    if missed:
        lines = [f"{gate['name']} is {gate['value']:.4g}, limit {gate['limit']:.4g}" for gate in missed]
        raise GateMissed("the deployed file misses " + "; ".join(lines) + ". See report.html for what each step cost.")


def _data_of(execution: Execution) -> dict[str, Any]:
    """What run.json tells of the data; where the selection part was measured on, that it was."""
    part = execution.options.judged_on
    judged = {} if part == "evaluation" else {"judged_on": part}
    return {"fingerprint": execution.task.fingerprint, **judged, **execution.task.describe()}


def _start(execution: Execution, tiny: bool) -> StepOutput:
    plan, task = execution.plan, execution.task
    if tiny:
        key = digest([tiny_sizes(plan), task.fingerprint, plan.seed, source_digest("compress.pipeline.tiny")])
        return StepOutput(INPUT_MODEL, key, None, tiny_model(plan, task, plan.seed))
    folder = find_model(plan.model)
    new_head = begins_anew(plan)
    head = task.rules.head
    key = digest(
        [
            folder_digest(folder),
            list(task.labels),
            str(head),
            plan.seed,
            new_head,
            source_digest("compress.models.checkpoint.loading"),
        ]
    )
    return _Unloaded(INPUT_MODEL, key, folder, None, plan.model, task.labels, head, plan.seed, new_head)


@dataclass
class _Unloaded(StepOutput):
    """The model that a run starts from; it takes the task's labels when it is loaded."""

    source: str = ""
    labels: tuple[str, ...] = ()
    head: Head | None = None
    seed: int = 0
    new_head: bool = False

    @property
    def made(self) -> None:
        """Nothing."""

    def model(self) -> Any:
        if self.loaded is None:
            self.loaded = load(self.source, labels=self.labels, head=self.head, seed=self.seed, new_head=self.new_head)
        return self.loaded


def _export_all(execution: Execution, tiny: bool) -> dict[str, Path]:
    shipped = {}
    for wanted in execution.plan.exports:
        options = dict(wanted.options)
        if tiny and "max_flips" in options:  # a random model's answers are ties
            options |= {"max_flips": 1.0, "max_relative_error": 1000.0}
        key = digest(
            {
                "model": execution.last.key,
                "target": wanted.target,
                "options": options,
                "data": execution.task.fingerprint,
                "adapters": [folder_digest(Path(path).expanduser()) for path in _adapters_named(wanted.target, options)],
                **shipping_of(wanted.target),
            }
        )
        shipped[wanted.target] = _export_one(execution, wanted.target, options, key)
    return shipped


def _adapters_named(target: str, options: dict[str, Any]) -> list[str]:
    parameters = recipe_parameters(load_function(TARGETS, target))
    named = [pair for name, value in options.items() for pair in dependencies(parameters[name].annotation, value)]
    return [path for what, path in named if what == "adapters"]


def _export_one(execution: Execution, target: str, options: dict[str, Any], key: str) -> Path:
    folder = execution.cache.find("exports", key)
    if folder is None:
        with execution.cache.alone("exports", key):
            folder = execution.cache.find("exports", key)
            if folder is None:
                logger.info("export to %s starts", target)
                execution.options.progress(f"export: {target}", 0, 1)
                unmade = execution.cache.unmade("exports", key)
                started = time.perf_counter()
                export(execution.last.model(), unmade, target=target, task=execution.task, **options)
                folder = execution.cache.finish("exports", key, {"seconds": time.perf_counter() - started})
                execution.options.progress(f"export: {target}", 1, 1)
    return folder
