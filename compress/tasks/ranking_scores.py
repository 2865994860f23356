"""How well a ranking puts what is relevant first: nDCG, reciprocal rank and recall, each of one query, for the mean over many.

Passages of equal score stand in no order: each measure is its mean over all orders of theirs, so that a model which answers
alike to everything gets what chance gives, wherever the relevant passage stands in the data.

Source: Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques", TOIS 20, with the gain rel and the
discount log2(1 + rank) as trec_eval and BEIR (Thakur et al. 2021, arXiv 2104.08663) take them; McSherry and Najork 2008,
"Computing information retrieval performance measures efficiently in the presence of tied scores", ECIR (ties).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from compress.tasks.scores import Score

Measure = Callable[..., float]


def ndcg_at(k: int, scores: np.ndarray, relevances: np.ndarray, judged: np.ndarray | None = None) -> float:
    """Compute the discounted gain of the first k over that of the best order; 0 where nothing is relevant.

    Args:
        k: Ranks that count.
        scores: Of the passages that are ranked, (passages,); larger is better.
        relevances: Of the same, (passages,); 0 and less is not relevant.
        judged: Relevances of all that is known to be relevant, where the ranked passages may lack some of it; None where they
            do not.
    """
    gains = np.maximum(relevances, 0.0)
    ideal = np.sort(gains if judged is None else np.maximum(judged, 0.0))[::-1][:k]
    best = float(ideal @ _discounts(len(ideal), k))
    if not best:
        return 0.0
    starts, counts, block = _blocks(scores)
    discounts = np.add.reduceat(_discounts(len(scores), k), starts)
    return float(discounts @ (np.bincount(block, gains) / counts)) / best


def reciprocal_rank_at(k: int, scores: np.ndarray, relevances: np.ndarray, judged: np.ndarray | None = None) -> float:
    """Compute 1 over the rank of the first relevant passage; 0 where it is not among the first k.

    Args:
        k: As in `ndcg_at`.
        scores: As in `ndcg_at`.
        relevances: As in `ndcg_at`.
        judged: Not read.
    """
    starts, counts, block = _blocks(scores)
    relevant = np.bincount(block, np.asarray(relevances) > 0)
    if not relevant.any():
        return 0.0
    first = int(np.argmax(relevant > 0))
    above, tied, right = int(starts[first]), int(counts[first]), int(relevant[first])
    chances = right / (tied - np.arange(tied - right + 1))  # of a relevant one at this place, where none stood before
    none_before = np.cumprod(np.concatenate([[1.0], 1.0 - chances[:-1]]))
    ranks = above + 1 + np.arange(len(chances))
    return float((chances * none_before / ranks)[ranks <= k].sum())


def recall_at(k: int, scores: np.ndarray, relevances: np.ndarray, judged: np.ndarray | None = None) -> float:
    """Compute the share of what is relevant that stands among the first k; 0 where nothing is relevant.

    Args:
        k: As in `ndcg_at`.
        scores: As in `ndcg_at`.
        relevances: As in `ndcg_at`.
        judged: As in `ndcg_at`.
    """
    total = int((np.asarray(relevances if judged is None else judged) > 0).sum())
    if not total:
        return 0.0
    starts, counts, block = _blocks(scores)
    inside = np.clip(k - starts, 0, counts) / counts
    return float(np.bincount(block, np.asarray(relevances) > 0) @ inside) / total


MEASURES: Mapping[str, Measure] = {
    "ndcg_at_10": partial(ndcg_at, 10),
    "mrr_at_10": partial(reciprocal_rank_at, 10),
    "recall_at_10": partial(recall_at, 10),
    "recall_at_100": partial(recall_at, 100),
}
"""By the names that MTEB gives them."""


def by_query(
    names: Sequence[str],
    scores: Sequence[np.ndarray],
    relevances: Sequence[np.ndarray],
    judged: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Measure every query, and count it, so that scores are functions of sums over queries; see `means`.

    Args:
        names: Of MEASURES.
        scores: Of each query's passages.
        relevances: Of the same.
        judged: Of each query the relevances of all that is judged; None where `relevances` hold all of it.

    Returns:
        (queries, measures + 1).
    """
    whole = judged if judged is not None else [None] * len(scores)
    rows = [
        [*(MEASURES[name](own, relevance, judged=known) for name in names), 1.0]
        for own, relevance, known in zip(scores, relevances, whole, strict=True)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, len(names) + 1)


def means(names: Sequence[str]) -> dict[str, Score]:
    """The mean over queries of each measure, from sums of what `by_query` gives."""

    def mean(place: int) -> Score:
        return lambda sums: np.asarray(sums[..., place] / np.maximum(sums[..., -1], 1))

    return {name: mean(place) for place, name in enumerate(names)}


def _discounts(count: int, k: int) -> np.ndarray:
    """What a gain at each rank is worth, (count,); nothing behind rank k."""
    ranks = np.arange(1, count + 1)
    return np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0)


def _blocks(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of passages of equal score, the best first, how many stand above and how many they are, (blocks,) each; and of each
    passage its block, (passages,)."""
    _, block, counts = np.unique(-np.asarray(scores), return_inverse=True, return_counts=True)
    return np.cumsum(counts) - counts, counts, block
