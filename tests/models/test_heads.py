"""Heads are brought into a task's order without a change of any answer, or made anew."""

from __future__ import annotations

import logging

import pytest
import torch

from compress.errors import InputError
from compress.models.families import encoders
from compress.models.from_teacher import student_of
from compress.models.head import SINGLE_LABEL
from compress.models.heads import aligned, label_names, with_new_head
from tests.tiny_models import LABELS, differences, state_of, tiny_bert, tiny_of, tokens


@pytest.mark.parametrize("kind", [*encoders(), "bilstm", "static"])
def test_rows_go_with_their_names_in_every_family(kind: str) -> None:
    model = tiny_of(kind) if kind in encoders() else student_of(tiny_bert(), kind, embedding_size=8)
    read, names = model.tokenizer.model_input_names, label_names(model)
    batch = {name: values for name, values in tokens().items() if name in read}
    turned = aligned(model, names[::-1])
    assert label_names(turned) == names[::-1]
    assert turned.config.label2id == {name: index for index, name in enumerate(names[::-1])}
    with torch.inference_mode():
        assert torch.equal(turned(**batch).logits, model(**batch).logits.flip(1))


def test_the_model_itself_is_given_back_where_nothing_is_to_be_done() -> None:
    model = aligned(tiny_bert(), LABELS)
    assert model.config.problem_type == SINGLE_LABEL
    assert aligned(model, LABELS) is model


def test_the_model_that_comes_in_stays_as_it_is() -> None:
    model = tiny_bert(labels=("good", "bad"))
    before = state_of(model)
    aligned(model, ("bad", "good"))
    assert not differences(before, state_of(model))
    assert label_names(model) == ["good", "bad"]


def test_a_head_for_other_labels_is_refused_but_where_it_is_trained(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_bert(labels=("spam", "ham"))
    with pytest.raises(InputError, match=r"the teacher has 2 labels, but the task has others \(bad, good\).*spam, ham"):
        aligned(model, LABELS, who="the teacher")
    with caplog.at_level(logging.WARNING):
        trained = aligned(model, LABELS, trains=True)
    assert "was trained for other labels (spam, ham)" in caplog.text
    assert label_names(trained) == list(LABELS)
    assert not differences(state_of(model), state_of(trained))
    with pytest.raises(InputError, match="has 2 labels, but the task has 3"):
        aligned(model, ("a", "b", "c"), trains=True)


def test_outputs_without_names_take_the_task_s_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_bert(labels=("LABEL_0", "LABEL_1"))
    with caplog.at_level(logging.INFO):
        named = aligned(model, LABELS)
    assert label_names(named) == list(LABELS)
    assert "does not name its labels" in caplog.text


def test_a_new_head_is_the_seed_s_and_has_an_output_for_each_label() -> None:
    model = tiny_bert()
    first, again, other = (with_new_head(model, ("a", "b", "c"), seed) for seed in (1, 1, 2))
    assert first.classifier.weight.shape == (3, 16)
    assert first.config.num_labels == first.num_labels == 3
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert not first.classifier.bias.any()
    assert model.classifier.weight.shape == (2, 16)
    assert torch.equal(first.bert.pooler.dense.weight, model.bert.pooler.dense.weight)
