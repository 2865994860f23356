"""Time models beside each other: the command `bench`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from compress import log
from compress.cli.options import (
    LARGEST_BATCH,
    LONGEST,
    MOST_ROUNDS,
    MOST_THREADS,
    AsJson,
    Debug,
    Quiet,
    TimeLimit,
    named,
    seconds_given,
    whole_number,
    whole_numbers,
)
from compress.cli.printing import kept_from_stdout, print_json, say
from compress.cli.results import latencies_text
from compress.runtimes.limits import TIME_LIMIT_SECONDS

EXAMPLE = "bert-compress bench runs/demo/export/onnxruntime-cpu runs/demo/export/onnxruntime-cpu-int8"


def bench(
    folders: Annotated[list[str], typer.Argument(parser=named, metavar="FOLDERS", help="Folders of models or exports.")],
    batch: Annotated[str, typer.Option(metavar="NUMBERS", help="Examples in a call.")] = "1",
    length: Annotated[str, typer.Option(metavar="NUMBERS", help="Tokens of each example.")] = "32",
    threads: Annotated[str, typer.Option(metavar="NUMBERS", help="Threads that the runtime may use.")] = "1",
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    baseline: Annotated[str | None, typer.Option(help="Name that speed-ups are against; the first one if left out.")] = None,
    rounds: Annotated[str, typer.Option(metavar="NUMBER", help="How often each is timed, in turn with the others.")] = "5",
    seconds: Annotated[str | None, typer.Option(metavar="NUMBER", help="Stop a turn's combination after this time.")] = None,
    time_limit: TimeLimit = TIME_LIMIT_SECONDS,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Time models beside each other; lists as in --batch 1,8 --length 32,128."""
    log.configure(quiet, debug)
    batches = whole_numbers("--batch", batch, 1, LARGEST_BATCH)
    lengths = whole_numbers("--length", length, 1, LONGEST)
    thread_counts = whole_numbers("--threads", threads, 1, MOST_THREADS)
    times = whole_number("--rounds", rounds, 1, MOST_ROUNDS)
    stop_after = seconds_given("--seconds", seconds)
    from compress.benchmark import measurement
    from compress.live import MEASURE, LiveView, Stage

    with LiveView("bench", [Stage(MEASURE, tells=True)], quiet=quiet) as view, kept_from_stdout(sys.stderr):

        def progress(what: str, done: int, total: int) -> None:
            view(f"{MEASURE}: {what}", done, total)

        rows = measurement.latencies(
            folders,
            batch=batches,
            length=lengths,
            threads=thread_counts,
            device=device,
            baseline=baseline,
            rounds=times,
            seconds=stop_after,
            time_limit=time_limit,
            progress=progress,
        )
    if as_json:
        print_json(rows)
        return
    say(latencies_text(rows))
