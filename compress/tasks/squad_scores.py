"""How right an answer is, as the official evaluation scripts of SQuAD compute it.

Source: Rajpurkar et al. 2016, SQuAD, arXiv 1606.05250, section 6.1; 2018, SQuAD 2.0, arXiv 1806.03822, section 5.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from compress.tasks.span_answers import NO_ANSWER

PUNCTUATION = set(string.punctuation)


def normalized(text: str) -> str:
    """Write an answer as the official scripts compare it: lower case, without punctuation, articles and further spaces."""
    plain = "".join(letter for letter in text.lower() if letter not in PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", plain).split())


def exact_match(said: str, true: Sequence[str]) -> float:
    """1 where one of the right answers is given, after `normalized`; no right answers are those of a question without one."""
    return max(float(normalized(said) == normalized(answer)) for answer in _right(true))


def token_f1(said: str, true: Sequence[str]) -> float:
    """F1 of the words that an answer shares with a right one, the best; a question without an answer asks for none."""
    return max(_token_f1(normalized(said).split(), normalized(answer).split()) for answer in _right(true))


def _right(true: Sequence[str]) -> list[str]:
    return [answer for answer in true if normalized(answer)] or [NO_ANSWER]


def _token_f1(said: list[str], true: list[str]) -> float:
    if not said or not true:
        return float(said == true)
    shared = sum((Counter(said) & Counter(true)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(said), shared / len(true)
    return 2 * precision * recall / (precision + recall)
