"""LSH attention is full attention over the pairs that its rounds find together; with large chunks or many rounds, over all."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from compress.models.attention.hashing import buckets_of, hashed, recall, rotations
from tests.models.attention.test_windows import HEADS, SIZE, masks, states


def turns_of(rounds: int, buckets: int = 4) -> torch.Tensor:
    return rotations(HEADS, SIZE, buckets, rounds, seed=7)


def pairs(length: int, mask: torch.Tensor, turns: torch.Tensor, chunk: int) -> torch.Tensor:
    """Which keys each query finds, worked out one round after the other, (batch, heads, length, length)."""
    query, key, _ = states(length)
    whole = -(-length // chunk) * chunk
    allowed = torch.zeros(len(query), HEADS, length, length, dtype=torch.bool)
    for batch in range(len(query)):
        for head in range(HEADS):
            for round_ in range(turns.shape[1]):
                chunks = []
                for vectors in (query, key):
                    turned = functional.normalize(vectors[batch, head], dim=-1) @ turns[head, round_]
                    bucket = torch.cat([turned, -turned], -1).argmax(-1)
                    bucket = torch.where(mask[batch], bucket, 2 * turns.shape[3])
                    bucket = torch.cat([bucket, torch.full((whole - length,), 2 * turns.shape[3])])
                    order = sorted(range(whole), key=lambda place, bucket=bucket: (int(bucket[place]), place))
                    rank = torch.empty(whole, dtype=torch.long)
                    rank[torch.tensor(order)] = torch.arange(whole)
                    chunks.append(rank[:length] // chunk)
                allowed[batch, head] |= (chunks[0][:, None] - chunks[1]).abs() <= 1
    return allowed & mask[:, None, None]


@pytest.mark.parametrize("rounds", [1, 2, 3])
@pytest.mark.parametrize(("length", "chunk"), [(1, 4), (5, 4), (16, 4), (23, 5), (40, 8)])
def test_it_is_full_attention_over_the_pairs_that_the_rounds_find(length: int, chunk: int, rounds: int) -> None:
    mask, turns = masks(length), turns_of(rounds)
    query, key, value = states(length)
    allowed = pairs(length, mask, turns, chunk)
    expected = functional.scaled_dot_product_attention(query, key, value, allowed, scale=1.0)
    output = hashed(query, key, value, mask, turns, chunk=chunk)
    real = (mask[:, None] & allowed.any(-1))[..., None].expand_as(expected)
    torch.testing.assert_close(output[real], expected[real], rtol=1e-4, atol=1e-5)
    assert torch.isfinite(output).all()


def test_a_chunk_that_holds_everything_gives_full_attention() -> None:
    query, key, value = states(13)
    mask = masks(13)
    expected = functional.scaled_dot_product_attention(query, key, value, mask[:, None, None], scale=1.0)
    output = hashed(query, key, value, mask, turns_of(2), chunk=13)
    real = mask[:, None, :, None].expand_as(expected)
    torch.testing.assert_close(output[real], expected[real], rtol=1e-4, atol=1e-5)


def test_more_rounds_and_larger_chunks_come_nearer_to_full_attention() -> None:
    query, key, value = states(64, batch=3)
    mask = torch.ones(3, 64, dtype=torch.bool)
    expected = functional.scaled_dot_product_attention(query, key, value, scale=1.0)

    def lost(rounds: int, chunk: int) -> float:
        return float((hashed(query, key, value, mask, turns_of(rounds, 8), chunk=chunk) - expected).square().mean())

    by_rounds, by_chunk = [lost(rounds, 4) for rounds in (1, 3, 9)], [lost(1, chunk) for chunk in (4, 8, 16)]
    assert by_rounds[0] > by_rounds[1] > by_rounds[2]
    assert by_chunk[0] > by_chunk[1] > by_chunk[2]


def test_recall_tells_how_many_of_the_best_keys_are_found() -> None:
    query, key, _ = states(64, batch=3)
    mask = torch.ones(3, 64, dtype=torch.bool)
    recalls = [recall(query, key, mask, turns_of(rounds, 8), chunk=4, top=4) for rounds in (1, 4, 16)]
    assert 0.2 < recalls[0] < recalls[1] < recalls[2]
    assert recall(query, key, mask, turns_of(1), chunk=64, top=4) == 1.0


def test_vectors_that_point_the_same_way_fall_into_one_bucket() -> None:
    query, _, _ = states(9)
    turns = turns_of(3, 16)
    assert torch.equal(buckets_of(query, turns), buckets_of(3 * query, turns))
    assert not torch.equal(buckets_of(query, turns), buckets_of(-query, turns))


def test_the_seed_tells_the_rotations() -> None:
    assert torch.equal(rotations(2, 4, 8, 2, seed=3), rotations(2, 4, 8, 2, seed=3))
    assert not torch.equal(rotations(2, 4, 8, 2, seed=3), rotations(2, 4, 8, 2, seed=4))
