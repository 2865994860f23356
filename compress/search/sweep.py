"""Run a sweep: many trials of one recipe, in as many processes as are wanted, and what came of them in one file."""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.disk import discard, folders_made, free_name, lock_of, write_lasting
from compress.errors import CompressError, InputError, shown
from compress.recipe import read_recipe_text, recipe_text
from compress.runtimes.process import worker_command, worker_environment
from compress.search.budget import GB, size_on_disk
from compress.search.claims import LOCK, TRIALS
from compress.search.reading import Sweep, read_sweep
from compress.search.studies import check_optuna, open_study, place_of
from compress.search.trial import COMPLETE, Trial, run_trial, spelled
from compress.search.working import TRIALS_DONE, Place, outcomes_in, request_of, values_of, work

if TYPE_CHECKING:
    from optuna import Study

logger = logging.getLogger(__name__)

WORKER = "compress.search.working"
RECORD, FRONT, FIGURES, SWEEP_FILE, LOGS = "sweep.json", "front", "figures", "sweep.yaml", "workers"
MOST_WORKERS = 256
SCHEMA = 1


def sweep(
    file: str | Path | Sweep,
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    overrides: Sequence[str] = (),
    workers: int = 1,
    device: str = "auto",
    tiny: bool = False,
    evaluate: bool = False,
    figures: bool = True,
    progress: Callable[[int, Trial], None] = lambda number, trial: None,
) -> dict[str, Any]:
    """Run a sweep, or go on with one that was stopped; trials that ended are not run again.

    Any number of processes may work on one sweep, on any number of machines that share its folder: start it again.

    Args:
        file: A sweep file, a recipe with a section `sweep`; or one that was read.
        out: The sweep's folder; sweeps/NAME under runs if None.
        cache: Where results of steps are kept, for all trials; `.cache` beside the folder if None.
        overrides: `key=value` with dotted keys, of the recipe or of the section.
        workers: Processes of this start. Trials that run at once slow each other down: where times are objectives, use one.
        device: auto, cpu or cuda.
        tiny: A random model and a few steps: does the sweep run at all?
        evaluate: Whether those on the front are judged on the evaluation part in the end, once each; their steps come from
            the cache.
        figures: Whether figures are drawn, which takes matplotlib.
        progress: Called with the number and the outcome of each trial that this process itself ran.

    Returns:
        What sweep.json holds.

    Raises:
        InputError: The sweep file has mistakes, the folder or the storage is another sweep's or cannot be used, or the budget
            is too small for one trial.
        CompressError: No trial was completed.
    """
    check_optuna()
    wanted = file if isinstance(file, Sweep) else read_sweep(file, overrides)
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= MOST_WORKERS:
        raise InputError(f"sweep.workers is {shown(workers)}; allowed: a whole number from 1 to {MOST_WORKERS}.")
    if figures and find_spec("matplotlib") is None:
        raise InputError(
            "the figures of a sweep need the package matplotlib; run: pip install 'bert-compress[search]', or ask for none "
            "(figures=False, --no-figures)."
        )
    folder = (Path("runs") / "sweeps" / f"{wanted.plan.name}{'-tiny' * tiny}" if out is None else Path(out)).absolute()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out is {shown(str(folder))}, which is no folder; name a new one.")
    place = Place(folder, _cache(cache, folder), device, tiny, workers)
    _check_disk(wanted, place)
    with folders_made(folder):
        study = open_study(wanted, folder)
        write_lasting(folder / SWEEP_FILE, wanted.text().encode())
    with _more_workers(wanted, place):
        ended = work(wanted, place, progress)
    with lock_of(folder / LOCK):
        record = _write(wanted, place, study, ended, figures)
    _raise_for_none(wanted, place, record)
    if evaluate:
        record = _evaluate(wanted, place, record)
    return record


def _cache(cache: str | Path | None, folder: Path) -> Path:
    if cache is not None:
        return Path(cache).absolute()
    from compress.pipeline.cache import cache_folder  # which brings torch, and trials alone need that

    return cache_folder(None, folder)


def _check_disk(wanted: Sweep, place: Place) -> None:
    limit = wanted.budget.disk_gb
    used = 0 if limit is None else size_on_disk([place.out, place.cache])
    if limit is not None and used >= limit * GB:
        raise InputError(
            f"sweep.budget.disk_gb is {limit:g}, but {place.out} and {place.cache} hold {used / GB:.3g} GB already; allow "
            "more than that and what one trial leaves, or name an empty --out and --cache."
        )


@contextlib.contextmanager
def _more_workers(wanted: Sweep, place: Place) -> Iterator[None]:
    """Processes that work beside this one while the block runs; what one leaves behind in dying, this one takes over."""
    if place.workers == 1:
        yield
        return
    logs = place.out / LOGS
    logs.mkdir(exist_ok=True)
    request = free_name(logs / "request.json", "start")
    write_lasting(request, json.dumps(request_of(wanted, place), indent=1).encode())
    processes = []
    try:
        for number in range(1, place.workers):
            with (logs / f"{number}.log").open("ab") as log:
                processes.append(
                    subprocess.Popen(
                        [*worker_command(WORKER), str(request)],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        env=worker_environment(),
                    )
                )
        yield
        for number, process in enumerate(processes, 1):
            if process.wait():
                logger.warning("worker %d ended early; see %s.", number, logs / f"{number}.log")
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        discard(request)


def _write(wanted: Sweep, place: Place, study: Study, ended: str, figures: bool) -> dict[str, Any]:
    """Write sweep.json, the recipes of the front and the figures."""
    record = record_of(wanted, place.out, study, ended)
    folder = place.out / FRONT
    folder.mkdir(exist_ok=True)
    names = set()
    for trial in record["trials"]:
        if trial["number"] in record["front"]:
            name = f"{wanted.plan.name}-{trial['number']:04d}"
            plan = read_recipe_text(wanted.recipe, spelled({**trial["overrides"], "name": name}))
            write_lasting(folder / f"{name}.yaml", recipe_text(plan).encode())
            names.add(f"{name}.yaml")
    for path in folder.glob(f"{wanted.plan.name}-*.yaml"):
        if path.name not in names:  # it was on the front before
            discard(path)
    if figures and record["front"]:
        from compress.search.figures import figures_of

        (place.out / FIGURES).mkdir(exist_ok=True)
        for file_name, drawing in figures_of(record).items():
            write_lasting(place.out / FIGURES / file_name, drawing.encode())
    _keep(place.out, record)
    return record


def _keep(out: Path, record: dict[str, Any]) -> None:
    write_lasting(out / RECORD, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())


def record_of(wanted: Sweep, out: Path, study: Study, ended: str) -> dict[str, Any]:
    """What sweep.json holds."""
    outcomes = outcomes_in(out / TRIALS)
    trials = []
    for kept in study.get_trials(deepcopy=False):
        outcome = outcomes.get(kept.number)
        if outcome is None or not kept.state.is_finished():  # the budget was spent while another process ran it
            continue
        plain = outcome.plain() | {"folder": f"{TRIALS}/{outcome.folder.name}"}
        values = values_of(wanted, outcome)
        error = outcome.error
        if values is None and outcome.status == COMPLETE:
            missing = [name for name in wanted.objectives if getattr(outcome, name) is None]
            plain |= {"status": "failed"}
            error = f"{' and '.join(missing)} was not measured, so that it cannot be compared."
        named = None if values is None else dict(zip(wanted.objectives, values, strict=True))
        trials.append({"number": kept.number, **plain, "error": error, "values": named})
    front = sorted(trial.number for trial in study.best_trials) if any(trial["values"] for trial in trials) else []
    return {
        "schema": SCHEMA,
        "name": wanted.plan.name,
        "folder": str(out),
        "objectives": wanted.objectives,
        "space": wanted.section()["space"],
        "sampler": wanted.sampler,
        "seeds": {"sampler": wanted.seed, "recipe": wanted.plan.seed},
        "storage": place_of(wanted, out),
        "budget": wanted.budget.plain(),
        "spent": wanted.budget.spent(sum(trial["seconds"] for trial in trials)),
        "ended": ended,
        "trials": trials,
        "front": front,
        "importance": importance_of(wanted, study),
        "evaluation": evaluation_in(out, front),
    }


def evaluation_in(out: Path, front: Sequence[int]) -> list[dict[str, Any]]:
    """What those on the front came to on the evaluation part, of those that were judged on it."""
    judged = {number: trial for number, trial in outcomes_in(out / FRONT).items() if number in front}
    folders = {number: f"{FRONT}/{trial.folder.name}" for number, trial in judged.items()}
    return [{"number": number, **trial.plain(), "folder": folders[number]} for number, trial in judged.items()]


def importance_of(wanted: Sweep, study: Study) -> dict[str, dict[str, float]]:
    """For each objective, the share of each key in what decides it; none where too few trials were completed to say."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    shares = {}
    for index, name in enumerate(wanted.objectives):

        def value(trial: Any, index: int = index) -> float:
            return float(trial.values[index])

        with contextlib.suppress(ValueError, RuntimeError):  # fewer than two trials, or all alike
            given = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=wanted.seed), target=value)
            shares[name] = {key: round(float(share), 4) for key, share in given.items()}
    return shares


def _raise_for_none(wanted: Sweep, place: Place, record: dict[str, Any]) -> None:
    """Raise where no trial was completed."""
    if record["front"]:
        return
    first = next((trial["error"] for trial in record["trials"] if trial["error"]), "none was started.")
    if record["ended"] != TRIALS_DONE or (wanted.budget.memory_gb is not None and "GB allowed" in first):
        used = size_on_disk([place.out, place.cache]) / GB
        budget, hours = json.dumps(wanted.budget.plain()), record["spent"]["hours"]
        raise InputError(
            f"sweep.budget is too small for one trial: of {budget}, {hours:g} hours and {used:.3g} GB of disk are spent, and "
            f"no trial was completed: {first} Allow more than that; what was done is kept, so that the same command goes on."
        )
    raise CompressError(
        f"none of {len(record['trials'])} trials was completed; the first failed: {first} See {place.out / RECORD}."
    )


def _evaluate(wanted: Sweep, place: Place, record: dict[str, Any]) -> dict[str, Any]:
    """Judge those on the front on the evaluation part; who was judged before is not judged again."""
    for trial in record["trials"]:
        if trial["number"] not in record["front"]:
            continue
        run_trial(
            wanted.recipe,
            trial["overrides"],
            out=place.out / FRONT / f"{trial['number']:04d}",
            cache=place.cache,
            device=place.device,
            tiny=place.tiny,
            judged_on="evaluation",
        )
    record["evaluation"] = evaluation_in(place.out, record["front"])
    _keep(place.out, record)
    return record
