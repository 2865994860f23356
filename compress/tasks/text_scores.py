"""How near texts that a model has written are to those that are right: BLEU, chrF and ROUGE-L, each from counts of every text.

All three are functions of sums over the texts, so that one bootstrap serves them.

Source: Papineni et al. 2002, BLEU, <https://aclanthology.org/P02-1040>, as Post 2018, arXiv 1804.08771, computes it
(sacrebleu's `nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp`); Popović 2015, chrF, <https://aclanthology.org/W15-3049>, with
beta 2 and up to six characters, white space left out; Lin 2004, ROUGE, <https://aclanthology.org/W04-1013> (ROUGE-L, the mean
of the texts' F1).
Differs: fractions, not percent; words of ROUGE-L are runs of letters and digits of any script, where rouge-score knows ASCII
alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from compress.tasks.scores import Score

WORD_ORDER, CHARACTER_ORDER, BETA = 4, 6, 2
BLEU = slice(0, 2 + 2 * WORD_ORDER)
CHRF = slice(BLEU.stop, BLEU.stop + 3 * CHARACTER_ORDER)
ROUGE = slice(CHRF.stop, CHRF.stop + 2)
"""Where the counts of each score stand among those of a text."""
ENTITIES = {"&quot;": '"', "&amp;": "&", "&lt;": "<", "&gt;": ">"}
ALWAYS_APART = re.compile(r"""([{|}~\[\\\]^_`!"#$%&()*+:;<=>?@/])""")
"""ASCII punctuation and symbols but for the apostrophe, comma, full stop and hyphen."""
BETWEEN_DIGITS_STAY = (
    (re.compile(r"(\D)([.,])", re.ASCII), r"\1 \2 "),
    (re.compile(r"([.,])(\D)", re.ASCII), r" \1 \2"),
    (re.compile(r"(\d)(-)", re.ASCII), r"\1 \2 "),
)


def words_of(text: str) -> list[str]:
    """Cut a text into words as NIST's mteval-v13a does."""
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in ENTITIES.items():
        text = text.replace(entity, character)
    text = ALWAYS_APART.sub(r" \1 ", f" {text} ")
    for pattern, apart in BETWEEN_DIGITS_STAY:
        text = pattern.sub(apart, text)
    return text.split()


def text_counts(written: Sequence[str], true: Sequence[str]) -> np.ndarray:
    """Count in each text what the scores are made of, (texts, counts); see BLEU, CHRF and ROUGE."""
    rows = [
        _word_counts(words_of(own), words_of(right)) + _character_counts(own, right) + [_common_order(own, right), 1.0]
        for own, right in zip(written, true, strict=True)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, ROUGE.stop)


def _runs(sequence: Sequence[str], size: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(sequence[start:] for start in range(size)), strict=False))


def _word_counts(written: list[str], true: list[str]) -> list[float]:
    """Words written and right, then for 1 to 4 words in a row how often they are right, then how often written."""
    pairs = [(_runs(written, size), _runs(true, size)) for size in range(1, WORD_ORDER + 1)]
    right = [(own & other).total() for own, other in pairs]
    return [len(written), len(true), *right, *(own.total() for own, _ in pairs)]


def _character_counts(written: str, true: str) -> list[float]:
    """For 1 to 6 characters in a row how often they are written, how often they are right, and how often both."""
    own_text, right_text = ("".join(text.split()) for text in (written, true))
    counts: list[float] = []
    for size in range(1, CHARACTER_ORDER + 1):
        own, right = _runs(own_text, size), _runs(right_text, size)
        counts += [own.total() if right else 0, right.total(), (own & right).total()]
    return counts


def _common_order(written: str, true: str) -> float:
    """F1 of the longest sequence of words that stand in both in the same order."""
    own, right = (re.findall(r"[^\W_]+", text.lower()) for text in (written, true))
    common = longest_common(own, right)
    return 2 * common / (len(own) + len(right)) if common else 0.0


def longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Compute the length of the longest common subsequence, a bit for each word of the first.

    Source: Hyyrö 2004, "Bit-parallel LCS-length computation revisited", AWOCA.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    whole = (1 << len(first)) - 1
    row = whole
    for word in second:
        both = row & places.get(word, 0)
        row = (row + both | row - both) & whole
    return len(first) - row.bit_count()


def bleu(sums: np.ndarray) -> np.ndarray:
    """BLEU from sums over the texts, (..., 10): the geometric mean of four precisions, times a penalty for what is too short.

    A precision of 0 counts as half of a match, the next one as a quarter, and so on; without any match, or without four words
    in a row, the score is 0.
    """
    written, true = sums[..., 0], sums[..., 1]
    matches, totals = sums[..., 2 : 2 + WORD_ORDER], sums[..., 2 + WORD_ORDER :]
    smoothed = np.where(matches > 0, matches, 0.5 ** np.cumsum(matches == 0, axis=-1))
    precision = np.exp(np.log(smoothed / np.maximum(totals, 1)).mean(-1))
    penalty = np.exp(np.minimum(0.0, 1 - true / np.maximum(written, 1)))
    return np.where(matches.any(-1) & totals.all(-1), penalty * precision, 0.0)


def chrf(sums: np.ndarray) -> np.ndarray:
    """chrF2 from sums over the texts, (..., 18): F of the mean precision and the mean recall, recall counted four times."""
    written, true, both = np.moveaxis(sums.reshape(*sums.shape[:-1], CHARACTER_ORDER, 3), -1, 0)
    there = (written > 0) & (true > 0)
    orders = np.maximum(there.sum(-1), 1)
    precision, recall = (np.where(there, both / np.maximum(total, 1), 0.0).sum(-1) / orders for total in (written, true))
    return (1 + BETA**2) * precision * recall / np.maximum(BETA**2 * precision + recall, 1e-12)


def rouge_l(sums: np.ndarray) -> np.ndarray:
    """ROUGE-L from sums over the texts, (..., 2): the mean of their F1."""
    return sums[..., 0] / np.maximum(sums[..., 1], 1)


SCORES: Mapping[str, Score] = {
    "bleu": lambda sums: bleu(sums[..., BLEU]),
    "chrf": lambda sums: chrf(sums[..., CHRF]),
    "rouge_l": lambda sums: rouge_l(sums[..., ROUGE]),
}
"""From sums of `text_counts`, (..., counts)."""
