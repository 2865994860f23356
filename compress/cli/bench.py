"""Time models beside each other: the command `bench`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from compress import log
from compress.cli.options import AsJson, Debug, Quiet, whole_numbers
from compress.cli.printing import kept_from_stdout, print_json, say

EXAMPLE = "bert-compress bench runs/demo/export/onnxruntime-cpu runs/demo/export/onnxruntime-cpu-int8"


def bench(
    folders: Annotated[list[str], typer.Argument(help="Folders of models or exports.")],
    batch: Annotated[str, typer.Option(help="Examples in a call.")] = "1",
    length: Annotated[str, typer.Option(help="Tokens of each example.")] = "32",
    threads: Annotated[str, typer.Option(help="Threads that the runtime may use.")] = "1",
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    baseline: Annotated[str | None, typer.Option(help="Name that speed-ups are against; the first one if left out.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is timed, in turn with the others.")] = 5,
    seconds: Annotated[float | None, typer.Option(help="Stop a turn's combination after this time.")] = None,
    as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Time models beside each other; lists as in --batch 1,8 --length 32,128."""
    log.configure(quiet, debug)
    grid = [whole_numbers(*one) for one in (("--batch", batch), ("--length", length), ("--threads", threads))]
    from compress.live import MEASURE, LiveView, Stage, latencies_text
    from compress.measure import measurement

    with LiveView("bench", [Stage(MEASURE, tells=True)], quiet=quiet) as view, kept_from_stdout(sys.stderr):

        def progress(what: str, done: int, total: int) -> None:
            view(f"{MEASURE}: {what}", done, total)

        rows = measurement.latencies(folders, batch=grid[0], length=grid[1], threads=grid[2], device=device, baseline=baseline,
                                     rounds=rounds, seconds=seconds, progress=progress)  # fmt: skip
    if as_json:
        print_json(rows)
        return
    say(latencies_text(rows))
