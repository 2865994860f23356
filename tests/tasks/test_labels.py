from __future__ import annotations

import pytest

from compress.errors import InputError
from compress.tasks.labels import check_label_names, in_order, match_labels, written_twice

STARS = tuple(f"{number} star{'s' * (number > 1)}" for number in range(1, 6))


@pytest.mark.parametrize(
    ("names", "labels", "ids"),
    [
        (("bad", "good"), ("good", "bad"), (1, 0)),
        (("bad", "good"), ("0", "1"), (0, 1)),
        (("bad", "good"), ("1", "1.0"), (1, 1)),
        (("bad", "fine", "good"), ("1", "2"), (1, 2)),
        (STARS, STARS, (0, 1, 2, 3, 4)),
        (STARS, ("1", "5"), (0, 4)),
        (STARS, ("1", "2", "3", "4"), (0, 1, 2, 3)),
        (STARS, ("1.0", "5.0"), (0, 4)),
        (STARS[::-1], ("1", "5"), (4, 0)),
        (("LABEL_0", "LABEL_1"), ("0", "1"), (0, 1)),
        (("0", "1", "2"), ("0", "2"), (0, 2)),
        (("2", "1", "0"), ("0", "2"), (2, 0)),
        (("1", "2", "3"), ("1", "3"), (0, 2)),
        (("-1", "0", "1"), ("-1", "1"), (0, 2)),
        (("other", "covid19"), ("0", "1"), (0, 1)),
        (("other", "covid 1"), ("0", "1"), (0, 1)),
        (("class 10", "class 20"), ("20", "10"), (1, 0)),
        (("false", "true"), ("true", "false"), (1, 0)),
        (("True", "False"), ("true", "false"), (0, 1)),
        (("0", "1"), ("true", "false"), (1, 0)),
        (("LABEL_0", "LABEL_1"), ("true",), (1,)),
        (("1.5", "2.5"), ("2.5",), (1,)),
        (("is-1", "is-2"), ("1", "2"), (0, 1)),
        (("0.0", "1.0"), ("1", "0"), (1, 0)),
        (("a", "b"), ("00", "01"), (0, 1)),
    ],
)
def test_labels_that_are_certain_have_their_ids(names: tuple[str, ...], labels: tuple[str, ...], ids: tuple[int, ...]) -> None:
    match = match_labels(labels, names)
    assert tuple(match.ids[label] for label in labels) == ids
    assert not match.unknown


@pytest.mark.parametrize(
    ("names", "labels", "unknown"),
    [
        (("bad", "good"), ("1", "2"), {"2"}),
        (("bad", "good"), ("good", "1"), {"1"}),
        (("bad", "good"), ("-1", "0"), {"-1"}),
        (("bad", "good"), ("0.5", "1"), {"0.5"}),
        (("bad", "good"), ("Good",), {"Good"}),
        (("bad", "good"), ("²", "٣"), {"²", "٣"}),
        (("bad", "good"), ("9" * 6000, "1"), {"9" * 6000}),
        (("0", "1"), ("0", "2"), {"2"}),
        (("bad", "good"), ("1e9999", "1"), {"1e9999"}),
        (("bad", "good"), ("nan", "1"), {"nan", "1"}),
    ],
)
def test_labels_that_are_none_are_unknown(names: tuple[str, ...], labels: tuple[str, ...], unknown: set[str]) -> None:
    match = match_labels(labels, names)
    assert set(match.unknown) == unknown
    assert not match.why


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (STARS, ("0", "1", "2", "3", "4")),
        (STARS, ("0", "1")),
        (("1", "2", "3"), ("0", "1", "2")),
        (("-1", "0", "1"), ("0", "2")),
        (("ages 18-25", "ages 26-35"), ("0", "1")),
        (("class 10", "class 20"), ("0", "1")),
        (("1 star", "2 stars", "other"), ("1", "2")),
        (("no 1", "other"), ("0", "1")),
        (("1 a", "1 b"), ("1",)),
        (("ham", "spam"), ("true", "false")),
        (("1", "2"), ("true", "false")),
        (("yes", "no"), ("true", "false")),
    ],
)
def test_numbers_whose_meaning_is_not_certain_are_never_guessed(names: tuple[str, ...], labels: tuple[str, ...]) -> None:
    match = match_labels(labels, names)
    assert not match.ids
    assert set(match.unknown) == set(labels)
    assert "not certain which name" in match.why
    assert "write the names" in match.why


def test_labels_are_sorted_as_numbers_where_all_of_them_are_whole() -> None:
    assert in_order(["10", "9", "2", "9"]) == ["2", "9", "10"]
    assert in_order(["10", "9", "x"]) == ["10", "9", "x"]
    assert in_order(["9" * 6000, "1" + "0" * 6000, "7"]) == ["7", "9" * 6000, "1" + "0" * 6000]
    assert in_order(["²", "1"]) == ["1", "²"]
    assert in_order(["٣", "1"]) == ["1", "٣"]


def test_one_number_in_two_spellings_is_found() -> None:
    assert written_twice(["2", "1", "1.0"]) == ("1", "1.0")
    assert written_twice(["01", "1"]) == ("01", "1")
    assert written_twice(["1", "2", "1.5"]) is None
    assert written_twice(["1", "1.0", "x"]) is None


@pytest.mark.parametrize("names", ["ab", [0, 1], ["a"], [], ["a", "a"], ["a", None]])
def test_label_names_are_at_least_two_texts_each_once(names: object) -> None:
    with pytest.raises(InputError, match=r"labels are .*; (give a list of names|name at least two)"):
        check_label_names(names)  # type: ignore[arg-type]
