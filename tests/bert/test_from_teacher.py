"""Students without an encoder, out of a teacher with one."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from compress.bert.bilstm import BilstmForSequenceClassification
from compress.bert.from_teacher import student_of
from compress.bert.static import StaticForSequenceClassification
from compress.bert.token_vectors import principal, token_vectors
from compress.errors import InputError
from tests.models import differences, logits_of, state_of, tiny_tokenizer

BOTH = pytest.mark.parametrize("classifier", [BilstmForSequenceClassification, StaticForSequenceClassification])


@BOTH
def test_a_student_has_the_teachers_vectors_labels_and_tokenizer(classifier: type, model: PreTrainedModel) -> None:
    before = state_of(model)
    student = student_of(classifier, model, embedding_size=6)
    told = principal(token_vectors(model), 6)
    rows = student.get_input_embeddings().weight
    torch.testing.assert_close(rows / rows.square().mean().sqrt(), told / told.square().mean().sqrt(), rtol=1e-4, atol=1e-5)
    assert student.config.id2label == model.config.id2label
    assert student.config.max_position_embeddings == model.config.max_position_embeddings
    assert student.tokenizer is model.tokenizer
    assert logits_of(student).shape == (4, 2)
    assert not differences(state_of(model), before)


@BOTH
def test_the_seed_decides_the_other_weights(classifier: type, model: PreTrainedModel) -> None:
    one, same, other = (student_of(classifier, model, embedding_size=6, seed=seed) for seed in (1, 1, 2))
    assert not differences(state_of(one), state_of(same))
    assert "dense.weight" in differences(state_of(one), state_of(other))


@BOTH
def test_a_student_may_have_a_tokenizer_of_its_own(classifier: type, model: PreTrainedModel) -> None:
    tokenizer = tiny_tokenizer(("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "plot", "film"))
    student = student_of(classifier, model, tokenizer=tokenizer, embedding_size=5)
    assert student.config.vocab_size == 7
    assert student.config.pad_token_id == 1
    assert student.tokenizer is tokenizer


@BOTH
def test_vectors_wider_than_the_teachers_are_refused(classifier: type, model: PreTrainedModel) -> None:
    with pytest.raises(InputError, match="width of the word vectors is 20"):
        student_of(classifier, model, embedding_size=20)
