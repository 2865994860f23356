"""The process of one trial: it runs the recipe that a request tells of, and leaves the outcome beside it."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress import log
from compress.disk import write_lasting
from compress.errors import CompressError, InputError, first_line
from compress.record import finite, latency_at, main_setting, speedup_at, subjects_of
from compress.run_errors import OUT_OF_MEMORY
from compress.runtimes.serving import die_with
from compress.search.trial import COMPLETE, FAILED, RECIPE, RUN, Trial, spelled, write_outcome


def main(parent: str, request_file: str) -> None:
    """Run a request: PARENT (its process id) REQUEST (a JSON file in the trial's folder)."""
    die_with(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of the terminal; the parent decides
    log.configure(quiet=False, debug=False)
    path = Path(request_file)
    request = json.loads(path.read_text(encoding="utf-8"))
    cache = Path(request.pop("cache"))
    try:
        trial = outcome(_run(request, path.parent, cache), request, path.parent)
    except CompressError as err:
        trial = _failed(request, path.parent, str(err), err.exit_code)
    except Exception as err:  # any other error is one more way to fail
        if isinstance(err, MemoryError) or any(sign in str(err) for sign in OUT_OF_MEMORY):
            error = f"memory ran out ({first_line(err)}); use smaller batches or shorter texts."
        else:
            error = f"unexpected error: {type(err).__name__}: {first_line(err)}"
        trial = _failed(request, path.parent, error, CompressError.exit_code)
        write_outcome(trial, request)
        raise
    write_outcome(trial, request)


def _run(request: Mapping[str, Any], out: Path, cache: Path) -> dict[str, Any]:
    """The run.json of the request's recipe."""
    from compress.recipe import read_recipe_text, recipe_text

    plan = read_recipe_text(request["recipe"], spelled(request["overrides"]), source="the trial's recipe")
    write_lasting(out / RECIPE, recipe_text(plan).encode())
    from compress.pipeline import RunOptions, run  # after the recipe was read, which needs no torch

    options = RunOptions(
        out=out / RUN, cache=cache, device=request["device"], tiny=request["tiny"], judged_on=request["judged_on"]
    )
    return run(plan, options)


def outcome(record: Mapping[str, Any], request: Mapping[str, Any], out: Path) -> Trial:
    """What a run.json says of the shipped file, which is its last subject."""
    subjects = subjects_of(record)
    if not subjects:
        raise InputError("the run measured nothing, so there is nothing to compare; add a step or an export.")
    baseline, shipped = subjects[0], subjects[-1]
    setting = main_setting(record)
    latency = latency_at(shipped, setting)
    metric, quality = next(iter(shipped["metrics"].items()))
    return Trial(
        overrides=request["overrides"],
        status=COMPLETE,
        folder=out,
        judged_on=request["judged_on"],
        target=shipped["target"],
        metric=metric,
        quality=finite(quality),
        speedup=speedup_at(shipped, baseline, setting),
        p50_ms=finite(latency.get("p50_ms")),
        p95_ms=finite(latency.get("p95_ms")),
        size_bytes=shipped["size_bytes"],
        missed=tuple(gate["name"] for gate in record.get("gates", []) if not gate["passed"]),
    )


def _failed(request: Mapping[str, Any], out: Path, error: str, exit_code: int) -> Trial:
    return Trial(request["overrides"], FAILED, out, request["judged_on"], error=error, exit_code=exit_code)


if __name__ == "__main__":
    main(*sys.argv[1:])
