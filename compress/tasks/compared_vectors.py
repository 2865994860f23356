"""What is concluded from vectors: how alike two texts are, which documents a query finds; and how right that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from compress.tasks.correlations import correlation, correlation_statistics
from compress.tasks.data.retrieval import Retrieval
from compress.tasks.ranking_scores import by_query, means
from compress.tasks.scores import Score

GRADED = ("spearman", "pearson")
RANKED = ("ndcg_at_10", "mrr_at_10", "recall_at_100")
SHORT = ("int8", "binary")
"""Vectors of a byte and of a bit for each number, as an index keeps them."""
AS_BYTES = {"lowest": 0.0, "highest": 255.0}
SMALLEST_STEP = 1e-12
NOTICEABLE = 0.05
"""A cosine that moves by more is another answer."""
AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Judged:
    """A query's documents, as far as they were judged.

    Args:
        source: Holds all documents.
        query: The id.
    """

    source: Retrieval
    query: str

    @property
    def relevances(self) -> Mapping[str, float]:
        """Of the documents that are relevant, by id."""
        return {key: value for key, value in self.source.relevances[self.query].items() if value > 0}

    def __str__(self) -> str:
        return f"{self.query} {sorted(self.relevances.items())} of {len(self.source.documents)}"

    __repr__ = __str__


class Truth(Protocol):
    """What is true of texts whose vectors are compared, told by the texts' places among the examples."""

    @property
    def pairs(self) -> int:
        """Pairs or queries, which the scores are means over."""

    def scores(self) -> dict[str, Score]:
        """What is scored, from the sums of `statistics`."""

    def statistics(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """For each score what it is made of, (pairs or queries, statistics)."""

    def same(self, baseline: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Tell of each pair or query whether two models' vectors lead to the same answer, (pairs or queries,)."""


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The cosine of each row with the row of the same number, (rows,); 0 where one of the two is nothing."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.asarray((first * second).sum(1) / np.maximum(lengths, 1e-12))


def directions(vectors: np.ndarray) -> np.ndarray:
    """The vectors with a length of 1."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


@dataclass(frozen=True, eq=False)
class NothingKnown:
    """Texts that nothing is known of."""

    pairs: int = 0

    def scores(self) -> dict[str, Score]:
        """Score nothing."""
        return {}

    def statistics(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Know nothing."""
        return {}

    def same(self, baseline: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Compare nothing."""
        return np.zeros(0, dtype=bool)


@dataclass(frozen=True, eq=False)
class Graded:
    """Pairs of texts with a score for how alike they are.

    Args:
        first: Places of the first texts, (pairs,).
        second: Those of the second ones.
        grades: The scores.
    """

    first: np.ndarray
    second: np.ndarray
    grades: np.ndarray

    @property
    def pairs(self) -> int:
        """How many there are."""
        return len(self.first)

    def said(self, vectors: np.ndarray) -> np.ndarray:
        """The cosine of each pair."""
        return cosines(vectors[self.first], vectors[self.second])

    def scores(self) -> dict[str, Score]:
        """Both correlations."""
        return dict.fromkeys(GRADED, correlation)

    def statistics(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Of cosines and grades."""
        return correlation_statistics(self.said(vectors), self.grades)

    def same(self, baseline: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Tell whether the cosine is nearly the same."""
        return np.asarray(np.abs(self.said(baseline) - self.said(vectors)) <= NOTICEABLE)


def scores_of_search() -> dict[str, Score]:
    """Each measure's mean over the queries; of the first also with the vectors as an index may keep them."""
    kept = means(RANKED)
    return {**kept, **{f"{short}_{RANKED[0]}": kept[RANKED[0]] for short in SHORT}}


@dataclass(frozen=True, eq=False)
class Ranked:
    """Queries, the documents that are searched, and which of them are relevant.

    Args:
        queries: Places of the queries.
        documents: Places of the documents.
        relevances: For each query the relevance of documents, by their number among the documents.
    """

    queries: np.ndarray
    documents: np.ndarray
    relevances: Sequence[Mapping[int, float]] = field(repr=False)

    @property
    def pairs(self) -> int:
        """How many queries there are."""
        return len(self.queries)

    def scores(self) -> dict[str, Score]:
        """Each measure, with the vectors as they are and as an index may keep them."""
        return scores_of_search()

    def statistics(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Of every query; documents of a byte or a bit for each number are searched with queries of whole numbers."""
        queries, documents = vectors[self.queries], directions(vectors[self.documents])
        whole = self.measured(queries, documents)
        short = {name: self.measured(queries, as_kept(documents, name), RANKED[:1]) for name in SHORT}
        return {
            **dict.fromkeys(RANKED, whole),
            **{f"{name}_{RANKED[0]}": statistics for name, statistics in short.items()},
        }

    def measured(self, queries: np.ndarray, documents: np.ndarray, names: Sequence[str] = RANKED) -> np.ndarray:
        """Measure the ranking of documents by their products with each query, (queries, measures + 1)."""
        said = [row for start in range(0, len(queries), AT_ONCE) for row in queries[start : start + AT_ONCE] @ documents.T]
        return by_query(names, said, [self._relevant(number) for number in range(len(queries))])

    def _relevant(self, number: int) -> np.ndarray:
        row = np.zeros(len(self.documents))
        row[list(self.relevances[number])] = list(self.relevances[number].values())
        return row

    def first_of(self, vectors: np.ndarray) -> np.ndarray:
        """The number of the document that each query finds first."""
        return np.asarray((vectors[self.queries] @ directions(vectors[self.documents]).T).argmax(1))

    def same(self, baseline: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """Tell whether the first document is the same."""
        return np.asarray(self.first_of(baseline) == self.first_of(vectors))


def as_kept(documents: np.ndarray, how: str) -> np.ndarray:
    """Documents' vectors as an index keeps them that is short of memory.

    Source: sentence-transformers' `quantize_embeddings` (Apache-2.0): "int8" divides what each number is among the documents
    into 256 steps, "binary" keeps its sign. An index turns the numbers back before it multiplies, or multiplies by signs.

    Args:
        documents: (documents, dimensions).
        how: One of SHORT.
    """
    if how == "binary":
        return np.where(documents > 0, 1.0, -1.0).astype(documents.dtype)
    low, step = steps_of(documents)
    return np.asarray(bytes_of(documents, low, step) * step + low, dtype=documents.dtype)


def steps_of(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least of each number among vectors, and a 255th of its range, (dimensions,) each."""
    low = vectors.min(0)
    return low, np.maximum((vectors.max(0) - low) / AS_BYTES["highest"], SMALLEST_STEP)


def bytes_of(vectors: np.ndarray, low: np.ndarray, step: np.ndarray) -> np.ndarray:
    """How many steps each number is above its least, from 0 to 255; what lies outside is moved to the end."""
    return np.asarray(np.clip(np.round((vectors - low) / step), AS_BYTES["lowest"], AS_BYTES["highest"]))


def judged_by(truth: Truth, vectors: np.ndarray) -> tuple[dict[str, Score], dict[str, np.ndarray]]:
    """What is scored, and for each score what it is made of."""
    return truth.scores(), truth.statistics(vectors)


def likeness(baseline: np.ndarray, vectors: np.ndarray, most: int = 1000) -> dict[str, Any]:
    """The cosine between two models' vectors of the same texts: `mean`, and `worst` of 1,000 texts, evenly spread."""
    alike = cosines(baseline, vectors)
    chosen = np.arange(min(most, len(alike))) * len(alike) // max(1, min(most, len(alike)))
    return {"mean": float(alike.mean()), "worst": float(alike[chosen].min())}
