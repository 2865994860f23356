"""Who runs which trial: each is claimed by one process, and goes to another, unchanged, when that one is gone."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from compress.disk import discard, lock_of, write_lasting
from compress.search.reading import GRID, Sweep
from compress.search.studies import grid_point, most_trials, sampler_of

if TYPE_CHECKING:
    from optuna import Study

TRIALS, LOCK, OWNER = "trials", "sweep.lock", "owner.json"
BEAT_SECONDS, STALE_SECONDS = 10.0, 90.0
SAME_START = 1.0  # seconds that two readings of when a process started may differ


@dataclass(frozen=True)
class Claim:
    """A trial that this process is to run.

    Args:
        number: Its own, from 0.
        overrides: Dotted key -> value.
        folder: Its own.
    """

    number: int
    overrides: dict[str, Any]
    folder: Path


def folder_of(out: Path, number: int) -> Path:
    """The folder of a trial."""
    return out / TRIALS / f"{number:04d}"


def claim(study: Study, sweep: Sweep, out: Path, *, is_new_allowed: bool) -> Claim | None:
    """Take over a trial whose process is gone, or else a new one; None where there is neither.

    Args:
        study: Of the sweep.
        sweep: What may be chosen.
        out: The sweep's folder, which all its processes share.
        is_new_allowed: Whether there may be new ones.
    """
    from optuna.trial import Trial, TrialState

    with lock_of(out / LOCK):
        trials = study.get_trials(deepcopy=False)
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        left = next((trial for trial in running if not _is_owned(folder_of(out, trial.number))), None)
        if left is not None:
            study.sampler = sampler_of(sweep, left.number)
            trial = Trial(study, left._trial_id)  # what was chosen for it stays; what was not is chosen now
        else:
            waiting = [trial.number for trial in trials if trial.state == TrialState.WAITING]
            if not is_new_allowed or (len(trials) >= most_trials(sweep) and not waiting):
                return None
            number = min(waiting, default=len(trials))
            study.sampler = sampler_of(sweep, number)
            if sweep.sampler == GRID and not waiting:
                study.enqueue_trial(grid_point(sweep, number))
            trial = study.ask()
        overrides = {key: dimension.suggest(trial, key) for key, dimension in sweep.space.items()}
        folder = folder_of(out, trial.number)
        folder.mkdir(parents=True, exist_ok=True)
        write_lasting(folder / OWNER, json.dumps(_myself()).encode())
        return Claim(trial.number, overrides, folder)


def is_any_running(study: Study) -> bool:
    """Whether some trial was claimed and has no end yet."""
    from optuna.trial import TrialState

    return bool(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


@contextlib.contextmanager
def owning(claimed: Claim) -> Iterator[None]:
    """Show that a claimed trial is being run, and give it up at the end."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(claimed.folder / OWNER)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        discard(claimed.folder / OWNER)


def _myself() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def _is_owned(folder: Path) -> bool:
    """Whether a trial's process is there: on this machine by its number, on another by when it last gave a sign."""
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        seconds = time.time() - (folder / OWNER).stat().st_mtime
    except (OSError, ValueError):
        return False
    if owner["host"] != socket.gethostname():
        return seconds < STALE_SECONDS
    try:
        process = psutil.Process(owner["pid"])
        is_same = abs(process.create_time() - owner["started"]) < SAME_START
        return is_same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
