"""What a classifier's outputs are called, and which of them stands for which label of a task."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import BertConfig

from compress.errors import InputError
from compress.labels import are_numbers, check_names, order_of, read_names


def config(**values: Any) -> BertConfig:
    """A configuration as transformers reads it from a file; what an older one refuses itself is skipped."""
    try:
        return BertConfig.from_dict(values)
    except StrictDataclassFieldValidationError:
        pytest.skip("this version of transformers takes texts alone for names")


@pytest.mark.parametrize(
    ("values", "outputs", "names"),
    [
        ({}, 2, ["LABEL_0", "LABEL_1"]),
        ({}, 5, ["LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3", "LABEL_4"]),
        ({"id2label": None, "label2id": None}, 3, ["LABEL_0", "LABEL_1", "LABEL_2"]),
        ({"id2label": {"1": "good", "0": "bad"}}, 2, ["bad", "good"]),
        ({"id2label": {"0": 0, "1": 1}}, 2, ["0", "1"]),
        ({"id2label": {"0": "1", "1": "0"}}, 2, ["1", "0"]),
        ({"id2label": {"0": None, "1": None}}, 2, ["LABEL_0", "LABEL_1"]),
        ({"id2label": {"0": "", "1": ""}}, 2, ["LABEL_0", "LABEL_1"]),
        ({"id2label": {"0": "bad", "1": "good"}, "label2id": {"good": 0, "bad": 1}}, 2, ["bad", "good"]),
        ({"id2label": {"0": "bad", "1": "good"}}, None, ["bad", "good"]),
        ({"id2label": {"0": 1.5, "1": 2.5}}, 2, ["1.5", "2.5"]),
    ],
)
def test_names_are_read_as_transformers_reads_them(values: dict[str, Any], outputs: int | None, names: list[str]) -> None:
    assert read_names(config(**values), outputs) == names


@pytest.mark.parametrize(
    ("values", "outputs", "said"),
    [
        ({"id2label": {"0": "bad", "1": "good"}}, 3, r"names the outputs 0, 1, but the head has 0 to 2"),
        ({"id2label": {"0": "bad", "1": "so", "2": "good"}}, 2, r"names the outputs 0, 1, 2, but the head has 0 to 1"),
        ({"id2label": {"1": "bad", "2": "good"}}, 2, r"names the outputs 1, 2, but the head has 0 to 1"),
        ({"id2label": {"0": "good", "1": "good"}}, 2, r"calls several outputs good"),
        ({"id2label": {"0": "good", "1": ["bad"]}}, 2, r"calls output 1 \['bad'\], which is no text"),
        ({"id2label": {"0": True, "1": False}}, 2, r"calls output 0 True, which is no text"),
    ],
)
def test_names_that_do_not_fit_the_head_are_refused(values: dict[str, Any], outputs: int, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_names(config(**values), outputs)


@pytest.mark.parametrize(
    ("names", "labels", "order"),
    [
        (["negative", "positive"], ["negative", "positive"], [0, 1]),
        (["positive", "negative"], ["negative", "positive"], [1, 0]),
        (["POSITIVE", "NEGATIVE"], ["negative", "positive"], [1, 0]),
        (["Not Equivalent", "equivalent "], ["not_equivalent", "equivalent"], [0, 1]),
        (["LABEL_0", "LABEL_1"], ["negative", "positive"], [0, 1]),
        (["LABEL_1", "LABEL_0"], ["negative", "positive"], [1, 0]),
        (["1", "0"], ["negative", "positive"], [1, 0]),
        (["0", "1"], ["1", "0"], [1, 0]),
        (["1 star", "2 stars", "3 stars"], ["3", "1", "2"], [2, 0, 1]),
        (["c", "a", "b"], ["a", "b", "c"], [1, 2, 0]),
        (["spam", "ham"], ["negative", "positive"], None),
        (["1 star", "2 stars"], ["0", "1"], None),
        (["bad", "good"], ["bad", "good", "so"], None),
        (["bad", "LABEL_1"], ["bad", "good"], None),
        (["1.5", "2.5"], ["1", "2"], None),
    ],
)
def test_outputs_are_found_by_names_and_numbers_and_never_by_guessing(
    names: list[str], labels: list[str], order: list[int] | None
) -> None:
    assert order_of(names, labels) == order


def test_the_case_of_names_counts_where_it_alone_tells_them_apart() -> None:
    assert order_of(["us", "US"], ["US", "us"]) == [1, 0]
    assert order_of(["Us", "uS"], ["US", "us"]) is None


def test_numbers_are_no_names() -> None:
    assert are_numbers(["LABEL_0", "LABEL_1"])
    assert are_numbers(["1", "0"])
    assert not are_numbers(["1", "2"])


def test_a_long_list_of_other_labels_is_cut_in_the_message() -> None:
    names = [f"name number {index} {'x' * 500}" for index in range(1000)]
    with pytest.raises(
        InputError, match=r"the model has 1000 labels, but the task has 2 \(bad, good\).*1000 in all"
    ) as raised:
        check_names("the model", names, ["bad", "good"], "use another.")
    assert len(str(raised.value)) < 2000
