"""What a report is made of is read with its shape checked, so that nothing odd in it is an unexpected error."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from compress.cli import app
from compress.errors import InputError
from compress.reporting.reading import read_details, read_run
from compress.reporting.report import REPORT, write_report

EXAMPLES = Path(__file__).parents[1]
RUN = json.loads((EXAMPLES / "example_run.json").read_text("utf-8"))
DETAILS = json.loads((EXAMPLES / "example_details.json").read_text("utf-8"))
ODD: list[Any] = [None, "x", 3, -1.5, True, [], {}, [1], {"a": 1}, "\ud800", 10**400, float("nan"), [[1]], "9" * 100_000]


def _put(values: Any, path: tuple[str | int, ...], value: Any) -> Any:
    changed = copy.deepcopy(values)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return changed


def _report(folder: Path, run: Any, details: Any) -> Any:
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "details.json").write_text(json.dumps(details))
    return CliRunner().invoke(app, ["report", str(folder)])


@pytest.mark.parametrize(
    "path",
    [
        ("subjects",),
        ("subjects", 0),
        ("subjects", 0, "latency"),
        ("subjects", 0, "latency", 0),
        ("subjects", 0, "latency", 0, "batch"),
        ("subjects", 0, "latency", 0, "p50_ms"),
        ("subjects", 0, "metrics"),
        ("subjects", 0, "name"),
        ("subjects", 0, "size_bytes"),
        ("data", "splits", "train", "per_label"),
        ("steps",),
        ("steps", 0),
        ("steps", 0, "curve"),
        ("steps", 0, "arguments"),
        ("gates",),
        ("machine",),
        ("data",),
        ("data", "labels"),
        ("recipe",),
        ("name",),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
def test_an_odd_value_in_run_json_is_shown_as_missing_or_refused(path: tuple[str | int, ...], tmp_path: Path) -> None:
    for value in ODD:
        result = _report(tmp_path, _put(RUN, path, value), DETAILS)
        assert result.exit_code in (0, 2), (value, result.stderr)
        assert "unexpected" not in result.stderr
        assert len(result.stderr) < 3000


@pytest.mark.parametrize(
    "path",
    [
        ("confusion",),
        ("confusion", "teacher"),
        ("confusion", "teacher", 0),
        ("confusion", "teacher", 0, 0),
        ("labels",),
        ("differing",),
        ("differing", 0),
        ("differing", 0, "student"),
        ("notes",),
        ("curves",),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
def test_an_odd_value_in_details_json_is_shown_as_missing_or_refused(path: tuple[str | int, ...], tmp_path: Path) -> None:
    for value in ODD:
        result = _report(tmp_path, RUN, _put(DETAILS, path, value))
        assert result.exit_code in (0, 2), (value, result.stderr)
        assert "unexpected" not in result.stderr


@pytest.mark.parametrize("key", sorted(RUN))
def test_a_run_json_without_a_key_gives_a_report(key: str, tmp_path: Path) -> None:
    result = _report(tmp_path, {name: value for name, value in RUN.items() if name != key}, {})
    assert result.exit_code == (2 if key in ("schema", "subjects") else 0), result.stderr  # what tells that it is ours


def test_what_is_refused_is_named_with_its_file_and_place(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(_put(RUN, ("subjects", 0, "latency", 0, "batch"), ["x" * 9000])))
    with pytest.raises(InputError, match=r"run.json: subjects.0.latency.0.batch is \['x+'") as caught:
        read_run(tmp_path)
    assert len(str(caught.value)) < 500
    assert read_details(tmp_path) is None


def test_the_files_of_a_run_are_read_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps(RUN))
    (tmp_path / "details.json").write_text(json.dumps(DETAILS))
    assert (read_run(tmp_path), read_details(tmp_path)) == (RUN, DETAILS)


def test_a_report_of_a_thousand_labels_stays_small(tmp_path: Path) -> None:
    count = 1000
    labels = [f"label {index}" for index in range(count)]
    matrix = [[(row * column) % 7 for column in range(count)] for row in range(count)]
    run = _put(RUN, ("data",), {**RUN.get("data", {}), "labels": labels})
    name = RUN["subjects"][0]["name"]
    before = write_report(RUN, tmp_path, DETAILS | {"confusion": {}}).stat().st_size
    after = write_report(run, tmp_path, DETAILS | {"confusion": {name: matrix}, "labels": labels}).stat().st_size
    assert after - before < 20_000
    assert "and 960 more" in (tmp_path / REPORT).read_text("utf-8")
