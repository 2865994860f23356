"""Read the files of a run folder that a report is made of, and refuse what no run writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from compress.benchmark.subjects import read_json
from compress.errors import InputError, shown
from compress.record import part
from compress.tasks import DEFAULT_KIND, TASKS
from compress.tasks.kind import TaskKind, rules_for

RUN_JSON, DETAILS_JSON = "run.json", "details.json"
SEED_FOLDER = "seed-"
"""What the folder of each seed begins with, where a recipe was run with several."""
GIVE_RUN = "give a run folder (runs/NAME) or recorded results (recipes/results/NAME.json)"
GIVE = f"{GIVE_RUN}; with --task-of RECIPE also a folder that is shipped (runs/NAME/export/TARGET)"
MOST_PROBLEMS = 10
SCHEMA = 1
"""Of run.json, as this version reads it."""

Count = Annotated[int, Field(ge=0, le=10**12)]
Number = float | int | None


class _Loss(TypedDict):
    step: Number
    loss: Number


Curve = list[_Loss | Annotated[list[Number], Field(min_length=2, max_length=2)]] | None


class _Latency(TypedDict, total=False):
    device: str | None
    batch: Count | None
    length: Count | Literal["data"] | None
    threads: Count | None


# "from" is a word of Python, so that this one is no class.
_Length = TypedDict("_Length", {"from": Count, "to": Count, "examples": Count, "score": Number}, total=False)


class _LayerError(TypedDict, total=False):
    name: str
    relative_error: Number


class _LayerErrors(TypedDict, total=False):
    against: str
    examples: Count
    layers: list[_LayerError] | None


class _Subject(TypedDict, total=False):
    latency: list[_Latency] | None
    size_bytes: Annotated[float, Field(gt=0)] | None
    by_length: list[_Length] | None
    layer_errors: _LayerErrors | None


class _Step(TypedDict, total=False):
    curve: Curve
    epochs: list[dict[str, Any]] | None


class _Split(TypedDict, total=False):
    per_label: list[Number] | None


class _Data(TypedDict, total=False):
    labels: list[str | int] | None
    splits: dict[str, _Split | None] | None


class _Run(TypedDict, total=False):
    """What a report walks through; a single value that is odd is shown as a dash."""

    subjects: list[_Subject] | None
    steps: list[_Step] | None
    gates: list[dict[str, Any]] | None
    data: _Data | None


class _Differing(TypedDict, total=False):
    teacher: list[Number] | str | None
    student: list[Number] | str | None


class _Details(TypedDict, total=False):
    confusion: dict[str, list[list[Count]] | None] | None
    labels: list[str | int] | None
    differing: list[_Differing] | None
    curves: dict[str, Curve] | None
    notes: list[str] | None


def read_run(folder: Path) -> dict[str, Any]:
    """Read a run folder's run.json.

    Raises:
        InputError: It is not there, or is not what a run writes.
    """
    if not (folder / RUN_JSON).is_file():
        raise InputError(f"{shown(str(folder))} has no {RUN_JSON}; give the folder of a finished run, such as runs/NAME.")
    return _read(folder / RUN_JSON, TypeAdapter(_Run))


def read_details(folder: Path) -> dict[str, Any] | None:
    """Read a run folder's details.json; None where there is none.

    Raises:
        InputError: It is not what a run writes.
    """
    path = folder / DETAILS_JSON
    return _read(path, TypeAdapter(_Details)) if path.is_file() else None


def read_runs(path: Path, give: str = GIVE) -> list[dict[str, Any]]:
    """Read the records of one or of several seeds: of a run folder, of a folder that `run --seeds` filled, or of a JSON file
    with one record or with recorded results.

    Args:
        path: Of any of these.
        give: What a message says is to be given.

    Raises:
        InputError: There is none, or no run writes such a one.
    """
    if path.is_dir():
        folders = [path] if (path / RUN_JSON).is_file() else seed_folders(path)
        records: Any = [read_run(folder) for folder in folders]
    elif path.is_file():
        content = read_json(path)
        records = content.get("runs", [content])
        for record in records if isinstance(records, list) else ():
            _check(record, path, TypeAdapter(_Run))
    else:
        raise InputError(f"{shown(str(path))} is not there; {give}.")
    if not isinstance(records, list) or not records or not all(record.get("subjects") for record in records):
        raise InputError(f"{shown(str(path))} holds no finished run; {give}.")
    return records


def seed_folders(folder: Path) -> list[Path]:
    """The run folders of a run with several seeds, by their number; none where there are none."""
    numbered = [(path.name.removeprefix(SEED_FOLDER), path) for path in folder.glob(f"{SEED_FOLDER}*") if path.is_dir()]
    return [path for digits, path in sorted(numbered, key=lambda pair: (len(pair[0]), pair[0])) if digits.isdecimal()]


def _read(path: Path, shape: TypeAdapter[Any]) -> dict[str, Any]:
    payload = read_json(path)
    _check(payload, path, shape)
    return payload


def _check(payload: Any, path: Path, shape: TypeAdapter[Any]) -> None:
    """Raise InputError where a record is of a later schema, or has not its shape."""
    schema = payload.get("schema") if isinstance(payload, Mapping) else None
    if type(schema) is int and schema > SCHEMA:
        raise InputError(
            f"{path} is of schema {schema}, and this version of bert-compress reads schema {SCHEMA}; install the version that "
            "wrote it, or a later one."
        )
    try:
        shape.validate_python(payload, strict=True)
    except ValidationError as err:
        problems = err.errors(include_url=False)[:MOST_PROBLEMS]
        said = [
            f"{path}: {'.'.join(map(str, problem['loc']))} is {shown(problem['input'])}: {problem['msg']}"
            for problem in problems
        ]
        raise InputError("\n".join([*said, "No run writes this; restore the file, or run the recipe again."])) from err


def rules_of(run: Mapping[str, Any]) -> TaskKind:
    """The rules of the kind of task that a record is of; those before there were several are of text classification."""
    data = part(run, "data")
    kind = data.get("kind")
    return rules_for(kind if kind in TASKS else DEFAULT_KIND, data.get("abstain"))
