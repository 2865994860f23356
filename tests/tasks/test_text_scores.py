"""BLEU, chrF and ROUGE-L against hand calculations and against other implementations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.tasks.scores import drop, judged
from compress.tasks.text_scores import BLEU, CHRF, SCORES, longest_common, text_counts, words_of

WORDS = st.lists(st.sampled_from(["ein", "Mann", "läuft", "am", "Strand", ".", "3,5", "schnell"]), min_size=0, max_size=12)
TEXTS = st.lists(st.tuples(WORDS.map(" ".join), WORDS.map(" ".join)), min_size=1, max_size=6)
"""What is written and what is right."""


def score(name: str, written: list[str], true: list[str]) -> float:
    return float(SCORES[name](text_counts(written, true).sum(0)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ein Mann, der läuft.", ["Ein", "Mann", ",", "der", "läuft", "."]),
        ("It's 3.5 or 1,000-fold", ["It's", "3.5", "or", "1,000", "-", "fold"]),
        ("well-known (really)!", ["well-known", "(", "really", ")", "!"]),
        ("a &quot;b&quot; &amp; c&lt;d", ["a", '"', "b", '"', "&", "c", "<", "d"]),
        ("3. 4 .5", ["3", ".", "4", ".", "5"]),
        ("no-\nbreak\nline <skipped>", ["nobreak", "line"]),
        ("", []),
    ],
)
def test_words_are_cut_as_mteval_cuts_them(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_bleu_is_what_a_hand_computes() -> None:
    """6 of 7 words, 4 of 6 pairs, 2 of 5 threes, 1 of 4 fours are right; seven words of eight: exp(1 - 8/7)."""
    written, true = "the cat sat on the mat today", "the cat sat on a mat today now"
    precisions = 6 / 7 * 4 / 6 * 2 / 5 * 1 / 4
    assert score("bleu", [written], [true]) == pytest.approx(math.exp(1 - 8 / 7) * precisions**0.25)


def test_no_match_of_an_order_counts_as_half_of_one_and_the_next_as_a_quarter() -> None:
    """4 of 5 words and 1 of 4 pairs are right, no threes of 3 and no fours of 2."""
    written, true = "a b x c d", "a b c y d"
    assert score("bleu", [written], [true]) == pytest.approx((4 / 5 * 1 / 4 * (1 / 2) / 3 * (1 / 4) / 2) ** 0.25)


@pytest.mark.parametrize(
    ("written", "true", "value"),
    [("a b c d", "a b c d", 1.0), ("a b c", "a b c", 0.0), ("", "a b c d", 0.0), ("w x y z", "a b c d", 0.0)],
)
def test_ends_of_bleu(written: str, true: str, value: float) -> None:
    assert score("bleu", [written], [true]) == pytest.approx(value)


def test_bleu_is_of_the_corpus_and_no_mean() -> None:
    written, true = ["a b c d e", "x y"], ["a b c d e", "y x"]
    precisions = (5 + 2) / 7 * 4 / 5 * 3 / 3 * 2 / 2
    assert score("bleu", written, true) == pytest.approx(precisions**0.25)


def test_chrf_is_what_a_hand_computes() -> None:
    """abcd against abce: 3 of 4 characters, 2 of 3 pairs, 1 of 2 threes, none of 1 four; longer ones there are none."""
    mean = (3 / 4 + 2 / 3 + 1 / 2 + 0) / 4
    assert score("chrf", ["ab cd"], ["abc e"]) == pytest.approx(mean)


def test_chrf_counts_recall_four_times() -> None:
    precision, recall = 1.0, (2 / 4 + 1 / 3) / 2
    assert score("chrf", ["ab"], ["abab"]) == pytest.approx(5 * precision * recall / (4 * precision + recall))


def test_rouge_l_is_the_mean_of_the_f1_of_common_sequences() -> None:
    """the ... sat mat are three of four words written and of five that are right."""
    first, second = ("The dog sat mat", "the cat sat on mat!"), ("a", "b")
    assert score("rouge_l", [first[0], second[0]], [first[1], second[1]]) == pytest.approx(2 * 3 / 9 / 2)


@given(st.lists(st.sampled_from("abc"), max_size=9), st.lists(st.sampled_from("abc"), max_size=9))
def test_the_longest_common_sequence_is_that_of_the_table(first: list[str], second: list[str]) -> None:
    table = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
    for row, own in enumerate(first, 1):
        for column, other in enumerate(second, 1):
            step = table[row - 1, column - 1] + 1 if own == other else 0
            table[row, column] = max(step, table[row - 1, column], table[row, column - 1])
    assert longest_common(first, second) == table[-1, -1]


@given(TEXTS)
def test_bleu_is_that_of_nltk(texts: list[tuple[str, str]]) -> None:
    bleu_score = pytest.importorskip("nltk.translate.bleu_score")
    written, true = ([words_of(text) for text in side] for side in zip(*texts, strict=True))
    counts = text_counts(*zip(*texts, strict=True)).sum(0)[BLEU]
    if not counts[2:].all() or min(map(len, written)) < 4:  # which nltk counts in another way
        return
    expected = bleu_score.corpus_bleu([[words] for words in true], written)
    assert float(SCORES["bleu"](text_counts(*zip(*texts, strict=True)).sum(0))) == pytest.approx(expected)


@given(TEXTS)
def test_scores_are_those_of_sacrebleu(texts: list[tuple[str, str]]) -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    written, true = (list(side) for side in zip(*texts, strict=True))
    assert 100 * score("bleu", written, true) == pytest.approx(sacrebleu.corpus_bleu(written, [true]).score, abs=1e-6)
    assert 100 * score("chrf", written, true) == pytest.approx(sacrebleu.corpus_chrf(written, [true]).score, abs=1e-6)


def test_an_interval_holds_the_score_and_a_worse_text_is_a_drop() -> None:
    true = [f"a man number {index} walks on the beach" for index in range(40)]
    better = [text if index % 4 else "a man number one walks" for index, text in enumerate(true)]
    worse = [text if index % 2 else "a man number one walks" for index, text in enumerate(true)]
    counts = [text_counts(written, true) for written in (better, worse)]
    scores = judged(SCORES, counts[0])
    for name, value in scores["metrics"].items():
        low, high = scores["metrics_ci95"][name]
        assert low < value < high < 1
    lost = drop(SCORES["bleu"], *counts)
    assert lost["value"] == pytest.approx(score("bleu", better, true) - score("bleu", worse, true))
    assert lost["ci95"][0] > 0


def test_no_texts_score_nothing() -> None:
    assert text_counts([], []).shape == (0, CHRF.stop + 2)
