"""Every command: its help, its errors, and what it prints."""

from __future__ import annotations

import json
import os
import types
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compress.errors import CompressError, InputError
from compress.marks import write_mark
from compress.recipe.plan import Export, Plan
from tests.cli.calling import EXAMPLES, PLAN, call, raising, stand_in

COMMANDS = [
    "init",
    "run",
    "auto",
    "sweep",
    "check",
    "list",
    "export",
    "bundle",
    "push",
    "bench",
    "eval",
    "compare",
    "serve",
    "landscape",
    "report",
    "doctor",
]

KIND = "text-classification"


def test_the_help_names_every_command() -> None:
    result = call("--help")
    assert result.exit_code == 0
    listed = result.stdout.partition("Commands:")[2].splitlines()
    assert [line.split()[0] for line in listed if line.strip()] == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_one_example_and_the_three_switches(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert result.stdout.count(f"Example: bert-compress {command}") == result.stdout.count("Example:") == 1
    for switch in ("--json", "--quiet", "--debug"):
        assert result.stdout.count(f"{switch} ") == 1


@pytest.mark.parametrize("arguments", [["frob"], ["run"], ["bench", "a", "--rounds", "0"], ["list", "--nothing"]])
def test_usage_errors_are_wrong_input(arguments: list[str]) -> None:
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    again = call(*arguments, "--json")
    assert json.loads(again.stdout) == {"error": result.stderr.strip(), "exit_code": 2}


@pytest.mark.parametrize(("error", "code"), [(InputError("epochs is 0"), 2), (CompressError("the disk is full"), 1)])
def test_errors_are_one_message_and_their_exit_code(error: CompressError, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.recipe.read_recipe", raising(error))
    result = call("check", "a.yaml")
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", f"{error}\n")
    result = call("check", "a.yaml", "--json")
    assert json.loads(result.stdout) == {"error": str(error), "exit_code": code}


@pytest.mark.parametrize("error", [KeyError("key"), OSError("no\nsuch device"), BrokenPipeError(32, "pipe"), EOFError()])
def test_an_unexpected_error_is_one_line_without_a_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.recipe.read_recipe", raising(error))
    result = call("check", "a.yaml")
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (1, "", 1)
    assert result.stderr.startswith("unexpected error: ")
    assert type(error).__name__ in result.stderr
    assert "run again with --debug" in result.stderr


def test_debug_shows_the_traceback_and_keeps_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.recipe.read_recipe", raising(InputError("epochs is 0")))
    result = call("check", "a.yaml", "--debug", "--json")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert json.loads(result.stdout)["exit_code"] == 2


def test_ctrl_c_tells_that_finished_steps_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.recipe.read_recipe", raising(KeyboardInterrupt()))
    result = call("run", "a.yaml")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "stopped; finished steps are kept, and the same command goes on from there.\n"
    result = call("check", "a.yaml", "--json")
    assert (result.exit_code, result.stderr) == (130, "stopped.\n")
    assert json.loads(result.stdout) == {"error": "stopped.", "exit_code": 130}


def test_check_says_ok_or_prints_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.recipe.read_recipe", lambda path, overrides: PLAN)
    assert call("check", "a.yaml").stdout == "ok: demo, 1 steps (teacher), 1 exports (onnxruntime-cpu), seed 13\n"
    assert json.loads(call("check", "a.yaml", "--json").stdout) == {"ok": True, "recipe": PLAN.resolved()}


def test_check_without_a_recipe_prints_the_schema_or_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.recipe.json_schema", lambda: {"type": "object"})
    assert json.loads(call("check", "--schema").stdout) == {"type": "object"}
    assert call("check").exit_code == 2


def test_list_shows_every_table_with_summary_and_source() -> None:
    from compress.methods import METHODS

    tables = json.loads(call("list", "--json").stdout)
    assert list(tables) == ["methods", "objectives", "targets", "tasks", "runtimes"]
    assert [entry["name"] for entry in tables["methods"]] == list(METHODS)
    assert all(entry["summary"] for entries in tables.values() for entry in entries)
    assert list(json.loads(call("list", "targets", "--json").stdout)) == ["targets"]
    lines = call("list", "methods").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:] if line] == list(METHODS)


def test_list_refuses_what_is_no_table() -> None:
    result = call("list", "models")
    assert result.exit_code == 2
    assert "allowed: methods, objectives, targets, tasks" in result.stderr


def test_report_is_written_anew_with_the_details(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, source in (("run.json", "example_run.json"), ("details.json", "example_details.json")):
        (tmp_path / name).write_bytes((EXAMPLES / source).read_bytes())
    seen: list[Any] = []

    def write_report(run: Any, folder: Path, extras: Any) -> Path:
        seen.append((run, extras))
        return folder / "report.html"

    stand_in(monkeypatch, "compress.reporting.report", write_report=write_report)
    result = call("report", str(tmp_path))
    assert result.exit_code == 0
    assert seen == [tuple(json.loads((EXAMPLES / f"example_{name}.json").read_text("utf-8")) for name in ("run", "details"))]
    assert result.stdout.splitlines()[-1] == f"report: {tmp_path / 'report.html'}"
    (tmp_path / "details.json").unlink()
    document = json.loads(call("report", str(tmp_path), "--json").stdout)
    assert seen[-1][1] is None
    assert document["report"] == str(tmp_path / "report.html")


def test_report_keeps_a_report_that_is_not_ours_or_was_edited(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes((EXAMPLES / "example_run.json").read_bytes())
    (tmp_path / "report.html").write_text("my report")
    for _ in range(2):  # the second time there is nothing of anyone's
        assert call("report", str(tmp_path)).exit_code == 0
        assert sorted(os.listdir(tmp_path)) == ["report.html", "report.html.kept", "run.json"]
    assert (tmp_path / "report.html.kept").read_text() == "my report"
    write_mark(tmp_path, "run", wrote={"report.html": ["another"]})
    for _ in range(2):
        assert call("report", str(tmp_path)).exit_code == 0
        assert len(os.listdir(tmp_path)) == 5
    assert (tmp_path / "report.html.kept-2").is_file()


def test_report_does_not_write_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_bytes((EXAMPLES / "example_run.json").read_bytes())
    (tmp_path / "mine.html").write_text("mine")
    (tmp_path / "out" / "report.html").symlink_to(tmp_path / "mine.html")
    assert call("report", str(tmp_path / "out")).exit_code == 0
    assert (tmp_path / "mine.html").read_text() == "mine"


def test_report_refuses_a_run_json_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"schema": "mine"}')
    result = call("report", str(tmp_path))
    assert result.exit_code == 2
    assert "no record of a run of ours" in result.stderr
    assert os.listdir(tmp_path) == ["run.json"]


def test_report_names_the_command_that_refreshes_pages_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text("mine")
    result = call("report", "--readme", str(path))
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"python -m tools.docs {path}" in result.stderr
    assert path.read_text() == "mine"


@pytest.mark.parametrize("arguments", [[], ["folder", "--readme", "README.md"], ["no_such_folder"]])
def test_report_needs_one_run(arguments: list[str]) -> None:
    result = call("report", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")


ROW = {
    "name": "a",
    "batch": 8,
    "length": 128,
    "threads": 2,
    "p50_ms": 1.5,
    "p95_ms": 2.0,
    "examples_per_second": 5333.3,
    "speedup": 2.0,
    "peak_memory_bytes": None,
}


class Timed:
    """What `latencies` gives."""

    rows = (ROW,)
    conditions = {"warnings": ["others kept 1.0 of 2 processors busy"]}  # noqa: RUF012

    def as_dict(self) -> dict[str, Any]:
        return {"schema": 1, "rows": [ROW]}


def test_bench_times_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def latencies(folders: list[str], *, progress: Callable[[str, int, int], None], **asked: Any) -> Timed:
        seen.update(asked, folders=folders)
        progress("time a", 0, 2)
        print("a library prints")
        return Timed()

    stand_in(monkeypatch, "compress.benchmark.bench", latencies=latencies)
    options = (
        "--batch 1,8 --length 32,128 --threads 2 --baseline b --rounds 3 --seconds 0.5 --tight 0.02 --most-rounds 9 --price 2"
    )
    result = call("bench", "a", "b", *options.split())
    assert seen == {
        "folders": ["a", "b"],
        "batch": [1, 8],
        "length": [32, 128],
        "threads": [2],
        "device": "cpu",
        "baseline": "b",
        "rounds": 3,
        "seconds": 0.5,
        "time_limit": 900.0,
        "tight": 0.02,
        "most_rounds": 9,
        "lengths": (),
        "price": 2.0,
    }
    cells = result.stdout.splitlines()[1].split()
    assert cells == ["a", "8", "128", "2", "1.50", "ms", "\u2013", "2.00", "ms", "5,333", "2.0\u00d7", "\u2013"]
    assert "measure starts" in result.stderr
    assert "others kept 1.0 of 2 processors busy" in result.stderr
    quiet = call("bench", "a", "--json", "--quiet")
    assert json.loads(quiet.stdout) == {"schema": 1, "rows": [ROW]}
    assert quiet.stderr == "a library prints\n"
    assert (seen["tight"], seen["most_rounds"], seen["price"]) == (0.05, None, None)
    call("bench", "a", "--tight", "1")
    assert seen["tight"] is None


def test_bench_shows_what_is_only_told_at_times(monkeypatch: pytest.MonkeyPatch) -> None:
    more = ROW | {
        "p50_ci95_ms": [1.4, 1.6],
        "cold_start": {"total_ms": 250.0},
        "joules_per_example": 0.012,
        "answers_per_hour": 19_200_000,
        "answers_per_unit": 9_600_000,
    }
    timed = SimpleNamespace(rows=[more], conditions={"warnings": []})
    stand_in(monkeypatch, "compress.benchmark.bench", latencies=lambda *_, **__: timed)
    head, row = (line.split() for line in call("bench", "a", "--quiet").stdout.splitlines())
    assert head[-5:] == ["cold", "start", "mJ/example", "answers/hour", "answers/unit"]
    assert row[-5:] == ["250", "ms", "12.00", "19,200,000", "9,600,000"]
    assert "1.40 to 1.60 ms" in call("bench", "a").stdout


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--tight", "0"),
        ("--tight", "1.5"),
        ("--tight", "2%"),
        ("--price", "0"),
        ("--price", "-1"),
        ("--price", "free"),
        ("--price", "inf"),
    ],
)
def test_bench_refuses_widths_and_prices_that_are_none(option: str, value: str) -> None:
    result = call("bench", "a", option, value)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"{option} is {value!r}; allowed: a number above 0" in result.stderr


def test_bench_refuses_a_ceiling_below_its_rounds() -> None:
    result = call("bench", "a", "--rounds", "5", "--most-rounds", "4")
    assert result.exit_code == 2
    assert "--most-rounds is '4'; allowed: a whole number from 5" in result.stderr


@pytest.mark.parametrize(("option", "value"), [("--batch", "0"), ("--length", "a"), ("--threads", "1;2")])
def test_bench_refuses_lists_that_are_none(option: str, value: str) -> None:
    result = call("bench", "a", option, value)
    assert result.exit_code == 2
    assert f"{option} is {value!r}" in result.stderr


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """A folder to measure, and what was asked about it."""
    (tmp_path / "model.onnx").write_bytes(b"")
    (tmp_path / "config.json").write_text(json.dumps({"id2label": {"1": "yes", "0": "no"}}))
    (tmp_path / "bert_compress.json").write_text(json.dumps({"target": "onnxruntime-cpu", "max_length": 64}))
    asked: dict[str, Any] = {"folder": str(tmp_path)}

    def evaluate(subject: Any, *, task: Any, device: str, time_limit: float) -> dict[str, Any]:
        asked["task"] = task
        return {
            "name": subject.name,
            "examples": 4,
            "truncated": 1,
            "max_length": 64,
            "unknown_tokens": 0.0,
            "labels": ["no", "yes"],
            "metrics": {"accuracy": 0.75},
            "metrics_ci95": {"accuracy": [0.3, 0.95]},
            "confusion": [[2, 1], [0, 1]],
        }

    def task(*given: Any, **named: Any) -> Any:
        return "task", given, named

    def evaluation_task(*given: Any, **named: Any) -> Any:
        return "evaluation_task", given, named

    stand_in(monkeypatch, "compress.benchmark.measurement", evaluate=evaluate)
    monkeypatch.setattr("compress.tasks.task", task, raising=False)
    monkeypatch.setattr("compress.tasks.evaluation_task", evaluation_task, raising=False)
    return asked


def test_eval_of_a_file_takes_the_labels_and_the_length_of_the_model(measured: dict[str, Any]) -> None:
    result = call("eval", measured["folder"], "--data", "a.tsv", "--text", "sentence")
    assert result.exit_code == 0
    named = {"labels": ["no", "yes"], "max_length": 64, "allow_unknown": False, "kind": KIND, "text": "sentence"}
    assert measured["task"] == ("evaluation_task", (Path("a.tsv"),), named)
    assert "4 examples, 1 of them cut to 64 tokens" in result.stdout
    scores = json.loads(call("eval", measured["folder"], "--data", "a.tsv", "--json").stdout)
    assert scores["confusion"] == [[2, 1], [0, 1]]


def test_eval_of_a_known_data_set_takes_its_evaluation_part(measured: dict[str, Any]) -> None:
    folder = measured["folder"]
    assert call("eval", folder, "--data", "sst2", "--max-length", "32", "--data-dir", folder).exit_code == 0
    assert measured["task"] == (
        "task",
        ("sst2",),
        {"kind": KIND, "data_dir": folder, "max_length": 32, "allow_unknown": False},
    )


def test_columns_of_a_known_data_set_are_refused(measured: dict[str, Any]) -> None:
    result = call("eval", measured["folder"], "--data", "sst2", "--label", "stars")
    assert result.exit_code == 2
    assert "--label names a column of a file" in result.stderr


def test_a_model_that_does_not_name_its_labels_is_refused(measured: dict[str, Any]) -> None:
    (Path(measured["folder"]) / "config.json").write_text('{"id2label": {"0": "no", "2": "yes"}}')
    result = call("eval", measured["folder"], "--data", "a.tsv")
    assert result.exit_code == 2
    assert "id2label" in result.stderr


@pytest.fixture
def exporting(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the export was asked for."""
    asked: dict[str, Any] = {"new_head": False, "overrides": None}

    def read(text: str, overrides: list[str], *, source: str) -> Plan:
        asked["overrides"] = overrides
        [target] = json.loads(text)["export"]
        return Plan("any", 13, "any", {}, (), (Export(target, {"weight_bits": 7}),))

    def load(model: str) -> Any:
        config = types.SimpleNamespace(model_type="bert", problem_type="single_label_classification", num_labels=2)
        return types.SimpleNamespace(name=model, has_new_head=asked["new_head"], config=config)

    def task(data: Any, **named: Any) -> Any:
        asked["data"] = data, named
        return "task"

    def export(model: Any, out: Path, *, target: str, task: Any, **options: Any) -> Any:
        asked["export"] = model.name, out, target, task, options
        stage = {"name": "int8", "max_abs_error": 0.21, "label_flips": 1, "compared": 40, "fused_ops": 3, "integer_ops": 12}
        return types.SimpleNamespace(path=out, target=target, stages=[types.SimpleNamespace(as_dict=stage.copy)])

    monkeypatch.setattr("compress.recipe.read_recipe_text", read)
    monkeypatch.setattr("compress.tasks.task", task, raising=False)
    stand_in(monkeypatch, "compress.models.checkpoint.loading", load=load)
    stand_in(monkeypatch, "compress.targets.exporting", export=export)
    return asked


EXPORT = ("export", "m", "--target", "onnxruntime-cpu-int8", "--out", "o", "--data")


def test_export_passes_options_and_data_on(exporting: dict[str, Any]) -> None:
    result = call(*EXPORT, "a.csv", "--label", "stars", "weight_bits=7")
    assert result.exit_code == 0
    assert exporting["overrides"] == ["export.onnxruntime-cpu-int8.weight_bits=7"]
    named = {"kind": KIND, "data_dir": None, "max_length": 128, "allow_unknown": False}
    assert exporting["data"] == ({"train": "a.csv", "label": "stars"}, named)
    assert exporting["export"] == ("m", Path("o"), "onnxruntime-cpu-int8", "task", {"weight_bits": 7})
    assert result.stdout.splitlines()[1].split() == ["int8", "0.21", "1", "of", "40", "3", "12"]
    document = json.loads(call(*EXPORT, "sst2", "--json").stdout)
    assert exporting["data"][0] == "sst2"
    assert (document["path"], document["stages"][0]["integer_ops"]) == ("o", 12)


def test_a_model_without_a_trained_head_is_not_exported(exporting: dict[str, Any]) -> None:
    exporting["new_head"] = True
    assert call(*EXPORT, "sst2").exit_code == 2
    assert "export" not in exporting


def test_an_unknown_target_is_refused_with_a_suggestion() -> None:
    result = call("export", "m", "--target", "onnxruntime-cpu-int9", "--out", "o", "--data", "sst2")
    assert result.exit_code == 2
    assert "onnxruntime-cpu-int8" in result.stderr


def test_doctor_prints_its_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    from compress.benchmark.doctor import Finding

    monkeypatch.setattr("compress.benchmark.doctor.diagnose", lambda: [Finding("int8", "no VNNI", "7-bit weights are used")])
    assert call("doctor").stdout.splitlines()[1].split() == ["int8", "no", "VNNI", "7-bit", "weights", "are", "used"]
    findings = json.loads(call("doctor", "--json").stdout)
    assert findings == [{"name": "int8", "value": "no VNNI", "meaning": "7-bit weights are used"}]
