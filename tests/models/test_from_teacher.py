"""Students without an encoder, out of a teacher with one."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.families import KNOWN, WITHOUT_ENCODER
from compress.models.from_teacher import student_of
from compress.models.token_vectors import principal, token_vectors
from tests.tiny_models import differences, logits_of, state_of, tiny_of, tiny_tokenizer

BOTH = pytest.mark.parametrize("kind", WITHOUT_ENCODER)


@BOTH
def test_a_student_has_the_teachers_vectors_labels_and_tokenizer(kind: str, model: PreTrainedModel) -> None:
    before = state_of(model)
    student = student_of(model, kind, embedding_size=6)
    vectors = principal(token_vectors(model), 6)
    rows = student.get_input_embeddings().weight
    torch.testing.assert_close(
        rows / rows.square().mean().sqrt(), vectors / vectors.square().mean().sqrt(), rtol=1e-4, atol=1e-5
    )
    assert student.config.id2label == model.config.id2label
    assert student.config.max_position_embeddings == model.config.max_position_embeddings
    assert student.tokenizer.get_vocab() == model.tokenizer.get_vocab()
    assert set(student.tokenizer("the film")) == set(KNOWN[kind].inputs)
    assert logits_of(student).shape == (4, 2)
    assert not differences(state_of(model), before)


@BOTH
def test_the_teachers_tokenizer_stays_as_it_is(kind: str) -> None:
    teacher = tiny_of("distilbert")
    student = student_of(teacher, kind, embedding_size=6)
    assert "token_type_ids" in student.tokenizer("the film")
    assert "token_type_ids" not in teacher.tokenizer("the film")


@BOTH
def test_the_seed_decides_the_other_weights(kind: str, model: PreTrainedModel) -> None:
    first, same, other = (student_of(model, kind, embedding_size=6, seed=seed) for seed in (1, 1, 2))
    assert not differences(state_of(first), state_of(same))
    assert "dense.weight" in differences(state_of(first), state_of(other))


@BOTH
def test_a_student_may_have_a_tokenizer_of_its_own(kind: str, model: PreTrainedModel) -> None:
    tokenizer = tiny_tokenizer(("[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]", "plot", "film"))
    student = student_of(model, kind, tokenizer=tokenizer, embedding_size=5)
    assert student.config.vocab_size == 7
    assert student.config.pad_token_id == 1
    assert student.tokenizer.get_vocab() == tokenizer.get_vocab()


@BOTH
def test_vectors_wider_than_the_teachers_are_refused(kind: str, model: PreTrainedModel) -> None:
    with pytest.raises(InputError, match="width of the word vectors is 20"):
        student_of(model, kind, embedding_size=20)
