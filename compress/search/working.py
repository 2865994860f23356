"""Work on a sweep: claim a trial, run it, tell the study, until there is none left. A process or a remote task calls it."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress import log
from compress.disk import Damaged, read_sealed
from compress.errors import CompressError
from compress.runtimes.serving import die_with
from compress.search.budget import GB, size_on_disk
from compress.search.claims import TRIALS, claim, is_any_running, owning
from compress.search.reading import Sweep, read_sweep_text
from compress.search.studies import check_optuna, open_study
from compress.search.trial import COMPLETE, OUTCOME, Trial, run_trial, trial_of

if TYPE_CHECKING:
    from optuna import Study

logger = logging.getLogger(__name__)

WAIT_SECONDS = 0.5
LEAST_SECONDS = 1.0  # that a trial is started for

TRIALS_DONE = "trials"


@dataclass(frozen=True)
class Place:
    """Where and how a sweep's trials run.

    Args:
        out: The sweep's folder.
        cache: Where results of steps are kept, for all trials.
        device: auto, cpu or cuda.
        tiny: A random model and a few steps.
        workers: Processes of this start, which share the memory of the budget.
    """

    out: Path
    cache: Path
    device: str = "auto"
    tiny: bool = False
    workers: int = 1


def work(sweep: Sweep, place: Place, tell: Callable[[int, Trial], None] = lambda number, trial: None) -> str:
    """Run trials until there is none left, or the budget is spent; wait for those of other processes, and take over theirs.

    Args:
        sweep: What to run.
        place: Where.
        tell: Called with each trial that this process ends, and its number.

    Returns:
        What it ended for: "trials", or a key of the budget.
    """
    study = open_study(sweep, place.out)
    memory = sweep.budget.memory_gb
    while True:
        spent_for = over_budget(sweep, place)
        claimed = claim(study, sweep, place.out, is_new_allowed=spent_for is None)
        if claimed is None:
            if not is_any_running(study):
                return spent_for or TRIALS_DONE
            time.sleep(WAIT_SECONDS)
            continue
        with owning(claimed):
            ended = run_trial(
                sweep.recipe,
                claimed.overrides,
                out=claimed.folder,
                cache=place.cache,
                device=place.device,
                tiny=place.tiny,
                memory_bytes=None if memory is None else int(memory * GB / place.workers),
                time_limit=_seconds_left(sweep, place.out),
            )
            tell_study(study, sweep, claimed.number, ended)
        tell(claimed.number, ended)


def values_of(sweep: Sweep, trial: Trial) -> list[float] | None:
    """What a trial is judged by, in the order of the objectives; None where it failed or something was not measured."""
    values = [getattr(trial, name) for name in sweep.objectives]
    return values if trial.status == COMPLETE and None not in values else None


def tell_study(study: Study, sweep: Sweep, number: int, trial: Trial) -> None:
    """Keep a trial's values in the study, once."""
    from optuna.trial import TrialState

    values = values_of(sweep, trial)
    study.tell(number, values, TrialState.FAIL if values is None else TrialState.COMPLETE, skip_if_finished=True)


def outcomes_in(folder: Path) -> dict[int, Trial]:
    """The outcomes that lie in a folder of trials, number -> trial."""
    outcomes = {}
    for path in sorted(folder.glob(f"*/{OUTCOME}")):
        try:
            outcomes[int(path.parent.name)] = trial_of(read_sealed(path)["trial"] | {"folder": str(path.parent)})
        except (Damaged, ValueError):
            logger.warning("%s cannot be read; its trial is left out of the sums.", path)
    return outcomes


def seconds_spent(out: Path) -> float:
    """Of all trials that ended."""
    return sum(trial.seconds for trial in outcomes_in(out / TRIALS).values())


def over_budget(sweep: Sweep, place: Place) -> str | None:
    """The key of the budget that is spent; None while none is."""
    left = _seconds_left(sweep, place.out)
    if left is not None and left <= LEAST_SECONDS:
        by_hours = sweep.budget.hours is not None and seconds_spent(place.out) + LEAST_SECONDS >= sweep.budget.hours * 3600
        return "hours" if by_hours else "cost"
    disk = sweep.budget.disk_gb
    if disk is not None and size_on_disk([place.out, place.cache]) >= disk * GB:
        return "disk_gb"
    return None


def _seconds_left(sweep: Sweep, out: Path) -> float | None:
    total = sweep.budget.seconds
    return None if total is None else max(total - seconds_spent(out), LEAST_SECONDS)


def request_of(sweep: Sweep, place: Place) -> dict[str, Any]:
    """What `main` takes."""
    return {"sweep": sweep.text(), "place": {**asdict(place), "out": str(place.out), "cache": str(place.cache)}}


def main(parent: str, request_file: str) -> None:
    """Work as one of several local processes: PARENT (its process id) REQUEST (a JSON file)."""
    die_with(int(parent))
    log.configure(quiet=False, debug=False)
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    given = request["place"]
    check_optuna()
    try:
        work(
            read_sweep_text(request["sweep"], source="the sweep"),
            Place(**{**given, "out": Path(given["out"]), "cache": Path(given["cache"])}),
        )
    except CompressError as err:
        sys.exit(str(err))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main(*sys.argv[1:])
