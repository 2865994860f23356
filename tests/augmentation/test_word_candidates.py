from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel, PreTrainedTokenizerFast

from compress.augmentation import word_candidates
from compress.augmentation.word_candidates import (
    NONE,
    SEVERAL,
    by_masked_lm,
    by_table,
    find_words,
    most_frequent,
    nearest_words,
    whole_words,
)
from compress.errors import InputError
from tests.tiny_models import tiny_tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = ("film", "good", "fine", "bad", "dull", "don", "cafe", "plot", "very")
OTHERS = ("'", ".", ",", "-", "12", "3d", "t", "s", "##s", "##y", "##ly", "日", "本")
TOKENIZER = tiny_tokenizer((*SPECIAL, *WORDS, *OTHERS))
ID = TOKENIZER.get_vocab()
LIMIT = 24


@pytest.fixture
def masked_lm() -> PreTrainedModel:
    """A random masked language model with a head of large weights."""
    torch.manual_seed(4)
    config = BertConfig(
        vocab_size=len(ID),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=LIMIT,
        initializer_range=0.4,
    )
    model = BertForMaskedLM(config).eval()
    model.tokenizer = TOKENIZER
    return model


def _found(text: str) -> list[tuple[str, int, bool]]:
    words = find_words([text], TOKENIZER)
    places = zip(words.starts, words.ends, words.token_ids, words.free, strict=True)
    return [(text[start:end], int(piece), bool(free)) for start, end, piece, free in places]


def test_words_are_told_by_their_places_in_the_text_as_it_stands() -> None:
    assert _found(" Good,\tFILMS - Café. 12") == [
        ("Good", ID["good"], True),
        ("FILMS", SEVERAL, True),
        ("Café", ID["cafe"], True),
        ("12", ID["12"], False),
    ]


def test_halves_of_contractions_are_not_free() -> None:
    assert [(word, free) for word, _, free in _found("don't 's film 'good\N{RIGHT SINGLE QUOTATION MARK} bad")] == [
        ("don", False),
        ("t", False),
        ("s", False),
        ("film", True),
        ("good", False),
        ("bad", True),
    ]


def test_words_are_told_by_their_text_and_a_part_of_the_texts_has_its_own() -> None:
    words = find_words(["good film", "...", "", "bad"], TOKENIZER)
    assert words.bounds.tolist() == [0, 2, 2, 2, 3]
    part = words.of(2, 4)
    assert part.bounds.tolist() == [0, 0, 1]
    assert part.token_ids.tolist() == [ID["bad"]]


def test_a_tokenizer_that_was_told_to_cut_and_pad_still_shows_every_word() -> None:
    tokenizer = tiny_tokenizer((*SPECIAL, *WORDS))
    tokenizer(["good film"], truncation=True, max_length=3, padding="max_length")
    words = find_words(["good film fine plot very bad"], tokenizer)
    assert words.bounds.tolist() == [0, 6]
    assert tokenizer(["good film"], truncation=True, max_length=3).input_ids == [[2, 6, 3]]


def test_whole_words_are_letters_alone_and_more_than_one_where_letters_have_cases() -> None:
    assert whole_words(TOKENIZER).tolist() == sorted(ID[word] for word in (*WORDS, "日", "本"))


def test_vocabularies_without_words_are_refused() -> None:
    with pytest.raises(InputError, match="1 of the tokenizer's 8 pieces are whole words; two at least"):
        whole_words(tiny_tokenizer((*SPECIAL, "film", "##s", ".")))
    bytewise = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"a": 0, "b": 1}, [])))
    with pytest.raises(InputError, match=r"those of a BPE model.*use a model with a WordPiece vocabulary"):
        whole_words(bytewise)


def test_the_most_frequent_words_are_few_and_one_in_twenty() -> None:
    assert most_frequent(np.array([3, 0, 9, 9, *[1] * 37])).tolist() == [2, 3]
    assert len(most_frequent(np.arange(5000) ** 2)) == 35
    assert not len(most_frequent(np.full(5000, 7)))
    assert not len(most_frequent(np.array([5, 3, 0, 2])))


@pytest.mark.parametrize("rows_at_once", [1, 3, 1024])
def test_the_nearest_words_are_those_at_the_smallest_angles(monkeypatch: pytest.MonkeyPatch, rows_at_once: int) -> None:
    monkeypatch.setattr(word_candidates, "ROWS_AT_ONCE", rows_at_once)
    table = torch.randn(30, 6, generator=torch.Generator().manual_seed(1)) * torch.arange(1, 31)[:, None]
    asked, allowed = np.array([4, 9, 2, 17]), np.array([1, 2, 3, 5, 8, 9, 13, 17, 21, 29])
    expected = []
    for word in asked:
        angles = {}
        for other in set(allowed.tolist()) - {int(word)}:
            first, second = table[int(word)].double().numpy(), table[other].double().numpy()
            angles[other] = np.arccos(first @ second / np.sqrt((first @ first) * (second @ second)))
        expected.append(sorted(sorted(angles, key=angles.__getitem__)[:4]))
    assert nearest_words(table, asked, allowed, 4).tolist() == expected


def test_no_more_words_are_told_than_there_are_others() -> None:
    neighbours = nearest_words(torch.eye(5), np.array([1, 3]), np.array([1, 3, 4]), 15)
    assert neighbours.tolist() == [[3, 4], [1, 4]]
    assert nearest_words(torch.eye(5), np.array([1]), np.array([1]), 15).shape == (1, 0)


def test_a_table_offers_to_free_words_of_one_piece_that_are_asked_for() -> None:
    text = ["good films don't film plot"]
    offer = by_table(np.array([ID["good"], ID["film"], ID["don"]]), np.array([[1, 2], [3, 4], [5, 6]]), len(ID))
    nothing = [NONE, NONE]
    assert offer(text, find_words(text, TOKENIZER)).tolist() == [[1, 2], nothing, nothing, nothing, [3, 4], nothing]


def _expected(masked_lm: PreTrainedModel, masked: str, whole: str, own: str | None, count: int) -> list[int]:
    """The best words for a [MASK], out of the model's answers to a pair of sentences that the tokenizer made."""
    given = TOKENIZER(masked, whole, return_tensors="pt")
    place = given.input_ids[0].tolist().index(TOKENIZER.mask_token_id)
    with torch.no_grad():
        scores = masked_lm(**given).logits[0, place]
    others = [number for number in whole_words(TOKENIZER).tolist() if TOKENIZER.convert_ids_to_tokens(number) != own]
    return sorted(sorted(others, key=lambda number: -scores[number])[:count])


@pytest.mark.parametrize("at_once", [1, 2, 64])
def test_a_masked_language_model_offers_what_it_puts_in_a_word_s_place_beside_the_sentence(
    monkeypatch: pytest.MonkeyPatch, masked_lm: PreTrainedModel, at_once: int
) -> None:
    monkeypatch.setattr(word_candidates, "MASKED_AT_ONCE", at_once)
    texts = ["very good films, plot", "12", "Dull film"]
    known = whole_words(TOKENIZER)
    offer = by_masked_lm(masked_lm, np.setdiff1d(known, [ID["plot"]]), known, 3)
    expected = [
        _expected(masked_lm, "[MASK] good films, plot", texts[0], "very", 3),
        _expected(masked_lm, "very [MASK] films, plot", texts[0], "good", 3),
        _expected(masked_lm, "very good [MASK], plot", texts[0], None, 3),
        [NONE] * 3,
        [NONE] * 3,
        _expected(masked_lm, "[MASK] film", texts[2], "dull", 3),
        _expected(masked_lm, "Dull [MASK]", texts[2], "film", 3),
    ]
    masked_lm.train()
    assert offer(texts, find_words(texts, TOKENIZER)).tolist() == expected
    assert masked_lm.training
    assert not masked_lm.base_model._forward_hooks


def test_of_a_long_sentence_a_masked_language_model_reads_what_stands_around_the_word(masked_lm: PreTrainedModel) -> None:
    """Of 24 places 3 are special; 10 pieces are left for either sentence, 5 of them before the word."""
    words = [*WORDS] * 4
    known = whole_words(TOKENIZER)
    candidates = by_masked_lm(masked_lm, known, known, 3)([" ".join(words)], find_words([" ".join(words)], TOKENIZER))
    for place, start in ((0, 0), (3, 0), (20, 15), (35, 26)):
        around: list[Any] = words[start : start + 10]
        masked = [*around[: place - start], "[MASK]", *around[place - start + 1 :]]
        assert candidates[place].tolist() == _expected(masked_lm, " ".join(masked), " ".join(around), words[place], 3)


def test_nothing_is_asked_of_the_model_where_nothing_may_be_replaced(masked_lm: PreTrainedModel) -> None:
    known = whole_words(TOKENIZER)
    offer = by_masked_lm(masked_lm, known, known, 3)
    assert offer(["12 's"], find_words(["12 's"], TOKENIZER)).tolist() == [[NONE] * 3] * 2
