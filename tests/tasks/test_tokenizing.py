from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from compress.tasks import tokenizing
from compress.tasks.tokenizing import portions_of, tokenized
from compress.tasks.words import counted
from tests.tiny_models import tiny_tokenizer

PARTS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "film", "go", "##od", "##o", "a", "##a", "f", "##i", ".", "字")
WORDS = ("good", "film", "goooo", "aaa", "a", "fi", "x", ".", "字字字", "\n\t  ", "a" * 120, "a" * 99, "\u200b", "éa")


def _unigram() -> Any:
    """A tokenizer as ALBERT's is: pieces of words by their likelihood."""
    known = ("▁", "▁good", "▁film", "a", "aa", "oo", "g", "o", "d", "f", "i", ".", "▁a")
    vocabulary = [("<pad>", 0.0), ("<unk>", -9.0), *((piece, -1.0 - len(piece) / 9) for piece in known)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=1))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>")


def _directly(tokenizer: Any, texts: Sequence[str], pairs: Sequence[str] | None, length: int) -> tuple[Any, ...]:
    encoded = tokenizer(texts, pairs, truncation=True, max_length=length, return_attention_mask=False)
    return (
        encoded["input_ids"],
        encoded.get("token_type_ids"),
        sum(1 for encoding in encoded.encodings if encoding.overflowing),
    )


def _texts(random: np.random.Generator, count: int) -> list[str]:
    lengths = random.choice([1, 3, 10, 30], count)
    made = [
        "".join(f"{word}{gap}" for word, gap in zip(random.choice(WORDS, n), random.choice(["", " ", "   "], n), strict=True))
        for n in lengths
    ]
    return [text.strip() or "a" for text in made]


@pytest.mark.parametrize("are_pairs", [False, True])
@pytest.mark.parametrize("make", [lambda: tiny_tokenizer(PARTS), _unigram], ids=["wordpiece", "unigram"])
def test_cutting_texts_changes_no_token(monkeypatch: pytest.MonkeyPatch, make: Any, are_pairs: bool) -> None:
    """With bounds so low that nearly every text is cut, and compared with the tokenizer's own truncation."""
    monkeypatch.setattr(tokenizing, "REACHES", {False: (2, 10), True: (2, 10)})
    monkeypatch.setattr(tokenizing, "CEILING", 20_000)
    monkeypatch.setattr(tokenizing, "FARTHEST", 160_000)
    monkeypatch.setattr(tokenizing, "AT_ONCE", 900)
    monkeypatch.setattr(tokenizing, "MARGIN", 130)
    tokenizer, random = make(), np.random.default_rng(7)
    for length in itertools.islice(itertools.cycle((5, 6, 7, 8, 13, 20, 31)), 14):
        texts, pairs = _texts(random, 4), _texts(random, 4) if are_pairs else None
        encoded = tokenized(tokenizer, texts, pairs, length)
        assert (encoded.input_ids, encoded.token_type_ids, encoded.truncated) == _directly(tokenizer, texts, pairs, length)


@pytest.mark.parametrize("side", ["right", "left"])
def test_ordinary_texts_are_tokenized_as_the_tokenizer_does(side: str) -> None:
    tokenizer = tiny_tokenizer(PARTS)
    tokenizer.truncation_side = side
    texts = _texts(np.random.default_rng(3), 40)
    for length in (8, 64):
        encoded = tokenized(tokenizer, texts, None, length)
        assert (encoded.input_ids, encoded.token_type_ids, encoded.truncated) == _directly(tokenizer, texts, None, length)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "ids", "truncated"),
    [
        ("good film " * 300_000, [2, 5, 6, 5, 6, 3], 1),
        ("a" * 3_000_000 + " good", [2, 1, 5, 3], 0),
        ("good" + " " * 3_000_000 + "film", [2, 5, 6, 3], 0),
        ("字" * 3_000_000, [2, 15, 15, 15, 15, 3], 1),
        ("." * 3_000_000, [2, 14, 14, 14, 14, 3], 1),
        ("good " + "\u200b" * 2_000_000, [2, 5, 3], 0),
    ],
    ids=["words", "one word", "spaces", "chinese", "points", "nothing"],
)
def test_a_text_of_megabytes_is_read_in_little_time_and_memory(text: str, ids: list[int], truncated: int) -> None:
    encoded = tokenized(tiny_tokenizer(PARTS), [text, "film"], None, 6)
    assert encoded.input_ids == [ids, [2, 6, 3]]
    assert encoded.truncated == truncated


@pytest.mark.slow
def test_pairs_of_megabytes_keep_both_beginnings() -> None:
    encoded = tokenized(tiny_tokenizer(PARTS), ["good " * 300_000, "a"], ["film " * 300_000, "film " * 300_000], 8)
    assert encoded.input_ids == [[2, 5, 5, 3, 6, 6, 6, 3], [2, 10, 3, 6, 6, 6, 6, 3]]
    assert encoded.truncated == 2


def test_the_words_of_a_text_of_megabytes_are_counted_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizing, "CEILING", 100)
    text = "good film " * 300 + "a" * 250
    assert "".join(portions_of(text)) == text
    assert max(map(len, portions_of(text))) < 1200
    assert list(portions_of("")) == [""]
    counts = counted(tiny_tokenizer(PARTS), [text, "film"])
    assert (counts[5], counts[6]) == (300, 301)
