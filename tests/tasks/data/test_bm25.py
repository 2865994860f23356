"""Candidates by BM25: scores worked out from the formula, and which documents come first."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compress.tasks.data import bm25
from compress.tasks.data.bm25 import best_documents

DOCUMENTS = ("a good film", "film film film film and a very long text about it", "a dull plot", "nothing of it")


def by_hand(query: str, document: str) -> float:
    """With words between spaces, and four documents of 3, 11, 3 and 3 words: 5 on average."""
    own, total = document.split(), 0.0
    for word in set(query.split()):
        holders, times = sum(word in other.split() for other in DOCUMENTS), own.count(word)
        rarity = math.log(1 + (4 - holders + 0.5) / (holders + 0.5))
        total += rarity * times / (times + 0.9 * (1 - 0.4 + 0.4 * len(own) / 5))
    return total


@pytest.mark.parametrize("query", ["good film", "film film", "a dull film", "it", "plot of a film"])
def test_the_order_is_that_of_the_formula(query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = [by_hand(query, document) for document in DOCUMENTS]
    (row,) = bm25._scores([query], DOCUMENTS)
    assert row[0].tolist() == pytest.approx(scores)
    (best,) = best_documents([query], DOCUMENTS, 4)
    assert best.tolist() == sorted(range(4), key=lambda place: (-scores[place], place))
    monkeypatch.setattr(bm25, "CELLS", 1)  # one query at a time
    several = best_documents(["dull", query, "nothing"], DOCUMENTS, 2)
    assert [places[0] for places in several] == [2, best[0], 3]
    assert np.array_equal(several[1], best[:2])


def test_case_and_punctuation_do_not_count_and_unknown_words_find_nothing() -> None:
    assert best_documents(["(DULL) Plot!"], DOCUMENTS, 1)[0].tolist() == [2]
    assert best_documents(["unheard", ""], DOCUMENTS, 9)[0].tolist() == [0, 1, 2, 3]
    assert best_documents([], DOCUMENTS, 3) == []
