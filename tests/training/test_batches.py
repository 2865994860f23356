"""Batches cover every example, alike for a seed and an epoch, with little padding."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from compress.training.batches import TOKENS, epoch_batches, share_of, sorted_batches

LENGTHS = np.random.default_rng(0).integers(3, 9, 103)


def listed(batches: list[np.ndarray]) -> list[list[int]]:
    return [batch.tolist() for batch in batches]


@pytest.mark.parametrize("size", [1, 7, 8, 103, 500])
def test_an_epoch_holds_each_example_once(size: int) -> None:
    batches = epoch_batches(LENGTHS, size, seed=3, epoch=2)
    assert sorted(index for batch in listed(batches) for index in batch) == list(range(103))
    assert sorted(map(len, batches)) == sorted([size] * (103 // size) + [103 % size] * (103 % size > 0))


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    np.random.default_rng(5)
    first = listed(epoch_batches(LENGTHS, 8, seed=3, epoch=2))
    assert listed(epoch_batches(LENGTHS.copy(), 8, seed=3, epoch=2)) == first
    assert listed(epoch_batches(LENGTHS, 8, seed=4, epoch=2)) != first
    assert listed(epoch_batches(LENGTHS, 8, seed=3, epoch=3)) != first
    assert listed(epoch_batches(LENGTHS, 8, seed=2, epoch=3)) != first


def test_examples_of_a_batch_are_of_like_length() -> None:
    """Sorted by length and cut, so that no two batches overlap by more than a shared end."""
    spans = sorted((LENGTHS[batch].min(), LENGTHS[batch].max()) for batch in epoch_batches(LENGTHS, 8, seed=3, epoch=0))
    assert all(former[1] <= latter[0] for former, latter in pairwise(spans))


def test_examples_of_one_length_meet_others_in_each_epoch() -> None:
    partners = [
        {frozenset(batch) for batch in listed(epoch_batches(np.full(64, 5), 8, seed=1, epoch=epoch))} for epoch in (0, 1)
    ]
    assert not partners[0] & partners[1]


def test_short_batches_do_not_always_come_first() -> None:
    means = [LENGTHS[batch].mean() for batch in epoch_batches(LENGTHS, 8, seed=3, epoch=0)]
    assert means != sorted(means)
    assert means != sorted(means, reverse=True)


GROUPS = np.repeat(np.arange(30), np.random.default_rng(1).integers(1, 7, 30))


def test_a_group_is_never_divided_and_each_is_there_once() -> None:
    lengths = np.random.default_rng(2).integers(3, 40, len(GROUPS))
    batches = epoch_batches(lengths, 12, seed=3, epoch=1, groups=GROUPS)
    assert sorted(index for batch in listed(batches) for index in batch) == list(range(len(GROUPS)))
    numbers = [set(GROUPS[batch]) for batch in batches]
    assert sum(map(len, numbers)) == 30  # no group is in two of them
    a_batch = 12 * 30 // len(GROUPS)
    assert sorted(map(len, numbers), reverse=True)[: 30 // a_batch] == [a_batch] * (30 // a_batch)
    assert len(epoch_batches(lengths, 12, seed=8, epoch=5, groups=GROUPS)) == len(batches)  # as many in every epoch


def test_groups_of_a_batch_have_longest_examples_of_like_length() -> None:
    lengths = np.array([3, 9, 4, 4, 3, 8, 2, 5])
    batches = epoch_batches(lengths, 4, seed=3, epoch=0, groups=np.repeat(np.arange(4), 2))
    assert sorted(listed(batches)) == [[0, 1, 4, 5], [2, 3, 6, 7]]


def test_processes_share_whole_groups() -> None:
    batch, groups = np.array([2, 3, 4, 7, 8, 9]), np.array([0, 0, 1, 1, 1, 2, 2, 3, 3, 4])
    shares = [share_of(batch, rank, 2, groups) for rank in range(2)]
    assert listed(shares) == [[2, 3, 4, 9], [7, 8]]
    assert listed([share_of(batch, rank, 4) for rank in range(4)]) == [[2, 8], [3, 9], [4], [7]]
    assert not len(share_of(batch[:1], 1, 2, groups))


def test_sorted_batches_hold_whole_groups_where_a_loss_compares_them() -> None:
    lengths = np.array([3, 9, 4, 4, 3, 8, 2, 5])
    assert listed(sorted_batches(lengths, 4, np.repeat(np.arange(4), 2))) == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert listed(sorted_batches(lengths, 1, np.array([0, 0, 0, 1, 1, 1, 2, 3]))) == [[0, 1, 2], [3, 4, 5], [7], [6]]


def test_no_examples_make_no_batches() -> None:
    assert epoch_batches(np.array([], dtype=np.int64), 8, seed=0, epoch=0) == []
    assert sorted_batches(np.array([], dtype=np.int64), 8) == []
    assert sorted_batches(np.array([], dtype=np.int64), 8, np.array([], dtype=np.int64)) == []


def test_sorted_batches_start_with_the_longest() -> None:
    assert listed(sorted_batches(np.array([3, 9, 5, 9, 4]), 2)) == [[1, 3], [2, 4], [0]]


def test_batches_of_long_examples_hold_fewer_of_them() -> None:
    batches = sorted_batches(np.array([300, TOKENS // 2, 2 * TOKENS, 10, TOKENS // 3, 300, 10]), 3)
    assert listed(batches) == [[2], [1, 4], [0, 5, 3], [6]]
