"""Say what changed between two results: the command `compare`."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from compress import log
from compress.cli.layout import table_text
from compress.cli.options import AsJson, Debug, Quiet, fraction_given, path_named
from compress.cli.printing import kept_from_stdout, print_json, say
from compress.errors import GateMissed

EXAMPLE = "bert-compress compare runs/before runs/after --max-drop 0.005 --max-slower 0.1 --max-larger 0.1"


class Format(StrEnum):
    """How a comparison is printed."""

    text = "text"
    markdown = "markdown"
    json = "json"


def compare(
    before: Annotated[
        Path, typer.Argument(parser=path_named, metavar="BEFORE", help="A run folder, results, or a shipped one.")
    ],
    after: Annotated[Path, typer.Argument(parser=path_named, metavar="AFTER", help="What may be worse than that.")],
    max_drop: Annotated[str | None, typer.Option(metavar="FRACTION", help="Of the metric that may be lost.")] = None,
    max_slower: Annotated[str | None, typer.Option(metavar="FRACTION", help="By which the latency may be higher.")] = None,
    max_larger: Annotated[str | None, typer.Option(metavar="FRACTION", help="By which the size may be larger.")] = None,
    prove: Annotated[
        bool, typer.Option("--prove", help="Let what is not shown to be within its limit be a regression too.")
    ] = False,
    task_of: Annotated[
        Path | None,
        typer.Option(parser=path_named, metavar="RECIPE", help="Measure two shipped folders on this recipe's task."),
    ] = None,
    layout: Annotated[Format, typer.Option("--format", help="How it is printed.")] = Format.text,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Say what changed between two results, and leave with 3 where it is a regression beyond a limit."""
    log.configure(quiet, debug)
    given = [
        fraction_given(option, value)
        for option, value in (("--max-drop", max_drop), ("--max-slower", max_slower), ("--max-larger", max_larger))
    ]
    from compress.reporting import comparison, comparison_text, reading
    from compress.reporting.verdicts import Limits

    limits = Limits(given[0], given[1], given[2], prove)
    names = (str(before), str(after))
    sides = _measured(before, after, task_of) if task_of is not None else [reading.read_runs(path) for path in (before, after)]
    compared = comparison.compare(names, sides[0], sides[1], limits)
    if as_json or layout is Format.json:
        failed = {"error": comparison_text.regression_sentence(compared.regressions), "exit_code": GateMissed.exit_code}
        print_json(comparison_text.as_json(compared) | (failed if compared.regressions else {}))
    elif layout is Format.markdown:
        say(comparison_text.markdown(compared))
    else:
        say(_text(compared))
    if compared.regressions:
        sys.stderr.write(f"{comparison_text.regression_sentence(compared.regressions)}\n")
        raise typer.Exit(GateMissed.exit_code)


def _text(compared: Any) -> str:
    from compress.reporting import comparison_text

    changed = comparison_text.change_lines(compared)
    lines = [f"from {compared.names[0]} to {compared.names[1]}"]
    for room, changes in changed.items():
        lines += [f"{room}:", *(f"  {change}" for change in changes)] if changes else [f"{room}: the same"]
    head, rows = comparison_text.table(compared)
    lines += ["", table_text(head, rows) if rows else "the two have no subject in common"]
    return "\n".join([*lines, *comparison_text.closing_lines(compared), *comparison_text.verdict_lines(compared)])


def _measured(before: Path, after: Path, recipe: Path) -> list[list[dict[str, Any]]]:
    """Measure two shipped folders beside each other on a recipe's task, and tell of each what a run would."""
    from compress import tasks
    from compress.benchmark import measurement, subjects
    from compress.recipe import read_recipe

    plan = read_recipe(recipe)
    folders = [_shipped(path) for path in (before, after)]
    given = [subjects.subject_of(folder, name) for folder, name in zip(folders, ("before", "after"), strict=True)]
    benchmark = plan.benchmark
    with kept_from_stdout(sys.stderr):
        task = tasks.task(**plan.task)
        result = measurement.measure(
            given,
            task=task,
            batch=benchmark.batch,
            length=benchmark.length,
            threads=benchmark.threads,
            device=benchmark.device,
            rounds=benchmark.rounds,
            seconds=benchmark.seconds,
            tight=benchmark.tight,
            most_rounds=benchmark.most_rounds,
            lengths=benchmark.lengths,
        )
    name = given[0].target if given[0].target == given[1].target else "file"
    return [
        [
            {
                "recipe": _facts(folder),
                "data": {"fingerprint": task.fingerprint, **task.describe()},
                "machine": result.machine,
                "versions": result.versions,
                "subjects": [entry | {"name": name}],
            }
        ]
        for folder, entry in zip(folders, result.subjects, strict=True)
    ]


def _shipped(path: Path) -> Path:
    """The folder itself, or of a run folder what it shipped last."""
    from compress.reporting.reading import RUN_JSON, read_runs

    if not (path / RUN_JSON).is_file():
        return path
    return path / str(read_runs(path)[0]["subjects"][-1].get("path"))


def _facts(folder: Path) -> dict[str, Any]:
    """What a shipped folder tells of how it was made."""
    from compress.facts import read_facts

    facts = read_facts(folder)
    return {
        name: getattr(facts, name) for name in ("target", "kind", "options", "labels", "max_length", "integers", "abstain")
    }
