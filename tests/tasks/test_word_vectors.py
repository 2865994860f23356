"""The words of texts and of a file of vectors become a tokenizer, and a vector for each of its tokens."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import BertTokenizer, PreTrainedTokenizerFast

from compress.errors import InputError
from compress.tasks.data.vector_files import read_vectors
from compress.tasks.word_vectors import Vocabulary, vocabulary_of
from tests.tasks.data.test_fasttext_file import model_of
from tests.tiny_models import tiny_tokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = ["The film, the film!", "the plot is dull", "a plot"]  # the 3, film 2, plot 2, and ",", "!", "is", "dull", "a"


def written(folder: Path, content: str) -> Path:
    path = folder / "vectors.txt"
    path.write_text(content, encoding="utf-8")
    return path


def made(folder: Path, content: str, most: int = 99, tokenizer: Any = None) -> Vocabulary:
    return vocabulary_of(written(folder, content), tokenizer or tiny_tokenizer(), TEXTS, most)


def row(vocabulary: Vocabulary, word: str) -> list[float]:
    place = vocabulary.tokenizer.convert_tokens_to_ids(word)
    return vocabulary.vectors[place].tolist()


def test_words_of_texts_come_first_and_then_the_file_s_in_its_order(tmp_path: Path) -> None:
    vocabulary = made(tmp_path, "good 1 0\nthe 2 0\nfilm 3 0\nfine 4 0\nbad 5 0\nnew-york 6 0\n", most=10)
    names = vocabulary.tokenizer.convert_ids_to_tokens(range(len(vocabulary.tokenizer)))
    assert names == [*SPECIAL, "the", "film", "plot", ",", "!", "is", "dull", "a", "good", "fine"]
    assert vocabulary.vectors.shape == (15, 2)
    assert [row(vocabulary, word)[0] for word in ("the", "film", "good", "fine")] == [2, 3, 1, 4]


def test_fewer_words_are_the_most_frequent_ones_and_others_are_unknown(tmp_path: Path) -> None:
    vocabulary = made(tmp_path, "good 1 0\nthe 2 0\nfilm 3 0\n", most=2)
    tokens = vocabulary.tokenizer.tokenize("The film is good")
    assert tokens == ["the", "film", "[UNK]", "[UNK]"]
    assert vocabulary.tokenizer("the film")["input_ids"] == [2, 5, 6, 3]


def test_what_has_no_vector_starts_at_the_mean_and_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        vocabulary = made(tmp_path, "the 2 0\nfilm 4 6\n")
    assert row(vocabulary, "plot") == row(vocabulary, "[UNK]") == row(vocabulary, "[CLS]") == [3, 3]
    assert vocabulary.facts == {
        "width": 2,
        "words_of_texts": 8,
        "words_of_file": 0,
        "parts_of_words": 0,
        "composed": 0,
        "without_vector": 6,
        "missed": ["plot", ",", "!", "is", "dull", "a"],
        "coverage": pytest.approx(5 / 12),
    }
    assert "8 words of the texts and 0 of the file" in caplog.text
    assert "has a vector for only 41.7 % of the running words" in caplog.text


def test_a_word_has_its_own_row_before_one_that_is_read_as_it(tmp_path: Path) -> None:
    vocabulary = made(tmp_path, "The 1 0\nthe 2 0\nTHE 3 0\nFilm 4 0\nplöt 5 0\n")
    assert [row(vocabulary, word)[0] for word in ("the", "film", "plot")] == [2, 4, 5]


def test_a_tokenizer_of_capitals_takes_small_letters_where_a_word_has_no_row(tmp_path: Path) -> None:
    cased = BertTokenizer(vocab={name: number for number, name in enumerate(SPECIAL)}, do_lower_case=False)
    vocabulary = made(tmp_path, "the 1 0\nfilm 4 0\n", most=99, tokenizer=cased)
    assert row(vocabulary, "The") == row(vocabulary, "the") == [1, 0]
    assert vocabulary.tokenizer.tokenize("The film") == ["The", "film"]


def test_another_kind_of_tokenizer_gives_way_to_words_in_small_letters(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    letters = Tokenizer(models.BPE({"<unk>": 0, "<pad>": 1, "t": 2}, [], unk_token="<unk>"))
    other = PreTrainedTokenizerFast(tokenizer_object=letters, unk_token="<unk>", pad_token="<pad>", model_max_length=33)
    vocabulary = made(tmp_path, "the 1 0\nfilm 4 0\n", tokenizer=other)
    assert vocabulary.tokenizer.tokenize("The Film") == ["the", "film"]
    assert vocabulary.tokenizer.pad_token_id == 0
    assert vocabulary.tokenizer.model_max_length == 33


def test_words_of_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has a vector for none of the 8 words of the training texts, such as 'the', 'film'"):
        made(tmp_path, "haus 1 0\nund 2 0\n")


def test_n_grams_give_words_and_pieces_inside_words_their_vectors(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(model_of(words=("the", "film"))[0])
    teacher = tiny_tokenizer((*SPECIAL, "the", "film", "pl", "##ot", "##zz", "##s", "a"))
    vocabulary = vocabulary_of(path, teacher, TEXTS, 99)
    expected = read_vectors(path, {"film"}.__contains__, lambda: ["<plot>", "ot>", "s>"])
    np.testing.assert_array_equal(row(vocabulary, "film"), expected.vectors[0])
    for name, text in (("plot", "<plot>"), ("##ot", "ot>"), ("##s", "s>")):
        np.testing.assert_array_equal(row(vocabulary, name), expected.composed[text])
    assert "##zz" not in vocabulary.tokenizer.get_vocab()  # the texts do not need it
    assert vocabulary.tokenizer.tokenize("films thes") == ["film", "##s", "the", "##s"]
    assert (vocabulary.facts["composed"], vocabulary.facts["parts_of_words"]) == (6, 2)
    assert vocabulary.facts["without_vector"] == 0
