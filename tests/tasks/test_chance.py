from __future__ import annotations

import numpy as np
import pytest

from compress.errors import InputError
from compress.tasks.chance import assert_better_than_chance, best_order, confusion_matrix, confusion_text


def answers(predictions: list[int], count: int) -> np.ndarray:
    return np.eye(count, dtype=np.float32)[predictions]


def test_confusion_matrix_counts_true_labels_in_rows() -> None:
    confusion = confusion_matrix(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert confusion.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_best_order_undoes_a_rotation_of_three_labels() -> None:
    labels = np.array([0, 1, 2, 0, 1, 2])
    confusion = confusion_matrix(labels, (labels + 1) % 3, 3)
    assert best_order(confusion) == ([2, 0, 1], 1.0)  # output 0 means label 2, and so on


def test_a_model_above_the_largest_class_passes() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    assert_better_than_chance(answers([0, 0, 0, 1, 0], 2), labels, ("no", "yes"))


def test_a_model_at_the_share_of_the_largest_class_is_refused() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    with pytest.raises(InputError, match=r"60\.0% on 5 examples; more than 60\.0%.*'no'"):
        assert_better_than_chance(answers([0, 0, 0, 0, 0], 2), labels, ("no", "yes"))


def test_swapped_labels_are_told_with_the_order_that_fits_and_its_accuracy() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    swapped = [1, 1, 1, 1, 0, 0, 0, 0, 0, 1]
    with pytest.raises(InputError) as raised:
        assert_better_than_chance(answers(swapped, 2), labels, ("negative", "positive"))
    message = str(raised.value)
    assert "accuracy is 10.0%" in message
    assert "Read in the order ['positive', 'negative'], the model's outputs would be 90.0% accurate." in message
    assert "id2label" in message


def test_the_message_shows_the_confusion_matrix() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    with pytest.raises(InputError) as raised:
        assert_better_than_chance(answers([1, 1, 0, 0, 1], 2), labels, ("no", "yes"))
    lines = str(raised.value).splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["true", "\\", "predicted", "no", "yes"],
        ["no", "0", "2"],
        ["yes", "2", "1"],
    ]


def test_a_model_that_no_order_helps_is_sent_to_training() -> None:
    labels = np.array([0, 0, 1, 1])
    with pytest.raises(InputError, match=r"No other order.*fine_tune"):
        assert_better_than_chance(answers([0, 1, 0, 1], 2), labels, ("no", "yes"))


def test_answers_for_another_number_of_labels_are_refused() -> None:
    with pytest.raises(InputError, match=r"shape \(2, 3\) for 2 examples of 2 labels"):
        assert_better_than_chance(answers([0, 2], 3), np.array([0, 1]), ("no", "yes"))


def test_a_confusion_matrix_of_many_labels_is_cut_and_says_so() -> None:
    text = confusion_text(np.zeros((20, 20), dtype=int), [f"label{index}" for index in range(20)])
    assert len(text.splitlines()) == 14
    assert "the first 12 of 20 labels" in text
