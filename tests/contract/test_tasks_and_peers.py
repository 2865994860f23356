"""What files of every kind of task are measured beside those of other tools: the parts that need none of these tools."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pages import ROOT
from tests.tasks.kinds import ROWS

PAIRS = 60
STEPS = [
    {"drop_layers": {"keep": [0, 2]}},
    {"distill": {"epochs": 3, "batch_size": 32, "learning_rate": 3e-4, "objectives": {"vectors": 1.0}}},
]


@pytest.fixture(autouse=True)
def _beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def script(name: str) -> Any:
    """A script of benchmarks/."""
    return importlib.import_module(name)


def finished_run(folder: Path, kind: str) -> Path:
    """A run folder as far as a group looks into it."""
    task = {"data": {"train": str(ROWS[kind](folder, PAIRS))}, "kind": kind, "max_length": 16, "allow_unknown": True}
    for name in ("teacher", "steps/2-distill", "export/onnxruntime-cpu"):
        (folder / name).mkdir(parents=True)
        (folder / name / "model.safetensors").write_bytes(name.encode())
    subjects = [
        {"kind": "torch", "path": "teacher"},
        {"kind": "torch", "path": "steps/2-distill"},
        {"kind": "onnx", "path": "-"},
    ]
    recipe = {"task": task, "steps": STEPS, "benchmark": {"batch": [1, 8], "length": [32, 64]}}
    (folder / "run.json").write_text(json.dumps({"recipe": recipe, "subjects": subjects}))
    return folder


def test_batches_are_read_as_they_were_written(tmp_path: Path) -> None:
    process = script("peer_process")
    plain = {"input_ids": np.array([[1, 2, 3]]), "attention_mask": np.array([[1, 1, 0]])}
    paired = {**plain, "token_type_ids": np.array([[0, 1, 1]])}
    process.write_batches(tmp_path / "batches.npz", [plain, paired])
    first, second = process.read_batches(tmp_path / "batches.npz")
    assert {name: values.tolist() for name, values in second.items()} == {
        name: values.tolist() for name, values in paired.items()
    }
    assert first["token_type_ids"].tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (["hidden", "logits"], ["logits"]),
        (["end_logits", "start_logits"], ["start_logits", "end_logits"]),
        (["token_embeddings", "sentence_embedding"], ["sentence_embedding"]),
        (["last_hidden_state", "pooler_output"], ["last_hidden_state"]),
    ],
)
def test_of_a_file_of_anyone_the_answers_are_read(names: list[str], read: list[str]) -> None:
    assert script("peer_process").answers_among(names) == read


def test_a_file_that_fails_says_why_and_leaves_the_others() -> None:
    def failing() -> dict[str, Any]:
        raise ValueError("no head:\n\tsecond line\nthird")

    peers = script("task_peers")
    makers = {"one": lambda: {"path": "a"}, "two": failing, "three": lambda: {"path": "c"}}
    assert peers._each(makers, {}) == [
        {"name": "one", "path": "a"},
        {"name": "two", "error": "ValueError: no head: second line"},
        {"name": "three", "path": "c"},
    ]
    paths = {"out": "/private/out", "model": "/private"}
    (failed,) = peers._each({"two": lambda: {"path": Path("/private/out/file").read_text()}}, paths)
    assert failed["error"] == "FileNotFoundError: [Errno 2] No such file or directory: 'out/file'"
    assert peers._each(makers, {"forms": ["three"]}) == [{"name": "three", "path": "c"}]


def test_the_size_of_a_file_counts_its_weights_beside_it(tmp_path: Path) -> None:
    for name in ("model.onnx", "model.onnx.data", "other.onnx.data", "net.xml", "net.bin"):
        (tmp_path / name).touch()
    names = [
        [Path(file).name for file in script("task_peers")._files_of(tmp_path / name)] for name in ("model.onnx", "net.xml")
    ]
    assert names == [["model.onnx", "model.onnx.data"], ["net.xml", "net.bin"]]


def test_a_result_tells_no_places_and_compares_with_the_first_row() -> None:
    rows = [
        {"model": "teacher", "who": "a", "name": "torch", "path": "/x", "size_bytes": 80, "p50_ms": 8.0, "samples": [8.0]},
        {"model": "student", "who": "b", "name": "onnx", "path": "/y", "size_bytes": 20, "p50_ms": 2.0, "samples": [2.0]},
        {"model": "student", "who": "b", "name": "int8", "error": "ValueError: no", "size_bytes": 1, "quality": {}},
    ]
    first, second, failed = script("tasks_and_peers").published(rows)
    assert (first["speedup"], second["speedup"], second["size_fraction"]) == (1.0, 4.0, 0.25)
    assert not any("path" in row for row in (first, second))
    assert failed == {"model": "student", "who": "b", "name": "int8", "error": "ValueError: no"}


def test_a_group_is_written_anew_and_leaves_the_others(tmp_path: Path) -> None:
    path, write_group = tmp_path / "result.json", script("tasks_and_peers").write_group
    for name, value in (("tokens", 1), ("embeddings", 2), ("tokens", 3)):
        write_group(path, name, {"machine": {"cpu": "c"}, "versions": {}, "commit": str(value), "rows": [value]})
    content = json.loads(path.read_text())
    assert [(name, group["rows"]) for name, group in content["groups"].items()] == [("embeddings", [2]), ("tokens", [3])]
    assert (content["schema"], content["commit"]) == (1, "3")
    assert (ROOT / content["script"]).is_file()


def test_a_file_is_scored_once_unless_it_failed(tmp_path: Path) -> None:
    scored, asked = script("tasks_and_peers").Scored(tmp_path / "scores.json"), []

    def score(row: dict[str, Any]) -> Any:
        return lambda: asked.append(row) or row

    for _ in range(2):
        assert scored.of("a", score({"quality": {"f1": 1.0}})) == {"quality": {"f1": 1.0}}
        assert scored.of("b", score({"error": "no"})) == {"error": "no"}
    assert len(asked) == 3


def test_the_last_words_of_a_process_are_one_line() -> None:
    last_words = script("tasks_and_peers").last_words
    assert last_words(SystemExit("x failed:\nTraceback\n  in y\nKeyError: 'a'\n\n")) == "KeyError: 'a'"
    assert last_words(SystemExit("")) == "it ended without a word"


def test_another_tool_distils_with_what_the_recipe_says_and_once_as_its_example(tmp_path: Path) -> None:
    groups = script("task_groups")
    group = groups.Group("embeddings", finished_run(tmp_path, "sentence-embedding"), tmp_path / "work", 10)
    jobs = list(group.jobs())
    own, as_example = (job.request for job in jobs if job.request["make"] == "distil_embedder")
    assert (own["layers"], own["epochs"], own["batch_size"], own["learning_rate"]) == ([0, 2], 3, 32, 3e-4)
    assert (as_example["batch_size"], as_example["learning_rate"]) == (64, 1e-4)
    assert len(own["texts"]) == len(set(own["texts"])) > 0
    held_apart = {*group.task.evaluation.texts, *(group.task.evaluation.pairs or ())}
    assert not held_apart - {*group.task.train.texts, *(group.task.train.pairs or ())} & {*own["texts"]}
    files = [job for job in jobs if job.request["make"] == "embedder_files" and job.model != "teacher"]
    assert [job.request["model"] for job in files] == [own["out"], as_example["out"]]
    assert len({job.request["out"] for job in jobs}) == len(jobs)


def test_teacher_and_student_are_given_to_every_exporter(tmp_path: Path) -> None:
    groups = script("task_groups")
    group = groups.Group("tokens", finished_run(tmp_path, "token-classification"), tmp_path / "work", 10)
    jobs = [(job.who, job.model, Path(job.request["model"]).name) for job in group.jobs()]
    folders = {"teacher": "teacher", "student": "2-distill"}
    for who in ("bert-compress", "transformers", "optimum-onnx"):
        assert [(model, folder) for by, model, folder in jobs if by == who] == list(folders.items())
    assert len(group.task.evaluation) == 10
    assert group.shape == (1, 32)
    assert {job.environment for job in group.jobs()} - {""} <= groups.ENVIRONMENTS.keys()


def test_other_weights_are_another_job(tmp_path: Path) -> None:
    group = script("task_groups").Group("tokens", finished_run(tmp_path, "token-classification"), tmp_path / "work", 10)
    before = [job.key for job in group.jobs()]
    assert [job.key for job in group.jobs()] == before
    (tmp_path / "steps/2-distill/model.safetensors").write_bytes(b"other")
    changed = [key != old for key, old in zip([job.key for job in group.jobs()], before, strict=True)]
    assert changed == [job.model == "student" for job in group.jobs()]


@pytest.mark.slow
def test_a_process_answers_batches_and_is_timed(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    environments, process = script("peer_environments"), script("peer_process")
    given = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "length"])
    node = helper.make_node("Cast", ["input_ids"], ["logits"], to=TensorProto.FLOAT)
    opsets = [helper.make_opsetid("", 17)]
    save(
        helper.make_model(helper.make_graph([node], "g", [given], [output]), opset_imports=opsets, ir_version=9),
        tmp_path / "m",
    )
    batch = {name: np.array([[3, 4]]) for name in process.INPUTS}
    process.write_batches(tmp_path / "batches.npz", [batch])
    file = {"runtime": "onnxruntime", "path": str(tmp_path / "m"), "how": ""}
    request = {"batches": str(tmp_path / "batches.npz"), "answers": str(tmp_path / "answers.npz")}
    assert environments.asked(sys.executable, 1, {**file, **request}) == {}
    assert process.read_answers(tmp_path / "answers.npz")[0].tolist() == [[3.0, 4.0]]
    timed = {"vocabulary": 10, "shapes": [[1, 8]], "samples": 4, "seconds": 0.1, "seed": 1}
    assert len(environments.asked(sys.executable, 1, {**file, **timed})["samples"][0]) >= 3
    with pytest.raises(environments.PeerFailed, match="KeyError"):
        environments.asked(sys.executable, 1, {**file, "runtime": "none", **timed})
