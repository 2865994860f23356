"""Several tasks in one file: each is answered as by its own, and what they share lies there once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from transformers import PreTrainedModel

import compress as cp
from compress.benchmark.bench import latencies
from compress.benchmark.measurement import evaluate
from compress.errors import CompressError, InputError
from compress.facts import FACTS, read_facts
from compress.targets.onnx.several_tasks import check_same_answers, write_together
from compress.tasks.labelled import Task
from tests.cli.calling import call
from tests.tiny_models import tiny_bert

HOW: dict[str, Any] = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-2}
TARGETS = ["onnxruntime-cpu", "onnxruntime-cpu-int8"]
LOOSE = {"max_flips": 1.0, "max_relative_error": 100.0}
FOUR = ("a", "b", "c", "d")


@pytest.fixture
def several(toy: Task, tmp_path: Path) -> dict[str, PreTrainedModel]:
    """A model with adapters of its own, and two that learned beside the same encoder, saved by their names."""
    base, four = tiny_bert(), replace(toy, labels=FOUR)
    own = cp.fine_tune(base, task=toy, train={"adapters": {"size": 3}}, **HOW)
    spam = cp.fine_tune(base, task=toy, new_head=True, train={"adapters": {"size": 3}}, **HOW | {"learning_rate": 3e-2})
    topic = cp.fine_tune(base, task=four, new_head=True, train={"adapters": {"size": 5}}, **HOW)
    cp.save_adapters(spam, tmp_path / "spam")
    cp.save_adapters(topic, tmp_path / "topic")
    return {"toy": own, "spam": spam, "topic": topic}


def answers(path: Path, **more: Any) -> np.ndarray:
    ids = np.random.default_rng(5).integers(1, 16, size=(3, 9))
    session = onnxruntime.InferenceSession(str(path))
    given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    logits: np.ndarray = session.run(["logits"], {**given, **more})[0]
    return logits


def options_of(target: str) -> dict[str, Any]:
    return {} if target == "onnxruntime-cpu" else LOOSE


@pytest.mark.parametrize("target", TARGETS)
def test_each_task_is_answered_as_by_a_file_of_its_own(
    target: str, several: dict[str, PreTrainedModel], toy: Task, tmp_path: Path
) -> None:
    folders = [str(tmp_path / name) for name in ("spam", "topic")]
    shipped = cp.export(several["toy"], tmp_path / "all", target=target, task=toy, adapters=folders, **options_of(target))
    sizes = []
    for number, (name, model) in enumerate(several.items()):
        task = replace(toy, labels=FOUR) if name == "topic" else toy
        alone = cp.export(model, tmp_path / target / name, target=target, task=task, **options_of(target)).path / "model.onnx"
        together = answers(shipped.path / "model.onnx", task=np.array(number))
        assert together.shape == (3, 4 if name == "topic" else 2)
        np.testing.assert_allclose(together, answers(alone), atol=1e-5)
        sizes.append(alone.stat().st_size)
    assert (shipped.path / "model.onnx").stat().st_size < sum(sizes)
    np.testing.assert_array_equal(answers(shipped.path / "model.onnx"), answers(shipped.path / "model.onnx", task=np.array(0)))
    assert [task["name"] for task in read_facts(shipped.path).tasks] == ["toy", "spam", "topic"]
    assert read_facts(shipped.path).tasks[2]["labels"] == list(FOUR)
    assert {stage.name for stage in shipped.stages} >= {"export", "spam: export", "topic: export"}


@pytest.mark.parametrize("target", TARGETS)
def test_low_rank_matrices_stay_each_tasks_own_beside_one_encoder(target: str, toy: Task, tmp_path: Path) -> None:
    base, models = tiny_bert(), {}
    for rank, name in ((2, "toy"), (3, "spam")):
        train = {"lora": {"rank": rank, "keep": True}}
        models[name] = cp.fine_tune(base, task=toy, new_head=rank == 3, **{**HOW, "train": train})
    cp.save_adapters(models["spam"], tmp_path / "spam")
    adapters = [str(tmp_path / "spam")]
    shipped = cp.export(models["toy"], tmp_path / "all", target=target, task=toy, adapters=adapters, **options_of(target))
    for number, model in enumerate(models.values()):
        together = answers(shipped.path / "model.onnx", task=np.array(number))
        ids = np.random.default_rng(5).integers(1, 16, size=(3, 9))
        with torch.no_grad():
            expected = model(input_ids=torch.from_numpy(ids)).logits.numpy()
        np.testing.assert_allclose(together, expected, atol=1e-4 if target == TARGETS[0] else 0.1)


def test_the_others_begin_with_the_weights_of_the_one(several: dict[str, PreTrainedModel], toy: Task, tmp_path: Path) -> None:
    shipped = cp.export(several["toy"], tmp_path / "all", target=TARGETS[0], task=toy, adapters=[str(tmp_path / "spam")])
    file = shipped.path / "model.onnx"
    assert np.abs(answers(file, task=np.array(0)) - answers(file, task=np.array(1))).max() > 1e-4
    session = onnxruntime.InferenceSession(str(file))
    assert [node.name for node in session.get_overridable_initializers()] == ["task"]
    assert "task" not in [node.name for node in session.get_inputs()]


def refusals() -> list[tuple[Callable[[Path], dict[str, Any]], str]]:
    return [
        (lambda folder: {"adapters": [str(folder / "nowhere")]}, "holds no adapters"),
        (lambda folder: {"adapters": [str(folder / "spam")], "activations": "static"}, "adapters need activations: dynamic"),
        (lambda folder: {"adapters": [str(folder / "spam")] * 2}, "two tasks of one file are called 'spam'"),
        (lambda _: {"adapters": []}, "at least 1 item"),
    ]


@pytest.mark.parametrize(("options", "message"), refusals())
def test_what_cannot_be_put_together_is_refused(
    options: Callable[[Path], dict[str, Any]],
    message: str,
    several: dict[str, PreTrainedModel],
    toy: Task,
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match=message):
        cp.export(several["toy"], tmp_path / "all", target=TARGETS[1], task=toy, **options(tmp_path))
    assert not (tmp_path / "all").exists()


def test_adapters_of_another_encoder_are_refused(several: dict[str, PreTrainedModel], toy: Task, tmp_path: Path) -> None:
    other = cp.fine_tune(tiny_bert(seed=9), task=toy, train={"adapters": {"size": 3}}, **HOW)
    with pytest.raises(InputError, match="adapters of other weights than the model's"):
        cp.export(other, tmp_path / "all", target=TARGETS[0], task=toy, adapters=[str(tmp_path / "spam")])


def test_files_that_share_little_are_not_put_together(toy: Task, tmp_path: Path) -> None:
    models = [tiny_bert(seed=seed) for seed in (3, 9)]
    files = [
        cp.export(model, tmp_path / str(number), target=TARGETS[0], task=toy).path / "model.onnx"
        for number, model in enumerate(models)
    ]
    with pytest.raises(InputError, match=r"have \d+% of their constants in common"):
        write_together(files, tmp_path / "all.onnx", {"a": ["no", "yes"], "b": ["no", "yes"]})
    assert not (tmp_path / "all.onnx").exists()


def test_a_head_alone_has_not_the_shape_of_adapters(several: dict[str, PreTrainedModel], toy: Task, tmp_path: Path) -> None:
    headed = cp.fine_tune(tiny_bert(), task=toy, new_head=True, train="head", **HOW)
    cp.save_adapters(headed, tmp_path / "head")
    with pytest.raises(InputError, match="head has another shape than toy"):
        cp.export(several["toy"], tmp_path / "all", target=TARGETS[0], task=toy, adapters=[str(tmp_path / "head")])


def test_an_answer_that_differs_is_seen(several: dict[str, PreTrainedModel], toy: Task, tmp_path: Path) -> None:
    files = [
        cp.export(several[name], tmp_path / f"{name}.alone", target=TARGETS[0], task=toy).path / "model.onnx"
        for name in ("toy", "spam")
    ]
    write_together(files, tmp_path / "all.onnx", {"toy": ["bad", "good"], "spam": ["bad", "good"]})
    ids = np.arange(1, 9)[None]
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    check_same_answers(tmp_path / "all.onnx", files, [batch])
    with pytest.raises(CompressError, match="answers task 0 otherwise than"):
        check_same_answers(tmp_path / "all.onnx", files[::-1], [batch])


def test_a_file_of_one_task_has_no_second(toy: Task, tmp_path: Path) -> None:
    shipped = cp.export(tiny_bert(), tmp_path / "one", target=TARGETS[0], task=toy)
    ids = np.arange(1, 9)[None]
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    file = shipped.path / "model.onnx"
    with pytest.raises(CompressError, match="is a file of one task"):
        check_same_answers(file, [file], [batch])


@pytest.mark.parametrize(
    ("tasks", "message"),
    [("both", "tasks is 'both'; allowed: a list of objects"), ([{"name": 3}], r"tasks\[0\].name is 3; allowed: a name")],
)
def test_tasks_that_cannot_be_are_refused(tasks: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / FACTS).write_text(json.dumps({"schema": 1, "tasks": tasks}))
    with pytest.raises(InputError, match=message):
        read_facts(tmp_path)


def test_each_task_is_measured_by_its_name(several: dict[str, PreTrainedModel], toy: Task, tmp_path: Path) -> None:
    folders = [str(tmp_path / name) for name in ("spam", "topic")]
    path = cp.export(several["toy"], tmp_path / "all", target=TARGETS[0], task=toy, adapters=folders).path
    tasks = {"toy": toy, "spam": toy, "topic": replace(toy, labels=FOUR)}
    for name, task in tasks.items():
        scores, expected = evaluate(f"{path}:{name}", task=task), evaluate(several[name], task=task)
        assert scores["name"] == f"all:{name}"
        assert (scores["metrics"], scores["confusion"]) == (expected["metrics"], expected["confusion"])
    with pytest.raises(InputError, match="all:topic"):
        evaluate(f"{path}:topic", task=toy)
    timed = latencies([f"{path}:{name}" for name in tasks], length=[8], rounds=1, samples=1)
    assert [row["name"] for row in timed.rows] == ["all:toy", "all:spam", "all:topic"]
    for command in (["bench"], ["eval", "--data", "sst2"]):
        done = call(*command, f"{path}:mood")
        assert done.exit_code == 2
        assert "has no task 'mood'; it has toy, spam, topic. Name one of them" in " ".join(done.stderr.split())
