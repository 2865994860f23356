"""What a head reads of one sentence and of two."""

from __future__ import annotations

import torch

from compress.models.sentence_features import feature_count, part_masks, sentence_features


def test_two_sentences_give_both_their_product_and_their_distance() -> None:
    states = torch.tensor([[[1.0, -2.0], [3.0, 5.0]]])
    assert sentence_features(states).tolist() == [[1.0, -2.0, 3.0, 5.0, 3.0, -10.0, 2.0, 7.0]]
    assert feature_count(2, pairs=True) == 8


def test_one_sentence_is_given_as_it_is() -> None:
    states = torch.tensor([[[1.0, -2.0]]])
    assert sentence_features(states).tolist() == [[1.0, -2.0]]
    assert feature_count(2, pairs=False) == 2


def test_tokens_go_to_the_sentence_of_their_type_and_padding_to_none() -> None:
    mask, types = torch.tensor([[1, 1, 1, 1, 0]]), torch.tensor([[0, 0, 1, 1, 1]])
    assert part_masks(mask, types, pairs=True).tolist() == [[[1, 1, 0, 0, 0], [0, 0, 1, 1, 0]]]
    assert part_masks(mask, types, pairs=False).tolist() == [[[1, 1, 1, 1, 0]]]


def test_without_types_all_tokens_are_the_first_sentence() -> None:
    mask = torch.tensor([[1, 1, 0]])
    assert part_masks(mask, None, pairs=True).tolist() == [[[1, 1, 0], [0, 0, 0]]]
