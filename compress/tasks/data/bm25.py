"""Which documents share the rare words of a query: BM25, for candidates that a model ranks anew.

Source: Robertson and Zaragoza 2009, "The Probabilistic Relevance Framework: BM25 and Beyond", equation 3.15, with the idf that
stays positive as Lucene has it, and k1 and b of Pyserini's BEIR baselines (Kamalloo et al. 2023, arXiv 2306.07471). Differs:
words as they are, without stemming or a list of stop words, in any language; a word of a query counts once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from compress.tasks.kin import tokens_of

K1, B = 0.9, 0.4
"""How soon a word's repetitions stop to count, and how much long documents pay for their length."""
CELLS = 1 << 25
"""Scores that are held at once, of some queries and all documents."""


def best_documents(queries: Sequence[str], documents: Sequence[str], count: int) -> list[np.ndarray]:
    """Find for each query the documents with the highest scores, the best first; of equal ones the earlier.

    Args:
        queries: Texts.
        documents: Texts.
        count: Of documents for each query; all, where there are fewer.

    Returns:
        Places in `documents`, (count,) for each query.
    """
    best: list[np.ndarray] = []
    for scores in _scores(queries, documents):
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        best.extend(order)
    return best


def _scores(queries: Sequence[str], documents: Sequence[str]) -> Iterator[np.ndarray]:
    """Scores of a few queries at a time, (queries, documents)."""
    from scipy.sparse import csr_matrix

    asked = [dict.fromkeys(tokens_of(query)) for query in queries]
    words = {word: number for number, word in enumerate(dict.fromkeys(word for own in asked for word in own))}
    lengths = np.zeros(len(documents))
    rows: list[int] = []
    columns: list[int] = []
    repeated: list[int] = []
    for row, document in enumerate(documents):
        tokens = tokens_of(document)
        lengths[row] = len(tokens)
        for word, times in Counter(token for token in tokens if token in words).items():
            rows.append(row)
            columns.append(words[word])
            repeated.append(times)
    places, counts = np.array(rows, dtype=np.int64), np.array(repeated, dtype=np.float64)
    holders = np.bincount(columns, minlength=len(words))
    rarity = np.log1p((len(documents) - holders + 0.5) / (holders + 0.5))
    long = 1.0 - B + B * lengths / max(lengths.mean(), 1e-12)
    weights = rarity[columns] * counts / (counts + K1 * long[places])
    table = csr_matrix((weights, (places, columns)), shape=(len(documents), len(words))).T.tocsr()
    at_once = max(1, CELLS // max(1, len(documents)))
    for start in range(0, len(asked), at_once):
        part = asked[start : start + at_once]
        numbers = [words[word] for own in part for word in own]
        owners = np.repeat(np.arange(len(part)), [len(own) for own in part])
        matrix = csr_matrix((np.ones(len(numbers)), (owners, numbers)), shape=(len(part), len(words)))
        yield (matrix @ table).toarray()
