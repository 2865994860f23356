"""The command line: bert-compress run | check | list | export | bench | eval | report | doctor."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from compress import log, record
from compress.errors import CompressError, GateMissed, InputError

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
DATA_ENDINGS = (".tsv", ".csv", ".jsonl", ".parquet")
_kept_from_stdout = contextlib.redirect_stdout  # what libraries print goes to stderr; stdout is for the result
RUN_JSON, DETAILS_JSON, REPORT = "run.json", "details.json", "report.html"

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else there.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show warnings and errors only.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show every detail, and the traceback of an error.")]
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="seed=3, steps.distill.epochs=1, ...")]
Data = Annotated[str, typer.Option(help=f"A known data set, or a file that ends in {', '.join(DATA_ENDINGS)}.")]
DataFolder = Annotated[str | None, typer.Option("--data-dir", help="The folder of a known data set's files.")]
Text = Annotated[str | None, typer.Option(help="The file's column of the text.")]
Pair = Annotated[str | None, typer.Option(help="The file's column of the second text of a pair.")]
Label = Annotated[str | None, typer.Option(help="The file's column of the label.")]
MaxLength = Annotated[int | None, typer.Option(min=4, help="Longest example in tokens; as exported, or 128.")]


class _Commands(TyperGroup):
    """The commands, with one place where errors become messages and exit codes."""

    def main(
        self, args: Sequence[str] | None = None, prog_name: str | None = None, complete_var: str | None = None,
        standalone_mode: bool = True, windows_expand_args: bool = True, **extra: Any,
    ) -> Any:  # fmt: skip
        """Run a command and leave with its exit code."""
        given = list(sys.argv[1:] if args is None else args)
        try:
            with _terminated_like_interrupted():
                code = super().main(given, prog_name or "bert-compress", complete_var, False, windows_expand_args, **extra)
        except (Exception, KeyboardInterrupt) as err:
            code = INTERRUPTED if isinstance(err, KeyboardInterrupt) else _tell_error(err, given)
        if code == INTERRUPTED:
            kept = "; finished steps are kept, and the same command goes on from there" if "run" in given[:1] else ""
            _tell(f"stopped{kept}.", INTERRUPTED, "--json" in given)
        sys.exit(code or DONE)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; typer would take these two for a reader of stdout or a user who went away."""
        try:
            return super().invoke(ctx)
        except (BrokenPipeError, EOFError) as err:
            raise RuntimeError(f"{type(err).__name__} {err}".strip()) from err


app = typer.Typer(
    name="bert-compress", cls=_Commands, add_completion=False, no_args_is_help=True, rich_markup_mode=None,
    pretty_exceptions_enable=False, help="Turn a BERT checkpoint and a labelled task into a small, fast, measured model.",
)  # fmt: skip


@app.command(epilog="Example: bert-compress run recipes/sst2/three_layers_int8.yaml steps.distill.epochs=1")
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as recipes/sst2/three_layers_int8.yaml.")],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The run folder; if left out, runs/NAME or runs/NAME-tiny.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Where results of steps are kept; .cache beside the run folder.")] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="A random model and a few steps: does the recipe run at all?")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seeds: Annotated[str, typer.Option(help="Run once for each seed: 1,2,3.")] = "",
    keep: Annotated[bool, typer.Option("--record", help="Write the results to recipes/results.")] = False,
    log_with: Annotated[list[str] | None, typer.Option(help="A tracker that accelerate knows, such as tensorboard.")] = None,
    as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Run a recipe: change, export, measure. What was made before is taken from the cache."""
    log.configure(quiet, debug)
    from compress.recipe import read_recipe

    numbers = _whole_numbers("--seeds", seeds, 0) if seeds else []
    if keep and tiny:
        raise InputError("--record and --tiny were both given, but a tiny run has no results worth keeping; leave one out.")
    plan = read_recipe(recipe, overrides or [])
    from compress import pipeline
    from compress.live import LiveView, stages_of

    if keep:
        pipeline.results_path(plan)
    folder = pipeline.run_folder(plan, out, tiny)
    with LiveView(plan.name, stages_of(plan), quiet=quiet) as view, _kept_from_stdout(sys.stderr):
        around = pipeline.Surroundings(folder, cache, device, tiny, view, tuple(log_with or ()))
        records = pipeline.run_seeds(plan, numbers, around) if numbers else [pipeline.run(plan, around)]
    if not all(records):  # under accelerate, a process that is not the first
        return
    written = pipeline.write_results(plan, records) if keep else None
    if written and not as_json:
        _say(f"results: {written}")
    result = {"schema": 1, "runs": records} if numbers else records[0]
    _close_run(records, [folder / f"seed-{number}" for number in numbers] or [folder], result if as_json else None)


def _close_run(records: list[dict[str, Any]], folders: list[Path], result: dict[str, Any] | None) -> None:
    """Print the result as JSON, or the table of each run and where its report is; then judge the gates."""
    from compress import pipeline
    from compress.live import run_text

    missed: list[str] = []
    for one, folder in zip(records, folders, strict=True):
        try:
            pipeline.raise_for_gates(one)
        except GateMissed as err:
            missed.append(str(err) if len(records) == 1 else f"{folder.name}: {err}")
        if result is None:
            _say(f"{run_text(one)}\nreport: {folder / REPORT}")
    error = {"error": "\n".join(missed), "exit_code": GateMissed.exit_code} if missed else {}
    if result is not None:
        _print_json(result | error)
    if missed:
        sys.stderr.write(f"{error['error']}\n")
        raise typer.Exit(GateMissed.exit_code)


@app.command(epilog="Example: bert-compress check recipes/sst2/three_layers_int8.yaml seed=3")
def check(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe.")] = None,
    overrides: Overrides = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of recipes, for editors.")] = False,
    as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Check a recipe without running it: every mistake at once, with line and suggestion."""
    log.configure(quiet, debug)
    from compress.recipe import json_schema, read_recipe

    if schema:
        _print_json(json_schema())
        return
    if recipe is None:
        raise InputError("no recipe was given; name a recipe file to check, or ask for --schema.")
    plan = read_recipe(recipe, overrides or [])
    if as_json:
        _print_json({"ok": True, "recipe": plan.resolved()})
        return
    steps = ", ".join(step.name for step in plan.steps) or "none"
    exports = ", ".join(one.target for one in plan.exports) or "none"
    _say(f"ok: {plan.name}, {len(plan.steps)} steps ({steps}), {len(plan.exports)} exports ({exports}), seed {plan.seed}")


@app.command("list", epilog="Example: bert-compress list methods")
def list_entries(
    kind: Annotated[str | None, typer.Argument(help="methods, objectives, targets or tasks; all if left out.")] = None,
    as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False,
) -> None:  # fmt: skip
    """List what a recipe may name, and where it is from."""
    log.configure(quiet, debug)
    from compress.export import TARGETS
    from compress.live import table_text
    from compress.methods import METHODS
    from compress.objectives import OBJECTIVES
    from compress.recipe import summaries
    from compress.tasks import TASKS

    tables = {"methods": METHODS, "objectives": OBJECTIVES, "targets": TARGETS, "tasks": TASKS}
    if kind is not None and kind not in tables:
        raise InputError(f"{kind!r} cannot be listed; allowed: {', '.join(tables)}. Leave it out to list all.")
    found = {name: summaries(table) for name, table in tables.items() if kind in (None, name)}
    if as_json:
        _print_json({name: [asdict(one) for one in entries] for name, entries in found.items()})
        return
    for name, entries in found.items():
        rows = [(one.name, one.summary, one.source) for one in entries]
        _say(table_text((name, "what it does", "source"), rows, numbers=False) + "\n")


@app.command(epilog="Example: bert-compress export runs/demo/steps/1-distill --target onnxruntime-cpu --out new --data sst2")
def export(
    model: Annotated[str, typer.Argument(help="A folder, package:NAME or a hub name.")],
    target: Annotated[str, typer.Option(help="See `bert-compress list targets`.")],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    data: Data,
    options: Annotated[list[str] | None, typer.Argument(metavar="OPTION=VALUE", help="The target's own options.")] = None,
    text: Text = None, pair: Pair = None, label: Label = None, data_dir: DataFolder = None, max_length: MaxLength = None,
    as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Export a model and prove on real sentences that the file says what the model says."""
    log.configure(quiet, debug)
    from compress.recipe import read_recipe_text

    shape = {"model": "any", "task": "any", "steps": [], "export": [target]}
    wanted = read_recipe_text(json.dumps(shape), [f"export.{target}.{one}" for one in options or []], source="export")
    columns = _columns(data, text, pair, label)
    from compress import tasks
    from compress.artifact.loading import load
    from compress.export import exporting
    from compress.live import stages_text

    with _kept_from_stdout(sys.stderr):
        loaded = load(model)
        if loaded.has_new_head:
            raise InputError(f"{model} has no trained head, so its answers mean nothing; fine-tune it first, with a recipe.")
        is_file = data.endswith(DATA_ENDINGS)
        task = tasks.task({"train": data} | columns if is_file else data, data_dir=data_dir, max_length=max_length or 128)
        shipped = exporting.export(loaded, out, target=target, task=task, **wanted.exports[0].options)
    stages = [stage.as_dict() for stage in shipped.stages]
    if as_json:
        _print_json({"path": str(shipped.path), "target": shipped.target, "stages": stages})
        return
    _say(f"{stages_text(stages)}\nexported: {shipped.path}")


@app.command(epilog="Example: bert-compress bench runs/demo/export/onnxruntime-cpu runs/demo/export/onnxruntime-cpu-int8")
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
    grid = [_whole_numbers(*one) for one in (("--batch", batch), ("--length", length), ("--threads", threads))]
    from compress.live import MEASURE, LiveView, Stage, latencies_text
    from compress.measure import measurement

    with LiveView("bench", [Stage(MEASURE, tells=True)], quiet=quiet) as view, _kept_from_stdout(sys.stderr):

        def progress(what: str, done: int, total: int) -> None:
            view(f"{MEASURE}: {what}", done, total)

        rows = measurement.latencies(folders, batch=grid[0], length=grid[1], threads=grid[2], device=device, baseline=baseline,
                                     rounds=rounds, seconds=seconds, progress=progress)  # fmt: skip
    if as_json:
        _print_json(rows)
        return
    _say(latencies_text(rows))


@app.command("eval", epilog="Example: bert-compress eval runs/demo/export/onnxruntime-cpu --data reviews.tsv")
def evaluate(
    folder: Annotated[str, typer.Argument(help="The folder of a model or of an export.")],
    data: Data,
    text: Text = None, pair: Pair = None, label: Label = None, data_dir: DataFolder = None, max_length: MaxLength = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Measure how right a model is; of a file every row counts, of a known data set its evaluation part."""
    log.configure(quiet, debug)
    columns = _columns(data, text, pair, label)
    from compress import tasks
    from compress.live import scores_text
    from compress.measure import measurement, subjects

    subject = subjects.subject_of(folder)
    length = max_length or subjects.export_facts(subject.path).get("max_length") or 128
    with _kept_from_stdout(sys.stderr):
        if data.endswith(DATA_ENDINGS):
            names = _label_names(subjects.read_json(subject.path / subjects.CONFIG), folder)
            task = tasks.evaluation_task(Path(data).expanduser(), labels=names, max_length=length, **columns)
        else:
            task = tasks.task(data, data_dir=data_dir, max_length=length)
        found = measurement.evaluate(subject, task=task, device=device)
    if as_json:
        _print_json(found)
        return
    _say(scores_text(found))
    _say(f"{found['examples']} examples, {found['truncated']} of them cut to {length} tokens")


@app.command(epilog="Example: bert-compress report runs/sst2_three_layers_int8")
def report(
    folder: Annotated[Path | None, typer.Argument(help="A run folder.")] = None,
    readme: Annotated[Path | None, typer.Option(help="Bring the tables and figures of this file up to date.")] = None,
    as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False,
) -> None:  # fmt: skip
    """Write report.html anew from a run folder's run.json, or refresh a README's tables."""
    log.configure(quiet, debug)
    if readme is not None and folder is None:
        from compress.measure.pages import refresh_tables

        told = {"readme": str(readme), "changed": refresh_tables(readme)}
        _print_json(told) if as_json else _say(f"{'refreshed' if told['changed'] else 'up to date'}: {readme}")
        return
    if folder is None or readme is not None:
        raise InputError("report needs one of the two: a run folder, or --readme with a file whose tables are refreshed.")
    from compress.live import run_text
    from compress.measure.report import write_report
    from compress.measure.subjects import read_json

    if not (folder / RUN_JSON).is_file():
        raise InputError(f"{folder} has no {RUN_JSON}; give the folder of a finished run, such as runs/NAME.")
    found = read_json(folder / RUN_JSON)
    details = folder / DETAILS_JSON
    path = write_report(found, folder, read_json(details) if details.is_file() else None)
    if as_json:
        _print_json({"report": str(path), "subjects": record.subjects_of(found)})
        return
    _say(f"{run_text(found)}\nreport: {path}")


@app.command(epilog="Example: bert-compress doctor --json")
def doctor(as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Look at this machine and say what it means for training, int8 and the runtimes."""
    log.configure(quiet, debug)
    from compress.live import table_text
    from compress.measure.doctor import diagnose

    found = diagnose()
    if as_json:
        _print_json([asdict(one) for one in found])
        return
    rows = [(one.name, one.value, one.meaning) for one in found]
    _say(table_text(("what", "found", "what it means"), rows, numbers=False))


def _columns(data: str, text: str | None, pair: str | None, label: str | None) -> dict[str, str]:
    columns = {name: value for name, value in (("text", text), ("pair", pair), ("label", label)) if value}
    if columns and not data.endswith(DATA_ENDINGS):
        raise InputError(f"--{next(iter(columns))} names a column of a file, but --data {data} is none; give a file, or leave "
                         "the columns out.")  # fmt: skip
    return columns


def _label_names(config: Mapping[str, Any], folder: str) -> list[str]:
    names = config.get("id2label")
    if not isinstance(names, dict) or sorted(names) != sorted(map(str, range(len(names)))):
        raise InputError(f"{folder}: config.json does not name the labels (id2label); export or save the model again.")
    return [str(names[str(index)]) for index in range(len(names))]


def _whole_numbers(option: str, text: str, least: int = 1) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) >= least for part in parts):
        raise InputError(f"{option} is {text!r}; allowed: whole numbers from {least} on, with commas between them, as in 1,8.")
    return [int(part) for part in parts]


def _print_json(value: Any) -> None:
    from pydantic_core import to_json

    _say(to_json(value, indent=1, inf_nan_mode="null", fallback=str).decode())


def _say(text: str) -> None:
    """Print on stdout; leave without a word when nobody reads on."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # where the rest goes at exit
        sys.exit(FAILED)


def _tell_error(err: Exception, given: Sequence[str]) -> int:
    """Say what went wrong in as few words as there are, and return the exit code."""
    if "--debug" in given:
        traceback.print_exception(err)
    if isinstance(err, CompressError):
        message, code = str(err), err.exit_code
    elif isinstance(err, TyperException):
        message, code = err.format_message(), WRONG_INPUT
    else:
        first = (str(err).strip().splitlines() or [""])[0]
        message, code = f"unexpected error: {type(err).__name__}: {first}; run again with --debug", FAILED
    _tell(message, code, "--json" in given)
    return code


def _tell(message: str, code: int, as_json: bool) -> None:
    if as_json:
        _print_json({"error": message, "exit_code": code})
    sys.stderr.write(message + "\n")


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
