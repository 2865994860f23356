from __future__ import annotations

import numpy as np
import pytest

from compress.errors import InputError
from compress.tasks.cutting import cut, row_order
from compress.tasks.encoding import read_by
from compress.tasks.kind import load_kind
from compress.tasks.labelled import Task
from compress.tasks.split import Split
from tests.tiny_models import sentences, tiny_tokenizer, toy_task

encode = load_kind("text-classification").encode
CLS, SEP, GOOD, FILM = 2, 3, 13, 7


def _split(texts: tuple[str, ...], pairs: tuple[str, ...] | None = None) -> Split:
    return Split("train", texts, pairs, np.zeros(len(texts), dtype=np.int64))


def test_sentences_become_ids_between_the_special_tokens() -> None:
    encoded = encode(_split(("good film", " film ")), tiny_tokenizer(), 8)
    assert encoded.input_ids == [[CLS, GOOD, FILM, SEP], [CLS, FILM, SEP]]
    assert encoded.lengths.tolist() == [4, 3]
    assert encoded.truncated == 0


def test_pairs_are_told_apart_by_their_types() -> None:
    encoded = encode(_split(("good",), ("film",)), tiny_tokenizer(), 8)
    assert encoded.input_ids == [[CLS, GOOD, SEP, FILM, SEP]]
    assert encoded.token_type_ids == [[0, 0, 0, 1, 1]]


def test_long_examples_are_cut_and_counted() -> None:
    encoded = encode(_split(("film " * 20, "film")), tiny_tokenizer(), 6)
    assert encoded.lengths.tolist() == [6, 3]
    assert encoded.truncated == 1


def test_a_batch_is_padded_to_its_longest_or_further() -> None:
    encoded = encode(_split(("good film", "film")), tiny_tokenizer(), 8)
    batch = encoded.batch([1, 0])
    assert batch["input_ids"].tolist() == [[CLS, FILM, SEP, 0], [CLS, GOOD, FILM, SEP]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert encoded.batch([1], pad_to=6)["attention_mask"].tolist() == [[1, 1, 1, 0, 0, 0]]


def test_the_ids_of_some_examples_are_rising_and_hold_the_padding() -> None:
    first, second = (encode(_split(texts), tiny_tokenizer(), 8) for texts in (("good film",), ("film", "film")))
    assert read_by(second).tolist() == [0, CLS, SEP, FILM]
    assert read_by(first, second).tolist() == [0, CLS, SEP, FILM, GOOD]


def test_places_lead_back_to_the_ids() -> None:
    encoded = encode(_split(("good film", "film")), tiny_tokenizer(), 8)
    token_ids = read_by(encoded)
    placed = encoded.over(token_ids)
    assert placed.input_ids == [[1, 4, 3, 2], [1, 3, 2]]
    assert token_ids[placed.batch([0, 1])["input_ids"]].tolist() == encoded.batch([0, 1])["input_ids"].tolist()
    assert encoded.input_ids[1] == [CLS, FILM, SEP]


def test_padding_keeps_its_id_where_places_differ() -> None:
    tokenizer = tiny_tokenizer(("[UNK]", "x", "[PAD]", "[CLS]", "[SEP]", "good", "film"))
    encoded = encode(_split(("good film", "film")), tokenizer, 8)
    assert encoded.pad_token_id == 2
    token_ids = read_by(encoded)
    assert encoded.over(token_ids).pad_token_id == 0
    assert token_ids[encoded.over(token_ids).batch([0, 1])["input_ids"]].tolist() == [[3, 5, 6, 4], [3, 6, 4, 2]]


def test_a_tokenizer_without_padding_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    with pytest.raises(InputError, match="no padding token"):
        encode(_split(("film",)), tokenizer, 8)


def test_cuts_have_the_size_of_their_shares_and_cover_everything() -> None:
    order = row_order([f"row {index}" for index in range(10_000)], None, "trial")
    parts = cut(order, 0.1, 0.05)
    assert [len(part) for part in parts] == pytest.approx([1000, 500, 8500], abs=120)
    assert sorted(np.concatenate(parts).tolist()) == list(range(10_000))


def test_the_order_depends_on_text_pair_and_purpose_alone() -> None:
    order = row_order(["a", "b"], None, "x")
    assert row_order(["b", " a "], None, "x").tolist() == order.tolist()[::-1]
    assert row_order(["a", "b"], None, "y").tolist() != order.tolist()
    assert row_order(["a", "b"], ["1", "2"], "x").tolist() != order.tolist()


def test_f1_is_that_of_label_one() -> None:
    task = toy_task(metric="f1")
    logits = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]])  # answers 0 1 1 0
    scores = task.score(logits, np.array([0, 1, 0, 1]))
    assert scores == {"accuracy": 0.5, "f1": 0.5}  # precision 1/2, recall 1/2


def test_a_capped_task_keeps_every_label_and_short_examples() -> None:
    split = sentences("train", 40, 1)
    sorted_by_label = split.pick(np.argsort(split.labels, kind="stable"))
    task: Task = toy_task(train=40)
    capped = Task(**{**vars(task), "train": sorted_by_label}).capped(8)
    assert len(capped.train) == 8
    assert set(capped.train.labels.tolist()) == {0, 1}
    assert capped.fingerprint != task.fingerprint


def test_a_task_describes_its_parts() -> None:
    description = toy_task(train=40, others=16).describe()
    assert description["splits"]["train"]["examples"] == 40
    assert description["splits"]["evaluation"]["per_label"] == [8, 8]
