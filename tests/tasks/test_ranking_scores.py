"""Measures of rankings: worked out by hand, over all orders of ties, and beside scikit-learn's."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from compress.tasks.ranking_scores import MEASURES, Measure, by_query, means, ndcg_at, recall_at, reciprocal_rank_at
from compress.tasks.scores import judged

RANKED = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=6)
"""Scores and relevances of a query's passages."""


def plain_ndcg(k: int, relevances: list[float]) -> float:
    """Of passages in their order."""
    orders = (relevances, sorted(relevances, reverse=True))
    own, best = (sum(rel / math.log2(rank + 1) for rank, rel in enumerate(order[:k], 1)) for order in orders)
    return own / best if best else 0.0


def plain_reciprocal_rank(k: int, relevances: list[float]) -> float:
    return next((1 / rank for rank, rel in enumerate(relevances[:k], 1) if rel), 0.0)


def plain_recall(k: int, relevances: list[float]) -> float:
    return sum(rel > 0 for rel in relevances[:k]) / max(1, sum(rel > 0 for rel in relevances))


def test_by_hand() -> None:
    """Ranked are relevances 0, 2, 0, 1: 2 / log2(3) + 1 / log2(5), of 2 / log2(2) + 1 / log2(3)."""
    scores, relevances = np.array([0.1, 0.9, 0.4, 0.6]), np.array([1.0, 0.0, 0.0, 2.0])
    assert ndcg_at(10, scores, relevances) == pytest.approx((2 / math.log2(3) + 1 / math.log2(5)) / (2 + 1 / math.log2(3)))
    assert ndcg_at(1, scores, relevances) == 0.0
    assert reciprocal_rank_at(10, scores, relevances) == 0.5
    assert reciprocal_rank_at(1, scores, relevances) == 0.0
    assert [recall_at(k, scores, relevances) for k in (1, 2, 3, 4)] == [0.0, 0.5, 0.5, 1.0]


@pytest.mark.parametrize(
    ("measure", "plain"), [(ndcg_at, plain_ndcg), (reciprocal_rank_at, plain_reciprocal_rank), (recall_at, plain_recall)]
)
@given(ranked=RANKED, k=st.integers(1, 6))
def test_ties_count_as_the_mean_over_all_their_orders(
    measure: Measure, plain: Callable[[int, list[float]], float], ranked: list[tuple[int, int]], k: int
) -> None:
    orders = [order for order in permutations(ranked) if list(order) == sorted(order, key=lambda pair: -pair[0])]
    expected = np.mean([plain(k, [float(relevance) for _, relevance in order]) for order in orders])
    scores, relevances = np.array(ranked, dtype=np.float32).T
    assert measure(k, scores, relevances) == pytest.approx(expected)


def test_ndcg_is_that_of_scikit_learn_ties_included() -> None:
    random = np.random.default_rng(5)
    for _ in range(50):
        scores, relevances = random.integers(0, 6, 30).astype(np.float64), random.integers(0, 4, 30).astype(np.float64)
        assert ndcg_at(10, scores, relevances) == pytest.approx(ndcg_score([relevances], [scores], k=10))


def test_a_model_that_answers_alike_gets_chance_wherever_the_relevant_one_stands() -> None:
    alike, places = np.zeros(4), np.eye(4)
    assert len({round(ndcg_at(10, alike, place), 12) for place in places}) == 1
    assert reciprocal_rank_at(10, alike, places[0]) == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    assert recall_at(1, alike, places[0]) == 0.25


def test_what_was_not_ranked_counts_against_the_ranking() -> None:
    scores, relevances, known = np.array([2.0, 1.0]), np.array([1.0, 0.0]), np.array([1.0, 1.0])
    assert recall_at(10, scores, relevances, judged=known) == 0.5
    assert ndcg_at(10, scores, relevances, judged=known) == pytest.approx(1 / (1 + 1 / math.log2(3)))


def test_spam_and_queries_without_anything_relevant_gain_nothing() -> None:
    scores = np.array([2.0, 1.0])
    assert ndcg_at(10, scores, np.array([-2.0, 1.0])) == pytest.approx(1 / math.log2(3))
    assert {measure(scores, np.array([0.0, -1.0])) for measure in MEASURES.values()} == {0.0}


def test_scores_are_means_over_queries_with_an_interval() -> None:
    names = ("mrr_at_10", "ndcg_at_10")
    rows = by_query(names, [np.array([2.0, 1.0]), np.array([1.0, 2.0, 0.0])], [np.array([1, 0]), np.array([1, 0, 0])])
    assert rows.tolist() == [[1.0, 1.0, 1.0], [0.5, pytest.approx(1 / math.log2(3)), 1.0]]
    judgement = judged(means(names), rows)
    assert judgement["metrics"] == {"mrr_at_10": 0.75, "ndcg_at_10": pytest.approx((1 + 1 / math.log2(3)) / 2)}
    assert judgement["metrics_ci95"]["mrr_at_10"] == [0.5, 1.0]
    assert by_query(names, [], []).shape == (0, 3)
