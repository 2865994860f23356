"""A student that looks words and word pairs up."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from compress.models.static import FACTOR, StaticConfig, StaticForSequenceClassification, weights_folded
from compress.models.token_vectors import rarity_weights
from tests.tiny_models import PIECES, differences, logits_of, state_of, tiny_bert, tokens

BUCKETS = 11


def student(**changes: object) -> StaticForSequenceClassification:
    """A random one of a few hundred weights."""
    values = {"vocab_size": len(PIECES), "embedding_size": 6, "bigram_buckets": BUCKETS, "bigram_size": 4, "head_size": 5}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = StaticForSequenceClassification(StaticConfig(**{**values, **changes})).eval()
        torch.nn.init.uniform_(model.token_weights, 0.5, 2.0)
    return model


def mean_of(model: StaticForSequenceClassification, ids: list[int]) -> np.ndarray:
    """The mean of a sentence's vectors and of its pairs' vectors, worked out word by word."""
    table, weights = model.embeddings.weight.detach().numpy(), model.token_weights.detach().numpy()
    words = sum(weights[piece] * table[piece] for piece in ids) / max(1, len(ids))
    pairs = np.zeros(4, dtype=np.float32)
    for first, second in itertools.pairwise(ids):
        pairs += 0.2 * model.bigrams.weight.detach().numpy()[(first * FACTOR + second) % BUCKETS]
    return np.concatenate([np.broadcast_to(words, 6), pairs / max(1, len(ids))])


def head(model: StaticForSequenceClassification, features: np.ndarray) -> np.ndarray:
    dense, classifier = (
        [part.detach().numpy() for part in (layer.weight, layer.bias)] for layer in (model.dense, model.classifier)
    )
    return np.asarray(np.maximum(features @ dense[0].T + dense[1], 0) @ classifier[0].T + classifier[1])


def test_the_answer_is_the_heads_to_the_mean_of_words_and_pairs() -> None:
    model, batch = student(), tokens()
    logits = logits_of(model, **batch).numpy()
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        expected = head(model, mean_of(model, batch["input_ids"][row, :length].tolist()))
        np.testing.assert_allclose(logits[row], expected, rtol=1e-4, atol=1e-6)


def test_two_sentences_are_taken_apart_by_their_types() -> None:
    model = student(pairs=True)
    ids, types = torch.tensor([[2, 7, 9, 3, 8, 6, 3]]), torch.tensor([[0, 0, 0, 0, 1, 1, 1]])
    logits = logits_of(model, input_ids=ids, attention_mask=torch.ones_like(ids), token_type_ids=types).numpy()[0]
    first, second = mean_of(model, [2, 7, 9, 3]), mean_of(model, [8, 6, 3])
    border = 0.2 * model.bigrams.weight.detach().numpy()[(3 * FACTOR + 8) % BUCKETS] / 3  # the pair across goes to the second
    second[6:] += border
    expected = head(model, np.concatenate([first, second, first * second, np.abs(first - second)]))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pairs", [False, True])
def test_neighbours_in_the_batch_and_padding_do_not_change_an_answer(pairs: bool) -> None:
    model, batch = student(pairs=pairs), tokens()
    together = logits_of(model, **batch)
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        single = {name: values[row : row + 1, :length] for name, values in batch.items()}
        torch.testing.assert_close(logits_of(model, **single)[0], together[row], rtol=1e-5, atol=1e-6)


def test_the_order_of_words_is_told_by_the_pairs_alone() -> None:
    ids, turned = torch.tensor([[2, 7, 9, 3]]), torch.tensor([[2, 9, 7, 3]])
    mask = torch.ones_like(ids)
    blind = student(bigram_buckets=0)
    same = logits_of(blind, input_ids=ids, attention_mask=mask)
    torch.testing.assert_close(logits_of(blind, input_ids=turned, attention_mask=mask), same)
    seeing = student()
    other = logits_of(seeing, input_ids=turned, attention_mask=mask)
    assert (logits_of(seeing, input_ids=ids, attention_mask=mask) - other).abs().max() > 1e-4


def test_the_weights_are_folded_in_for_a_while_and_the_answers_stay() -> None:
    model = student()
    before, answers = state_of(model), logits_of(model)
    with weights_folded(model):
        assert model.token_weights is None
        assert model.pair_factor == 1
        torch.testing.assert_close(logits_of(model), answers, rtol=1e-5, atol=1e-6)
    assert not differences(state_of(model), before)
    assert torch.equal(logits_of(model), answers)


def test_other_models_have_nothing_to_fold() -> None:
    model = tiny_bert()
    before = logits_of(model)
    with weights_folded(model):
        assert torch.equal(logits_of(model), before)


def test_it_begins_with_the_vectors_given_scaled_and_weighs_rare_pieces_most() -> None:
    model, vectors = student(), torch.randn(len(PIECES), 6, generator=torch.Generator().manual_seed(2)) * 9
    model.begin_with(vectors)
    assert model.embeddings.weight.square().mean().item() == pytest.approx(1.0, rel=1e-5)
    torch.testing.assert_close(model.embeddings.weight / model.embeddings.weight[0, 0], vectors / vectors[0, 0])
    torch.testing.assert_close(model.token_weights[:, 0].detach(), rarity_weights(len(PIECES)))
    assert not model.bigrams.weight.any()


def test_every_weight_learns_in_bfloat16() -> None:
    model = student().train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(**tokens()).logits
    torch.nn.functional.cross_entropy(logits.float(), torch.tensor([0, 1, 1, 0])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_it_loads_with_its_own_class_alone(tmp_path: Path) -> None:
    model = student()
    model.save_pretrained(tmp_path)
    again = StaticForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(logits_of(again.eval()), logits_of(model), rtol=0, atol=0)
