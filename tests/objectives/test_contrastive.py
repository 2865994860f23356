"""Multiple negatives against the cross-entropy worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from compress.errors import InputError
from compress.objectives.contrastive import contrastive
from compress.objectives.outputs import Outputs
from tests.objectives.rows import batch, close


def test_each_first_text_finds_its_second_one_among_all() -> None:
    """Two pairs along two axes, and a text without a pair along the first: cosines 1, 0, 1 and 0, 1, 0."""
    known = torch.tensor([[0, 0, math.nan], [0, 1, math.nan], [1, 0, math.nan], [1, 1, math.nan], [2, 1, math.nan]])
    vectors = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 3.0], [5.0, 0.0]])
    scale = 2.0
    expected = [
        -math.log(math.exp(scale) / (2 * math.exp(scale) + 1)),
        -math.log(math.exp(scale) / (math.exp(scale) + 2)),
    ]
    loss = contrastive(Outputs(vectors), None, replace(batch(), labels=known), scale=scale)
    assert loss.item() == close(sum(expected) / 2)


def test_scores_are_not_looked_at_and_order_does_not_count() -> None:
    known = torch.tensor([[1.0, 1, 5], [0, 1, 1], [0, 0, 1], [1, 0, 5]])
    vectors = torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
    loss = contrastive(Outputs(vectors), None, replace(batch(), labels=known))
    turned = contrastive(Outputs(vectors.flip(0)), None, replace(batch(), labels=known.flip(0)))
    assert loss.item() == close(turned.item())


def test_without_pairs_there_is_nothing_to_learn() -> None:
    known = torch.tensor([[0.0, 0, math.nan], [1, 0, math.nan]])
    with pytest.raises(InputError, match="have no pairs, so that labels teach nothing"):
        contrastive(Outputs(torch.ones(2, 2)), None, replace(batch(), labels=known))
