"""Vectors of pieces out of an encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.token_vectors import principal, rarity_weights, token_vectors
from tests.tiny_models import PIECES, tiny_tokenizer


def alone(model: PreTrainedModel, *tokens: int) -> torch.Tensor:
    own = model.tokenizer
    ids = torch.tensor([[own.cls_token_id, *tokens, own.sep_token_id]])
    with torch.no_grad():
        mean: torch.Tensor = model.base_model(input_ids=ids).last_hidden_state[0].mean(0)
    return mean


def test_each_piece_is_read_alone_between_the_special_ones(model: PreTrainedModel) -> None:
    vectors = token_vectors(model)
    assert vectors.shape == (len(PIECES), 16)
    for piece in (0, 5, len(PIECES) - 1):
        torch.testing.assert_close(vectors[piece], alone(model, piece), rtol=1e-5, atol=1e-6)


def test_pieces_of_another_tokenizer_are_read_in_the_teachers_spelling(model: PreTrainedModel) -> None:
    other = tiny_tokenizer(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "plot", "film", "unknown"))
    vectors = token_vectors(model, other)
    places = [PIECES.index(name) for name in ("[PAD]", "plot", "film", "[UNK]")]
    for row, piece in zip((0, 5, 6, 7), places, strict=True):
        torch.testing.assert_close(vectors[row], alone(model, piece), rtol=1e-5, atol=1e-6)


def test_principal_components_hold_the_variance_that_a_singular_value_decomposition_names() -> None:
    vectors = torch.randn(40, 6, generator=torch.Generator().manual_seed(1)) * torch.tensor([5.0, 1.0, 3.0, 0.1, 2.0, 0.5])
    components = principal(vectors + 7, 3).numpy()
    centred = (vectors - vectors.mean(0)).numpy()
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(components), np.abs(left[:, :3] * sizes[:3]), rtol=1e-3, atol=1e-3)


def test_more_components_than_there_are_is_refused() -> None:
    with pytest.raises(InputError, match="width of the word vectors is 7, but those to start from have 6"):
        principal(torch.randn(40, 6), 7)


def test_common_pieces_weigh_little() -> None:
    chance = (1 / 2) / (1 / 2 + 1 / 3 + 1 / 4)  # Zipf's law for three pieces
    weights = rarity_weights(3)
    assert weights[0].item() == pytest.approx(1e-4 / (1e-4 + chance), rel=1e-6)
    assert weights[0] < weights[1] < weights[2]
