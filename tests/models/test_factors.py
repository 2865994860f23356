"""Two thinner matrices answer as their product does, and a saved model keeps them."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

import compress as cp
from compress.errors import InputError
from compress.models.factors import (
    FactorizedEmbedding,
    LowRankLinear,
    embedding_rank,
    ranks_of,
    set_embedding_rank,
    set_rank,
    word_table,
)
from compress.models.first_token import first_token_only
from compress.models.structure import apply_structure, read_structure
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tiny_of, tokens

QUERY, SECOND = "bert.encoder.layer.0.attention.self.query", "bert.encoder.layer.1.output.dense"


def factorized() -> Any:
    """Two Linears of low rank and a factorized word table."""
    model = tiny_bert()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        set_rank(model, QUERY, 3)
        set_rank(model, SECOND, 5)
        set_embedding_rank(model, 6)
    return model.eval()


def test_a_linear_of_low_rank_answers_as_a_linear_with_the_product() -> None:
    thin = LowRankLinear(7, 5, 2)
    whole = nn.Linear(7, 5)
    with torch.no_grad():
        whole.weight.copy_(thin.up.weight @ thin.down.weight)
        whole.bias.copy_(thin.up.bias)
    values = torch.randn(3, 4, 7)
    torch.testing.assert_close(thin(values), whole(values))
    torch.testing.assert_close(thin.weight, whole.weight)
    assert (thin.in_features, thin.out_features, thin.rank) == (7, 5, 2)


def test_a_factorized_table_gives_the_rows_of_the_product() -> None:
    table = FactorizedEmbedding(11, 6, 3)
    ids = torch.tensor([[0, 4, 10], [2, 2, 1]])
    torch.testing.assert_close(table(ids), table.weight[ids])
    torch.testing.assert_close(table.weight, table.table.weight @ table.up.weight.T + table.up.bias)


def test_a_padding_row_stays_the_padding_row() -> None:
    model = tiny_bert()
    padding = model.get_input_embeddings().padding_idx
    assert set_embedding_rank(model, 4).table.padding_idx == padding == 0


@pytest.mark.parametrize("kind", ["bert", "distilbert", "mobilebert", "albert"])
def test_every_family_tells_and_takes_a_factorized_table(kind: str, tmp_path: Path) -> None:
    model = tiny_of(kind)
    set_embedding_rank(model, 3)
    assert embedding_rank(model) == 3
    assert word_table(model).weight.shape == (model.config.vocab_size, 3)
    again = cp.load(cp.save(model, tmp_path / "saved"))
    assert embedding_rank(again) == 3
    assert torch.equal(logits_of(again), logits_of(model))


def test_what_is_frozen_stays_frozen() -> None:
    model = tiny_bert()
    model.get_submodule(QUERY).requires_grad_(False)
    model.get_input_embeddings().requires_grad_(False)
    assert not any(parameter.requires_grad for parameter in set_rank(model, QUERY, 2).parameters())
    assert not any(parameter.requires_grad for parameter in set_embedding_rank(model, 2).parameters())


def test_structure_tells_ranks_and_a_saved_model_answers_the_same(tmp_path: Path) -> None:
    model = factorized()
    structure = read_structure(model)
    assert (structure["ranks"], structure["embedding"]) == ({QUERY: 3, SECOND: 5}, 6)
    again = cp.load(cp.save(model, tmp_path / "saved"))
    assert ranks_of(again) == {QUERY: 3, SECOND: 5}
    assert torch.equal(logits_of(again), logits_of(model))
    assert not differences(state_of(again), state_of(model))
    with safe_open(tmp_path / "saved" / "model.safetensors", "pt") as file:
        assert file.get_slice(f"{QUERY}.down.weight").get_shape() == [3, 16]


@pytest.mark.parametrize(
    "path", [QUERY, "bert.encoder.layer.1.attention.self.key", "bert.encoder.layer.1.attention.self.value"]
)
def test_the_last_layer_computes_its_first_token_alone_with_projections_of_low_rank(path: str) -> None:
    model = tiny_bert()
    set_rank(model, path, 3)
    logits = logits_of(model)
    with first_token_only(model):
        torch.testing.assert_close(logits_of(model), logits, rtol=1e-4, atol=1e-5)


def test_everything_of_a_factorized_model_learns() -> None:
    model = factorized().train()
    model(**tokens()).logits.sum().backward()
    idle = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not idle


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ranks": {"bert.pooler.activation": 2}}, "ranks must give whole numbers"),
        ({"ranks": {QUERY: 0}}, "ranks must give whole numbers"),
        ({"ranks": {QUERY: 2.0}}, "ranks must give whole numbers"),
        ({"ranks": {QUERY: True}}, "ranks must give whole numbers"),
        ({"ranks": [QUERY]}, "ranks must give whole numbers"),
        ({"embedding": 0}, "embedding is 0"),
        ({"embedding": "6"}, "embedding is '6'"),
        ({"embedding": 1 << 21}, f"embedding is {1 << 21}"),
    ],
)
def test_a_structure_with_broken_ranks_is_refused(changes: dict[str, Any], said: str) -> None:
    model = tiny_bert()
    with pytest.raises(InputError, match=re.escape(said)):
        apply_structure(model, read_structure(copy.deepcopy(model)) | changes)
