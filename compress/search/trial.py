"""One recipe of many, run in a process of its own and judged on the selection part: whatever becomes of it is an outcome."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import psutil

from compress.disk import Damaged, discard, folders_made, read_sealed, write_lasting, write_sealed
from compress.errors import CompressError, cut, shown
from compress.recipe.document import dump
from compress.run_errors import OUT_OF_MEMORY
from compress.runtimes.process import worker_command, worker_environment

logger = logging.getLogger(__name__)

COMPLETE: Literal["complete"] = "complete"
FAILED: Literal["failed"] = "failed"
RECIPE, REQUEST, OUTCOME, LOG, RUN = "recipe.yaml", "request.json", "trial.json", "trial.log", "run"
CHILD = "compress.search.child"
POLL_SECONDS = 0.1
LAST_BYTES, LAST_LINES = 1 << 14, 5


@dataclass(frozen=True)
class Trial:
    """What became of one recipe. Numbers are None where the trial failed before they were measured.

    Args:
        overrides: What the recipe was changed by, dotted key -> value.
        status: "complete", or "failed", which is kept with its error.
        folder: Holds `recipe.yaml` (as it was run, for `bert-compress run`), `trial.json` (this), `trial.log` and `run/`, the
            run folder with run.json, report and the shipped file.
        judged_on: The part that quality was measured on.
        target: What was shipped: the recipe's last export, "torch" where it has none.
        metric: The name of the score that decides.
        quality: That score of the shipped file; a share of 1, or a perplexity, of which less is better.
        speedup: Times faster than the recipe's baseline, at the recipe's main setting (`compress.record.main_setting`).
        p50_ms: Median latency of one batch there, in milliseconds.
        p95_ms: Its 95th percentile, in milliseconds.
        size_bytes: Of the shipped file.
        seconds: From start to end, on the wall; little where steps came from the cache.
        missed: Names of the recipe's gates that the shipped file misses, by the same part.
        error: Why it failed; empty where it did not.
        exit_code: 0, or 1 where the work failed, 2 where the recipe or its data is wrong, as those of the command line.
    """

    overrides: dict[str, Any]
    status: Literal["complete", "failed"]
    folder: Path
    judged_on: Literal["selection", "evaluation"] = "selection"
    target: str | None = None
    metric: str | None = None
    quality: float | None = None
    speedup: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    size_bytes: int | None = None
    seconds: float = 0.0
    missed: tuple[str, ...] = field(default=())
    error: str = ""
    exit_code: int = 0

    def plain(self) -> dict[str, Any]:
        """Itself as JSON has it; `trial_of` reads it back."""
        return {**asdict(self), "folder": str(self.folder), "missed": list(self.missed)}


def trial_of(plain: Mapping[str, Any]) -> Trial:
    """The trial that `Trial.plain` wrote; keys of later versions are left out."""
    known = {field.name: plain[field.name] for field in fields(Trial) if field.name in plain}
    return Trial(**known | {"folder": Path(plain["folder"]), "missed": tuple(plain.get("missed", ()))})


def run_trial(
    recipe: str | Mapping[str, Any],
    overrides: Mapping[str, Any] | None = None,
    *,
    out: Path,
    cache: Path,
    device: str = "auto",
    tiny: bool = False,
    judged_on: Literal["selection", "evaluation"] = "selection",
    memory_bytes: int | None = None,
    time_limit: float | None = None,
) -> Trial:
    """Run a recipe in a fresh process and judge the file that it ships; nothing that happens there is raised here.

    The process ends with this one. Steps are taken from the cache, which any number of trials may share at once. A trial of
    the same recipe, overrides and options that was completed in `out` is not run again; a failed or killed one is, and goes
    on from what the cache holds.

    Args:
        recipe: As YAML text, or as the plain data that YAML gives.
        overrides: Dotted key -> value, as `bert-compress run` takes them: `steps.distill.epochs`, `steps.1` for a whole step.
        out: The trial's folder; see `Trial.folder`.
        cache: Where results of steps are kept.
        device: auto, cpu or cuda.
        tiny: A random model and a few steps.
        judged_on: "selection", so that the choice among trials costs the evaluation part nothing, or "evaluation" for those
            that were chosen.
        memory_bytes: The trial is killed, and has failed, when it and its processes hold more; None for no limit.
        time_limit: The same after so many seconds.

    Returns:
        The outcome, which `out`/trial.json keeps.

    Raises:
        CompressError: The trial's folder cannot be written.
    """
    out = out.absolute()
    request: dict[str, Any] = {
        "recipe": recipe if isinstance(recipe, str) else dump(dict(recipe)),
        "overrides": dict(overrides or {}),
        "device": device,
        "tiny": tiny,
        "judged_on": judged_on,
    }
    done = outcome_in(out, request)
    if done is not None and done.status == COMPLETE:
        logger.info("%s was completed before", out)
        return done
    started = time.perf_counter()
    try:
        with folders_made(out):
            discard(out / OUTCOME)
            write_lasting(out / REQUEST, json.dumps({**request, "cache": str(cache.absolute())}, indent=1).encode())
    except OSError as err:
        raise CompressError(f"{out} cannot be written ({err.strerror or err}); name another folder.") from err
    killed, code = _wait(_start(out), memory_bytes, time_limit)
    ended = outcome_in(out, request)
    if ended is None:
        error = killed or _why_it_ended(code, out / LOG)
        ended = Trial(request["overrides"], FAILED, out, judged_on, error=error, exit_code=1)
    ended = replace(ended, seconds=round(time.perf_counter() - started, 3))
    write_outcome(ended, request)
    return ended


def outcome_in(out: Path, request: Mapping[str, Any]) -> Trial | None:
    """The outcome that a trial's folder holds; None where there is none, or it is another request's."""
    try:
        sealed = read_sealed(out / OUTCOME)
    except Damaged:
        return None
    if sealed.get("request") != _digest(request):
        return None
    return replace(trial_of(sealed["trial"]), folder=out)  # the folder may have been moved


def write_outcome(trial: Trial, request: Mapping[str, Any]) -> None:
    """Keep an outcome in the trial's folder, whole or not at all."""
    write_sealed(trial.folder / OUTCOME, {"request": _digest(request), "trial": trial.plain()})


def spelled(overrides: Mapping[str, Any]) -> list[str]:
    """Overrides as the command line takes them: `key=value`, whole steps before what lies in them."""
    keys = sorted(overrides, key=lambda key: key.count("."))
    return [f"{key}={json.dumps(overrides[key], ensure_ascii=False)}" for key in keys]


def _digest(request: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in request.items() if name != "cache"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _start(out: Path) -> subprocess.Popen[bytes]:
    with (out / LOG).open("ab") as log:
        return subprocess.Popen(
            [*worker_command(CHILD), str(out / REQUEST)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=worker_environment(),
        )


def _wait(process: subprocess.Popen[bytes], memory_bytes: int | None, time_limit: float | None) -> tuple[str, int]:
    """Wait for the end of a process, or end it. Return why it was killed, if it was, and its exit code."""
    deadline = None if time_limit is None else time.monotonic() + time_limit
    try:
        while process.poll() is None:
            if deadline is not None and time.monotonic() > deadline:
                return f"it took more than {time_limit:g} seconds and was stopped; give it fewer epochs, or more time.", 1
            used = 0 if memory_bytes is None else _memory_of(process.pid)
            if memory_bytes is not None and used > memory_bytes:
                return (
                    f"it held {used / 1e9:.2f} GB of memory, more than the {memory_bytes / 1e9:.2f} GB allowed, and was "
                    "stopped; use smaller batches, or allow more."
                ), 1
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
        return "", process.returncode
    finally:
        if process.poll() is None:
            process.kill()  # its own processes die with it
            process.wait()


def _memory_of(pid: int) -> int:
    """Bytes that a process and those that it started hold."""
    total = 0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
    return total


def _why_it_ended(code: int, log: Path) -> str:
    said = _last_lines(log)
    words = "\n  ".join(["", *said]) if said else "none."
    if any(sign in line for sign in OUT_OF_MEMORY for line in said):
        return f"memory ran out; use smaller batches or shorter texts. Its last words: {words}"
    if code == -9:
        return (
            f"it was killed, by the system most likely, because memory ran out; use smaller batches. Its last words: {words}"
        )
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return f"its process crashed ({how}); see {shown(str(log))}. Its last words: {words}"


def _last_lines(log: Path) -> Sequence[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LAST_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [cut(line, 300) for line in text.strip().splitlines() if line.strip()][-LAST_LINES:]
