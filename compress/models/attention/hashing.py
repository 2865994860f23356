"""Attention to the tokens whose keys fall into the same buckets as a query, found by sorting: LSH attention.

Each round throws queries and keys into buckets by the largest of their products with random directions, which are constants of
the model. Both are sorted by bucket, then by position, and cut into chunks; a query sees the keys of its own chunk, the one
before and the one behind. All rounds together give each query a set of keys, and the answer is the softmax over that set: a
key that several rounds find counts once. Where a chunk holds all tokens this is full attention, and more rounds come ever
nearer to it.

Source: Kitaev et al. 2020, Reformer, arXiv 2001.04451, section 2 (LSH attention, several rounds, duplicates).
Differs: BERT sees both sides, so chunks look ahead as well as back and no token is kept from seeing itself; queries and keys
can have projections of their own, which a trained BERT's do (`shared` hashes and compares queries alone, as the paper does).
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from compress.models.attention.kernel import hiding


def rotations(heads: int, size: int, buckets: int, rounds: int, seed: int) -> torch.Tensor:
    """Random directions, (heads, rounds, size, buckets / 2)."""
    random = torch.Generator().manual_seed(seed)
    return torch.randn((heads, rounds, size, buckets // 2), generator=random)


def buckets_of(vectors: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """The bucket of each vector in each round, (batch, heads, rounds, length).

    Args:
        vectors: (batch, heads, length, size).
        turns: See `rotations`.
    """
    turned = vectors[:, :, None] @ turns.to(vectors.dtype)  # (batch, heads, rounds, length, buckets / 2)
    return torch.cat([turned, -turned], -1).argmax(-1)


def hashed(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    turns: torch.Tensor,
    *,
    chunk: int,
    dropout: float = 0.0,
    training: bool = False,
) -> torch.Tensor:
    """What each token's attention to the tokens of its buckets answers, (batch, heads, length, head size).

    Args:
        query: Scaled, (batch, heads, length, head size).
        key: The same shape.
        value: (batch, heads, length, value size).
        mask: (batch, length), true for tokens.
        turns: See `rotations`.
        chunk: Tokens of a chunk.
        dropout: Of the probabilities.
        training: Whether there is dropout.
    """
    batch, heads, length, _ = query.shape
    rounds, last = turns.shape[1], 2 * turns.shape[3]
    chunks = (length + chunk - 1) // chunk
    missing, whole = chunks * chunk - length, chunks * chunk
    query, key, value = (functional.pad(tensor, (0, 0, 0, missing)) for tensor in (query, key, value))
    mask = functional.pad(mask, (0, missing))  # (batch, whole)
    buckets = [
        torch.where(mask[:, None, None], buckets_of(functional.normalize(tensor, dim=-1), turns), last)
        for tensor in (query, key)
    ]
    places = torch.arange(whole, device=query.device)
    asking, asked = ((bucket * whole + places).argsort(-1) for bucket in buckets)  # (batch, heads, rounds, whole)
    back = asking.argsort(-1)  # where each query stands, by position
    near_places = _near(asked.reshape(batch, heads, rounds, chunks, chunk, 1))[..., 0]  # (..., chunks, 3 chunk)
    near_keys, near_values = (_near(torch.unflatten(_taken(tensor, asked), 3, (chunks, chunk))) for tensor in (key, value))
    steps, numbers = torch.arange(3 * chunk, device=query.device), torch.arange(chunks, device=query.device)[:, None]
    inside = ((steps >= chunk) | (numbers > 0)) & ((steps < 2 * chunk) | (numbers < chunks - 1))  # (chunks, 3 chunk)
    real = mask[:, None, None].expand(batch, heads, rounds, whole).gather(-1, near_places.flatten(3))
    seen = (torch.unflatten(real, -1, (chunks, 3 * chunk)) & inside)[..., None, :]  # (..., chunks, 1, 3 chunk)
    scores = (torch.unflatten(_taken(query, asking), 3, (chunks, chunk)) @ near_keys.transpose(-1, -2)).float()
    scores = scores + hiding(seen, scores.dtype)
    weights = scores.softmax(-1)  # (batch, heads, rounds, chunks, chunk, 3 chunk)
    # what all scores of a round come to, as a logarithm: the highest tells, since its weight is its share of them
    totals = scores.amax(-1, keepdim=True) - weights.amax(-1, keepdim=True).log()
    if rounds > 1:
        weights = weights / _times(back, asked.argsort(-1), asking, near_places, chunk)
    mass = weights.sum(-1, keepdim=True)
    answers = functional.dropout(weights, dropout, training).to(value.dtype) @ near_values
    shares = _taken_rounds(totals.flatten(3, 4), back).softmax(2)  # (batch, heads, rounds, whole, 1)
    total = (shares * _taken_rounds(answers.flatten(3, 4), back)).sum(2)
    return (total / (shares * _taken_rounds(mass.flatten(3, 4), back)).sum(2)).to(value.dtype)[:, :, :length]


def _taken(values: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Rows of (batch, heads, length, size) in the order of each round, (batch, heads, rounds, length, size)."""
    batch, heads, length, size = values.shape
    starts = (torch.arange(batch * heads, device=order.device) * length).reshape(batch, heads, 1, 1)
    return functional.embedding(order + starts, values.reshape(batch * heads * length, size))


def _taken_rounds(values: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Rows of (batch, heads, rounds, length, size) in the order of each round."""
    taken = _taken(values.flatten(1, 2), order.flatten(1, 2)[:, :, None])[:, :, 0]
    return torch.unflatten(taken, 1, order.shape[1:3])


def _near(values: torch.Tensor) -> torch.Tensor:
    """Each chunk between the one before and the one behind, (batch, heads, rounds, chunks, 3 chunk, size)."""
    around = functional.pad(values, (0, 0, 0, 0, 1, 1))
    return torch.cat([around[:, :, :, :-2], values, around[:, :, :, 2:]], 4)


def _times(
    asking_ranks: torch.Tensor, asked_ranks: torch.Tensor, asking: torch.Tensor, near_places: torch.Tensor, chunk: int
) -> torch.Tensor:
    """In how many rounds each pair of a query and a key meets that meets in this one, (batch, heads, rounds, chunks, chunk,
    3 chunk)."""
    rounds, chunks, count = asking.shape[2], near_places.shape[3], None
    for other in range(1, rounds):
        own, theirs = (ranks.roll(other, 2) // chunk for ranks in (asking_ranks, asked_ranks))  # chunks, by position
        rows = torch.unflatten(own.gather(-1, asking).float(), -1, (chunks, chunk))[..., None]
        columns = torch.unflatten(theirs.gather(-1, near_places.flatten(3)).float(), -1, (chunks, 3 * chunk))[..., None, :]
        meets = (2 - (rows - columns).abs()).clamp(0, 1)  # 1 in the same chunk and the next to it
        count = meets + 1 if count is None else count + meets
    assert count is not None
    return count


def recall(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor, turns: torch.Tensor, *, chunk: int, top: int = 8
) -> float:
    """Which share of the keys that full attention would weigh most, `top` for each query, LSH attention finds."""
    length = query.shape[2]
    identity = torch.eye(length, dtype=query.dtype).expand(*query.shape[:2], -1, -1)
    weights = hashed(query, key, identity, mask, turns, chunk=chunk)
    scores = (query @ key.transpose(-1, -2)).masked_fill(~mask[:, None, None], -math.inf)
    best = scores.topk(min(top, length), -1).indices
    hit = (weights.gather(-1, best) > 0) & mask[:, None, :, None]
    real = mask[:, None, None].expand_as(scores).gather(-1, best) & mask[:, None, :, None]
    return float((hit & real).sum() / real.sum().clamp(min=1))
