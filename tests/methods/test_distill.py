"""A student learns to answer as its teacher does."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.methods.distill import distill
from compress.methods.drop_layers import drop_layers
from compress.methods.fine_tune import fine_tune
from compress.models.surgery import copy_of
from compress.objectives import OBJECTIVES
from compress.objectives.layer_map import all_but_last
from compress.tasks import task
from compress.tasks.labelled import Task
from compress.training.predict import predict
from compress.training.step_context import StepContext
from tests.methods.ranges import OUT_OF_RANGE, forbid_forward_passes
from tests.tasks.kinds import token_classification
from tests.tiny_models import (
    PIECES,
    differences,
    logits_of,
    state_of,
    tiny_bert,
    tiny_of,
    tiny_tokenizer,
    toy_task,
    without_dropout,
)

QUICK = {"epochs": 1, "batch_size": 8}
MODULES = {name: import_module(module) for name, module in OBJECTIVES.items()}
STATES: list[dict[str, float]] = [
    {name: 1.0}
    for name, module in MODULES.items()
    if getattr(module, "PAIRS", None) not in (None, all_but_last) and not getattr(module, "MASKS", False)
]


@pytest.fixture
def student(model: PreTrainedModel) -> PreTrainedModel:
    """The first layer of the teacher."""
    return drop_layers(model, keep=[0])


def distance(student: PreTrainedModel, teacher: PreTrainedModel, task: Task) -> float:
    """Mean Kullback-Leibler divergence of the student's answers to sentences that it did not learn from."""
    said, target = (predict(model, task.encode(task.evaluation, model.tokenizer)) for model in (student, teacher))
    q, p = (np.exp(values) / np.exp(values).sum(1, keepdims=True) for values in (said, target))
    return float((p * np.log(p / q)).sum(1).mean())


@pytest.fixture(scope="module")
def taught() -> PreTrainedModel:
    """A teacher that knows the task."""
    return fine_tune(tiny_bert(initializer_range=0.05), task=toy_task(train=80), epochs=12, learning_rate=1e-2, batch_size=16)


@pytest.mark.slow
@pytest.mark.parametrize("objectives", [{"logits": 1.0}, {"logits": 1.0, "hidden": 0.01}, {"labels": 0.1, "logits": 1.0}])
def test_a_student_comes_closer_to_its_teacher(taught: PreTrainedModel, objectives: dict[str, float]) -> None:
    student, task = tiny_bert(seed=9, layers=1, **without_dropout()), toy_task(train=120, others=40)
    learned = distill(student, teacher=taught, task=task, objectives=objectives, epochs=12, learning_rate=1e-2, batch_size=8)
    assert distance(learned, taught, task) < 0.5 * distance(student, taught, task)


@pytest.mark.parametrize("objectives", [{"labels": 1.0}, {"logits": 0.5}, *STATES])
def test_student_and_teacher_stay_bit_for_bit_and_share_no_tensor_with_the_result(
    model: PreTrainedModel, student: PreTrainedModel, toy: Task, objectives: dict[str, float]
) -> None:
    models = (model, student)
    before, said = [state_of(network) for network in models], [logits_of(network) for network in models]
    learned = distill(student, teacher=model, task=toy, objectives=objectives, **QUICK)
    pointers = {parameter.data_ptr() for parameter in learned.parameters()}
    for network, state, answer in zip(models, before, said, strict=True):
        assert not differences(state_of(network), state)
        assert torch.equal(logits_of(network), answer)
        assert all(parameter.requires_grad and parameter.grad is None for parameter in network.parameters())
        assert not pointers & {parameter.data_ptr() for parameter in network.parameters()}
    assert differences(state_of(learned), before[1])


@pytest.mark.parametrize("objectives", [{"logits": 1.0}, {"hidden": 1.0}])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    model: PreTrainedModel, student: PreTrainedModel, toy: Task, objectives: dict[str, float]
) -> None:
    first, again, other = (
        distill(student, teacher=model, task=toy, objectives=objectives, **QUICK, run=StepContext(seed=seed))
        for seed in (4, 4, 5)
    )
    assert not differences(state_of(first), state_of(again))
    assert differences(state_of(first), state_of(other))


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_hidden_states(toy: Task, exact: None) -> None:
    """Without dropout, the loss of each objective is 0 before the first step."""
    teacher = tiny_bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    run = StepContext(max_steps=1)
    distill(teacher, teacher=teacher, task=toy, objectives={"hidden": 1.0, "logits": 1.0}, **QUICK, run=run)
    assert run.facts["epochs"][0]["loss"] == pytest.approx(0, abs=1e-6)


def test_objectives_count_by_their_weight_and_the_temperature_arrives(toy: Task, exact: None) -> None:
    """The first loss, worked out with numpy from the answers of both models to the same sentences."""
    silent = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    teacher, student = tiny_bert(seed=8, **silent), tiny_bert(seed=9, **silent)
    run = StepContext(max_steps=1)
    distill(
        student,
        teacher=teacher,
        task=toy,
        objectives={"labels": 0.25, "logits": 2.0},
        temperature=3.0,
        epochs=1,
        batch_size=40,
        run=run,
    )
    encoded = toy.encode(toy.train, student.tokenizer)
    said, target = (predict(model, encoded).astype(np.float64) for model in (student, teacher))

    def softmax(values: np.ndarray) -> np.ndarray:
        return np.exp(values) / np.exp(values).sum(1, keepdims=True)

    p, q = softmax(target / 3), softmax(said / 3)
    divergence = 9 * (p * np.log(p / q)).sum(1).mean()
    entropy = -np.log(softmax(said)[np.arange(40), toy.train.labels]).mean()
    assert run.facts["epochs"][0]["loss"] == pytest.approx(0.25 * entropy + 2 * divergence, rel=1e-4)


@pytest.mark.parametrize(
    ("objectives", "said"),
    [
        ({}, "objectives"),
        ({"logit": 1.0}, "names 'logit'; allowed: labels, logits, logit_mse, margin_mse, hidden"),
        ({"logits": 0.0}, r"objectives\.logits"),
        ({"logits": -1.0}, r"objectives\.logits"),
        ({"logits": float("nan")}, r"objectives\.logits"),
        ({"logits": float("inf")}, r"objectives\.logits"),
    ],
)
def test_objectives_that_cannot_be_learned_are_refused_before_any_forward_pass(
    model: PreTrainedModel, student: PreTrainedModel, toy: Task, objectives: dict[str, float], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        distill(forbid_forward_passes(student), teacher=forbid_forward_passes(model), task=toy, objectives=objectives)


@pytest.mark.parametrize(
    ("name", "value"), [*OUT_OF_RANGE, ("temperature", 0.0), ("temperature", -2.0), ("temperature", 101.0)]
)
def test_values_out_of_range_are_refused_before_any_forward_pass(
    model: PreTrainedModel, student: PreTrainedModel, toy: Task, name: str, value: Any
) -> None:
    forbid_forward_passes(model), forbid_forward_passes(student)
    with pytest.raises(InputError, match=rf"distill\.{name}"):
        distill(student, teacher=model, task=toy, objectives={"logits": 1.0}, **{name: value})


def test_other_labels_are_refused(toy: Task) -> None:
    for labels in (("good", "ugly"), ("bad", "good", "mixed")):
        with pytest.raises(InputError, match=r"the teacher has \d labels, but the task has (others|2) \(bad, good\)"):
            distill(
                forbid_forward_passes(tiny_bert()),
                teacher=forbid_forward_passes(tiny_bert(labels=labels)),
                task=toy,
                objectives={"logits": 1.0},
            )


def test_another_vocabulary_is_refused_where_tokens_are_compared(
    model: PreTrainedModel, student: PreTrainedModel, toy: Task
) -> None:
    words = sorted(model.tokenizer.get_vocab())
    student.tokenizer = tiny_tokenizer(tuple(words))
    with pytest.raises(InputError, match=r"different vocabularies, but distill\.objectives names 'hidden'"):
        distill(
            forbid_forward_passes(student),
            teacher=forbid_forward_passes(model),
            task=toy,
            objectives={"logits": 1.0, "hidden": 1.0},
        )


def test_logits_are_matched_across_vocabularies(student: PreTrainedModel, toy: Task) -> None:
    """A teacher of turned ids answers the same texts alike, so that the student learns the same."""
    teacher = tiny_bert(seed=8)
    turned = copy_of(teacher)
    turned.tokenizer = tiny_tokenizer((*PIECES[:5], *reversed(PIECES[5:])))
    with torch.no_grad():
        turned.bert.embeddings.word_embeddings.weight[5:] = teacher.bert.embeddings.word_embeddings.weight[5:].flip(0)
    first, other = (
        distill(student, teacher=each, task=toy, objectives={"logits": 1.0}, **QUICK) for each in (teacher, turned)
    )
    assert not differences(state_of(first), state_of(other))


@pytest.mark.parametrize("width", [8, 32])
def test_another_width_is_refused_where_no_projection_may_be_learned(model: PreTrainedModel, toy: Task, width: int) -> None:
    student = forbid_forward_passes(tiny_bert(hidden_size=width))
    with pytest.raises(InputError, match=rf"'hidden', which compares states of width {width} \(student\) with 16 \(teacher\)"):
        distill(student, teacher=forbid_forward_passes(model), task=toy, objectives={"hidden": 1.0}, project=False, **QUICK)


def test_answers_for_tokens_that_are_not_kept_on_disk_teach_the_same(tmp_path: Path, exact: None) -> None:
    rows = task(
        {"train": str(token_classification(tmp_path, 60))}, kind="token-classification", allow_unknown=True, max_length=24
    )
    teacher, student = (tiny_of("bert", seed=seed, task=rows, **without_dropout()) for seed in (8, 9))
    learned = [
        distill(
            student,
            teacher=teacher,
            task=rows,
            objectives={"logits": 1.0},
            teacher_cache_bytes=size_bytes,
            **QUICK,
            run=StepContext(device="cpu", answers=tmp_path / "answers"),
        )
        for size_bytes in (1 << 20, 0)
    ]
    kept, live = (state_of(model) for model in learned)
    assert differences(kept, state_of(student))
    for name, values in kept.items():
        noise = 1e-3 if name.endswith("key.bias") else 1e-5  # whose gradient is 0 but for rounding, which AdamW scales up
        assert torch.allclose(values, live[name], atol=noise), name
