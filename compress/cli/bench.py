"""Time models beside each other: the command `bench`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from compress import log
from compress.cli.options import (
    LARGEST_BATCH,
    LONGEST,
    MOST_ROUNDS,
    MOST_THREADS,
    PATH,
    AsJson,
    Debug,
    Quiet,
    TimeLimit,
    named,
    number_given,
    path_named,
    seconds_given,
    whole_number,
    whole_numbers,
)
from compress.cli.printing import kept_from_stdout, print_json, say
from compress.cli.results import latencies_text
from compress.runtimes.limits import TIME_LIMIT_SECONDS

logger = logging.getLogger(__name__)

EXAMPLE = "bert-compress bench runs/demo/export/onnxruntime-cpu runs/demo/export/onnxruntime-cpu-int8"
HIGHEST_PRICE = 1e9


def bench(
    folders: Annotated[
        list[str],
        typer.Argument(
            parser=named, metavar="FOLDERS", help="Folders of models or exports; FOLDER:TASK for one of several tasks."
        ),
    ],
    batch: Annotated[str, typer.Option(metavar="NUMBERS", help="Examples in a call.")] = "1",
    length: Annotated[str, typer.Option(metavar="NUMBERS", help="Tokens of each example.")] = "32",
    lengths_of: Annotated[
        Path | None,
        typer.Option(parser=path_named, metavar="RECIPE", help="Time batches as long as this recipe's evaluation texts too."),
    ] = None,
    threads: Annotated[str, typer.Option(metavar="NUMBERS", help="Threads that the runtime may use.")] = "1",
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    baseline: Annotated[str | None, typer.Option(help="Name that speed-ups are against; the first one if left out.")] = None,
    rounds: Annotated[str, typer.Option(metavar="NUMBER", help="How often each is timed at least, in turn.")] = "5",
    tight: Annotated[
        str, typer.Option(metavar="FRACTION", help="Go on until each median is known to this share of it, at 95 %.")
    ] = "0.05",
    most_rounds: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="... but for so many rounds at most; four times --rounds if left out.")
    ] = None,
    seconds: Annotated[str | None, typer.Option(metavar="NUMBER", help="Stop a turn's combination after this time.")] = None,
    price: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Of an hour of this machine, to tell what answers cost.")
    ] = None,
    beside: Annotated[
        Path | None, typer.Option(**PATH, help="A result of bench --json, of this machine, to show too.")
    ] = None,
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
    most = None if most_rounds is None else whole_number("--most-rounds", most_rounds, times, MOST_ROUNDS)
    width = number_given("--tight", tight, 1.0)
    hourly = None if price is None else number_given("--price", price, HIGHEST_PRICE)
    stop_after = seconds_given("--seconds", seconds)
    from compress.benchmark import bench as benchmark
    from compress.live import MEASURE, LiveView, Stage

    earlier = [] if beside is None else benchmark.rows_of_before(beside)
    with LiveView("bench", [Stage(MEASURE, tells=True)], quiet=quiet) as view, kept_from_stdout(sys.stderr):

        def progress(what: str, done: int, total: int) -> None:
            view(f"{MEASURE}: {what}", done, total)

        timed = benchmark.latencies(
            folders,
            batch=batches,
            length=lengths,
            threads=thread_counts,
            device=device,
            baseline=baseline,
            rounds=times,
            seconds=stop_after,
            time_limit=time_limit,
            tight=width if width < 1 else None,
            most_rounds=most,
            lengths=() if lengths_of is None else _lengths_of(lengths_of, folders[0]),
            price=hourly,
            progress=progress,
        )
    if as_json:
        print_json(timed.as_dict())
        return
    rows = [*({**row, "name": f"{beside}: {row['name']}"} for row in earlier), *timed.rows]
    say(latencies_text(rows))
    for warning in timed.conditions["warnings"]:
        logger.warning("%s", warning)


def _lengths_of(recipe: Path, folder: str) -> tuple[int, ...]:
    """Tokens of each text of a recipe's evaluation part, as the first model reads it."""
    from compress import tasks
    from compress.benchmark.runners import load_tokenizer
    from compress.benchmark.subjects import input_limits, subject_of
    from compress.recipe import read_recipe

    subject = subject_of(folder)
    task = tasks.task(**read_recipe(recipe).task).within(input_limits(subject)[1])
    encoded = task.encode(task.evaluation.require("evaluation"), load_tokenizer(subject.path))
    return tuple(encoded.lengths.tolist())
