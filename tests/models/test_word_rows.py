"""A model with some rows of its word table answers and learns as the whole one does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from compress.models.word_rows import rows_of, word_rows
from compress.tasks.encoding import read_by
from compress.tasks.labelled import Task
from compress.training.loop import train
from compress.training.step_context import StepContext
from tests.tiny_models import STRUCTURES, differences, logits_of, state_of, tiny_bert, tiny_of, tokens, without_dropout
from tests.training.settings import LABELS_LOSS, settings

KEPT = torch.tensor([0, 5, 6, 9, 12, 16])


def placed() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The same batch with ids out of KEPT, and with places in KEPT."""
    places = tokens() | {"input_ids": tokens()["input_ids"] % len(KEPT)}
    return places | {"input_ids": KEPT[places["input_ids"]]}, places


def test_places_in_the_small_table_mean_the_pieces_they_stand_for(model: PreTrainedModel) -> None:
    ids, places = placed()
    whole = logits_of(model, **ids)
    with word_rows(model, KEPT):
        assert len(model.get_input_embeddings().weight) == len(KEPT)
        torch.testing.assert_close(logits_of(model, **places), whole, rtol=0, atol=0)
    torch.testing.assert_close(logits_of(model, **ids), whole, rtol=0, atol=0)


def test_the_model_is_as_it_was_afterwards_also_after_an_error(model: PreTrainedModel) -> None:
    before, names = state_of(model), [name for name, _ in model.named_parameters()]
    with pytest.raises(KeyError), word_rows(model, KEPT):
        raise KeyError
    table = model.get_input_embeddings()
    assert not differences(state_of(model), before)
    assert [name for name, _ in model.named_parameters()] == names
    assert (table.num_embeddings, table.padding_idx) == (len(before["bert.embeddings.word_embeddings.weight"]), 0)


def test_rows_that_changed_are_taken_home_and_no_other(model: PreTrainedModel) -> None:
    before = model.get_input_embeddings().weight.detach().clone()
    with word_rows(model, KEPT), torch.no_grad():
        model.get_input_embeddings().weight.add_(1.0)
    expected = before.clone()
    expected[KEPT] += 1.0
    assert torch.equal(model.get_input_embeddings().weight, expected)


def test_gradients_equal_those_of_the_whole_table_and_padding_gets_none() -> None:
    (ids, places), targets = placed(), torch.tensor([0, 1, 1, 0])
    whole, part = (tiny_bert(**without_dropout()).train() for _ in range(2))
    torch.nn.functional.cross_entropy(whole(**ids).logits, targets).backward()
    with word_rows(part, KEPT):
        torch.nn.functional.cross_entropy(part(**places).logits, targets).backward()
        gradient = part.get_input_embeddings().weight.grad
        assert gradient is not None
        torch.testing.assert_close(gradient, whole.get_input_embeddings().weight.grad[KEPT], rtol=1e-5, atol=1e-7)
        assert not gradient[0].any()
        assert gradient[1:].any(dim=1).all()


@pytest.mark.parametrize("padding", [0, 6])
def test_the_padding_piece_is_found_where_it_went(padding: int) -> None:
    model = tiny_bert(pad_token_id=padding)
    with word_rows(model, KEPT):
        assert KEPT[model.get_input_embeddings().padding_idx] == padding
    assert model.get_input_embeddings().padding_idx == padding


def test_a_model_whose_own_padding_piece_is_never_read_still_learns(toy: Task) -> None:
    """As where a checkpoint's configuration and its tokenizer name different pieces."""
    model = tiny_bert(pad_token_id=4)
    ids, places = placed()
    whole = logits_of(model, **ids)
    with word_rows(model, KEPT):
        torch.testing.assert_close(logits_of(model, **places), whole, rtol=0, atol=0)
    assert model.get_input_embeddings().padding_idx == 4
    trained = train(model, task=toy, settings=settings(epochs=1.0), goal=LABELS_LOSS, run=StepContext())
    assert differences(state_of(trained), state_of(model))


@pytest.mark.parametrize("kind", STRUCTURES)
def test_every_family_answers_over_the_rows_of_a_text_as_over_all(kind: str, toy: Task) -> None:
    """MPNet's embeddings know padding by its number, which places are not to change."""
    model = tiny_of(kind)
    encoded = toy.encode(toy.train, model.tokenizer)
    ids = rows_of(model, np.asarray(read_by(encoded), dtype=np.int64))
    batches = (encoded.batch(range(8)), encoded.over(ids).batch(range(8)))
    whole, part = ({name: torch.from_numpy(values) for name, values in batch.items()} for batch in batches)
    answers = logits_of(model, **whole)
    with word_rows(model, torch.from_numpy(ids)):
        assert torch.equal(logits_of(model, **part), answers)
