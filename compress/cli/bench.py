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
from compress.cli.results import latencies_text, rates_text
from compress.errors import InputError
from compress.runtimes.limits import TIME_LIMIT_SECONDS

logger = logging.getLogger(__name__)

EXAMPLE = "bert-compress bench runs/demo/export/onnxruntime-cpu runs/demo/export/onnxruntime-cpu-int8"
HIGHEST_PRICE = 1e9
HIGHEST_RATE, LONGEST_WAIT_MS = 1_000_000, 3_600_000.0


def bench(
    folders: Annotated[
        list[str],
        typer.Argument(
            parser=named,
            metavar="FOLDERS",
            help="Folders of models or exports; FOLDER:TASK for one of several tasks; "
            "with --rates http://HOST:PORT/models/NAME too.",
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
    seconds: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER", help="Stop a turn's combination after this time; of --rates, send each so long, 10 if left out."
        ),
    ] = None,
    price: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Of an hour of this machine, to tell what answers cost.")
    ] = None,
    beside: Annotated[
        Path | None, typer.Option(**PATH, help="A result of bench --json, of this machine, to show too.")
    ] = None,
    rates: Annotated[
        str | None,
        typer.Option(metavar="NUMBERS", help="Send single texts at so many a second instead, whatever is answered meanwhile."),
    ] = None,
    streams: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help="With --rates: sessions that answer at once; 1 if left out.")
    ] = None,
    in_time: Annotated[
        str | None, typer.Option(metavar="MS", help="With --rates: milliseconds that are in time; 100 if left out.")
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
    if rates is not None:
        usual = {"--batch": batch != "1", "--length": length != "32", "--device": device != "cpu"}
        others = {"--lengths-of": lengths_of, "--baseline": baseline, "--price": price, "--beside": beside}
        given = [*(name for name, is_other in usual.items() if is_other), *(name for name, value in others.items() if value)]
        _refuse_together("--rates", given, "it sends single texts on the CPU, and compares nothing")
        waits = 100.0 if in_time is None else number_given("--in-time", in_time, LONGEST_WAIT_MS)
        sessions = [1] if streams is None else whole_numbers("--streams", streams, 1, MOST_THREADS)
        wanted = whole_numbers("--rates", rates, 1, HIGHEST_RATE)
        _send(folders, wanted, sessions, thread_counts, stop_after or 10.0, waits, as_json=as_json, quiet=quiet)
        return
    for option, value in (("--streams", streams), ("--in-time", in_time)):
        if value is not None:
            raise InputError(f"{option} goes with --rates alone; name the rates, or leave {option} out.")
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


def _refuse_together(option: str, others: list[str], why: str) -> None:
    if others:
        raise InputError(f"{option} does not go with {', '.join(others)}: {why}; leave one of them out.")


def _send(
    folders: list[str],
    rates: list[int],
    streams: list[int],
    threads: list[int],
    seconds: float,
    in_time_ms: float,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Send texts at given rates, and say what became of them."""
    from compress.benchmark.open_loop import answered_in_time
    from compress.live import MEASURE, LiveView, Stage

    with LiveView("bench", [Stage(MEASURE, tells=True)], quiet=quiet) as view, kept_from_stdout(sys.stderr):
        answered = answered_in_time(
            folders,
            rates=rates,
            streams=streams,
            threads=threads,
            seconds=seconds,
            in_time_ms=in_time_ms,
            progress=lambda what, done, total: view(f"{MEASURE}: {what}", done, total),
        )
    if as_json:
        print_json(answered.as_dict())
    else:
        say(rates_text(answered.rows))


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
