"""Student and teacher read the same mixture of two texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.methods.distill import distill
from compress.methods.drop_layers import drop_layers
from compress.models.factors import word_table
from compress.objectives.outputs import Batch, Outputs
from compress.tasks import task
from compress.tasks.labelled import Task
from compress.training.answers import KnownAnswers, LiveAnswers
from compress.training.mixup import MixedAnswers, Mixup, check_mixup
from tests.tasks.kinds import ROWS
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tiny_for, tiny_tokenizer, toy_task

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 8, "objectives": {"logits": 1.0}}


@pytest.fixture
def student(model: PreTrainedModel) -> PreTrainedModel:
    """The first layer of the teacher."""
    return drop_layers(model, keep=[0])


def test_a_text_is_mixed_with_the_one_before_it_by_its_weight() -> None:
    vectors = torch.tensor([[[1.0, 2.0]], [[3.0, 6.0]]])
    assert Mixup(1.0, weight=0.75).mixed(vectors).tolist() == [[[1.5, 3.0]], [[2.5, 5.0]]]
    assert Mixup(1.0).mixed(vectors) is vectors


def test_the_teacher_answers_what_the_student_reads(model: PreTrainedModel, toy: Task) -> None:
    encoded = toy.encode(toy.train, model.tokenizer)
    mixup = Mixup(1.0, weight=0.75)
    plain = KnownAnswers(np.full((len(encoded), 2), 7.0, dtype=np.float32), {})
    answers = MixedAnswers(mixup, plain, LiveAnswers(model, (), encoded))
    rows = np.array([0, 1, 2])
    batch = {name: torch.from_numpy(values) for name, values in encoded.batch(rows).items()}
    said = answers.outputs(rows, batch).logits
    words = word_table(model).weight.detach()[batch["input_ids"]]
    mixed = 0.75 * words + 0.25 * words[[2, 0, 1]]
    others = {name: values for name, values in batch.items() if name != "input_ids"}
    with torch.no_grad():
        expected = model(inputs_embeds=mixed, **others).logits
    torch.testing.assert_close(said, expected)
    assert not torch.allclose(said, model(**batch).logits)
    mixup.weight = None
    assert (answers.outputs(rows, batch).logits == 7).all()


def test_an_objective_on_labels_is_weighed_by_both_texts_labels() -> None:
    def right(student: Outputs, teacher: Outputs | None, batch: Batch) -> torch.Tensor:
        return batch.labels.float() @ torch.tensor([1.0, 10.0, 100.0])

    batch, answers = Batch(torch.tensor([1, 2, 3]), torch.ones(3, 1)), Outputs(torch.zeros(3, 2))
    # labels 1, 2, 3 give 321; those of the texts before, 3, 1, 2, give 213
    assert Mixup(1.0, weight=0.75).term(right, answers, None, batch).item() == pytest.approx(0.75 * 321 + 0.25 * 213)
    assert Mixup(1.0).term(right, answers, None, batch).item() == 321


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_mixing_teaches_another_student_the_same_one_by_the_same_seed_and_leaves_no_hook(
    model: PreTrainedModel, student: PreTrainedModel, toy: Task, share: float
) -> None:
    before, said = state_of(model), logits_of(model)
    plain = distill(student, teacher=model, task=toy, **QUICK)
    mixed = distill(student, teacher=model, task=toy, mixup=share, **QUICK)
    again = distill(student, teacher=model, task=toy, mixup=share, **QUICK)
    assert differences(state_of(mixed), state_of(plain))
    assert not differences(state_of(mixed), state_of(again))
    assert not differences(state_of(model), before)
    assert torch.equal(logits_of(model), said)
    assert not any(module._forward_hooks for network in (model, student, mixed) for module in network.modules())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mixup": 1.5}, "mixup is 1.5"),
        ({"mixup": -0.1}, "mixup is -0.1"),
        ({"mixup": 0.5, "train": "head"}, "mixup is 0.5, which lets the whole student learn, but train is 'head'"),
        ({"mixup": 0.5, "progressive": True}, "but progressive is true"),
        ({"mixup": 0.5, "objectives": {"hidden": 1.0}}, "not 'hidden'"),
    ],
)
def test_what_cannot_be_mixed_is_refused(
    model: PreTrainedModel, student: PreTrainedModel, toy: Task, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        distill(student, teacher=model, task=toy, **{**QUICK, **options})


def test_a_student_of_other_pieces_is_refused(model: PreTrainedModel) -> None:
    student = tiny_bert(layers=1)
    pieces = list(student.tokenizer.get_vocab())
    student.tokenizer = tiny_tokenizer((*pieces[:-1], "other"))
    with pytest.raises(InputError, match=r"different vocabularies, but distill\.mixup mixes"):
        distill(student, teacher=model, task=toy_task(), mixup=0.5, **QUICK)


@pytest.mark.parametrize(
    "kind",
    ["token-classification", "question-answering", "reranking", "sentence-embedding", "sequence-to-sequence", "masked-words"],
)
def test_kinds_without_one_answer_for_a_text_are_refused_by_name(kind: str, model: PreTrainedModel, tmp_path: Path) -> None:
    paired = task({"train": str(ROWS[kind](tmp_path, 60))}, kind=kind, allow_unknown=True)
    with pytest.raises(InputError, match=f"mixup mixes texts with one answer each, which those of {kind} do not have"):
        check_mixup("distill", {"logits": 1.0}, model, model, paired)


@pytest.mark.parametrize("kind", ["regression", "multi-label-classification"])
def test_scores_and_several_labels_are_mixed(kind: str, tmp_path: Path) -> None:
    rows = task({"train": str(ROWS[kind](tmp_path, 60))}, kind=kind, max_length=16, allow_unknown=True)
    teacher = tiny_for(rows)
    student, objectives = drop_layers(teacher, keep=[0]), {"logits": 0.9, "labels": 0.1}
    plain, mixed = (
        distill(student, teacher=teacher, task=rows, objectives=objectives, mixup=share, epochs=1, batch_size=8)
        for share in (0.0, 1.0)
    )
    assert differences(state_of(plain), state_of(mixed))
