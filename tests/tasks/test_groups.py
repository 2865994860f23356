from __future__ import annotations

import numpy as np

from compress.tasks.cutting import cut, row_order
from compress.tasks.groups import Grouped, figures_of
from compress.tasks.split import Split

ROWS = (
    "the plot of the film is thin",
    "The plot of the film, is THIN!",
    "a critic said the plot of the film is thin again",
    "thin again",  # stands in the row before alone
    "an entirely different sentence stands here today",
    "quite different things are told in this row",
    "different",  # stands in both rows before
)


def groups_of(texts: tuple[str, ...] | list[str], pairs: list[str] | None = None) -> list[set[int]]:
    leaders = Grouped(texts, pairs).leaders.tolist()
    return sorted(({row for row, start in enumerate(leaders) if start == leader} for leader in set(leaders)), key=min)


def phrases(sentences: int, words: int = 9) -> list[str]:
    """Sentences of words of their own, each with its phrases down to one word, and with a word that all of them have."""
    made = []
    for number in range(sentences):
        sentence = [f"w{number}x{place}" for place in range(words)]
        made += [" ".join([*sentence[start:], "film"]) for start in range(words + 1)]
    return list(dict.fromkeys(made))


def test_copies_and_rows_that_stand_in_one_another_are_a_group_and_short_ones_go_with_their_only_one() -> None:
    assert groups_of(ROWS) == [{0, 1, 2, 3}, {4}, {5}, {6}]


def test_the_groups_do_not_depend_on_the_order_of_the_rows() -> None:
    turned = groups_of(ROWS[::-1])
    assert sorted(({6 - row for row in group} for group in turned), key=min) == groups_of(ROWS)
    leaders = [{Grouped(texts, None).texts[leader] for leader in Grouped(texts, None).leaders} for texts in (ROWS, ROWS[::-1])]
    assert leaders[0] - {ROWS[0], ROWS[1]} == leaders[1] - {ROWS[0], ROWS[1]}


def test_pairs_with_one_first_text_are_a_group() -> None:
    firsts = ["two women are embracing a child"] * 3 + ["an old man sits on a bench"] * 3
    seconds = ["they are sisters", "a child", "nobody is there"] * 2
    assert groups_of(firsts, seconds) == [{0, 1, 2}, {3, 4, 5}]


def test_sentences_stand_in_one_part_with_every_phrase_of_theirs() -> None:
    texts = phrases(200)
    grouped, rows = Grouped(texts, None), np.arange(len(texts))
    assert len(texts) == 200 * 9 + 1
    assert len(np.unique(grouped.leaders)) == 201  # and the word that stands in all
    selection, train = grouped.cut(rows, "selection", 0.2)
    assert {texts[row].split("x")[0] for row in selection}.isdisjoint({texts[row].split("x")[0] for row in train} - {"film"})
    assert len(selection) / len(rows) == np.clip(len(selection) / len(rows), 0.12, 0.28)
    assert grouped.figures({"train": train, "selection": selection})["selection"]["leak"] == 0.0
    old, rest = cut(row_order(texts, None, "selection"), 0.2)
    assert grouped.figures({"train": rest, "selection": old})["selection"]["leak"] > 0.6  # as rows were cut one by one


def test_a_row_without_kin_stands_where_it_stood_before_there_were_groups() -> None:
    texts = [f"w{row} x{row} y{row} z{row}" for row in range(500)]
    parts = Grouped(texts, None).cut(np.arange(500), "selection", 0.1, 0.05)
    assert [part.tolist() for part in parts] == [part.tolist() for part in cut(row_order(texts, None, "selection"), 0.1, 0.05)]


def test_parts_of_few_large_groups_have_the_size_of_their_shares_all_the_same() -> None:
    texts = [f"{copy % 2 * 'so '}a{row} b{row} c{row} d{row}" for row in range(30) for copy in range(8)]
    for purpose in ("selection", "evaluation", "others"):  # by chance a part of an eighteenth would often be empty
        parts = Grouped(texts, None).cut(np.arange(240), purpose, 1 / 12, 1 / 18)
        assert [len(part) for part in parts[:2]] == [np.clip(len(parts[0]), 10, 30), np.clip(len(parts[1]), 7, 20)]
        assert sorted(np.concatenate(parts).tolist()) == list(range(240))
        assert all(len(part) % 8 == 0 for part in parts)


def test_a_phrase_of_hundreds_of_rows_makes_no_group_of_them_and_is_left_out_where_it_would_leak() -> None:
    longer = [f"a{row} b{row} c{row} one of the best films d{row} e{row} f{row} g{row}" for row in range(400)]
    texts = ["one of the best films", *longer, *(f"h{row} i{row} j{row} k{row}" for row in range(600))]
    grouped, rows = Grouped(texts, None), np.arange(len(texts))
    assert np.unique(grouped.leaders, return_counts=True)[1].max() == 10  # a hundredth of the rows
    parts = grouped.cut(rows, "selection", 0.2)
    kept, left_out = grouped.taken_apart(*parts)
    assert left_out == 1
    assert 0 in parts[1]
    assert sorted(np.concatenate(kept).tolist()) == rows[1:].tolist()
    assert grouped.figures({"train": kept[1], "selection": kept[0]})["selection"]["leak"] == 0.0


def test_copies_of_a_row_are_one_group_however_many_they_are() -> None:
    assert [len(group) for group in groups_of(["the same words again and again"] * 300 + ["others"])] == [300, 1]


def test_rows_of_which_most_are_kin_of_most_others_are_cut_and_none_is_left_out() -> None:
    words = [f"word{place}" for place in range(20)]
    texts = [" ".join([*words[:10], f"n{row}", *words[11:]]) for row in range(200)]
    grouped = Grouped(texts, None)
    parts = grouped.cut(np.arange(200), "selection", 0.2)
    kept, left_out = grouped.taken_apart(*parts)
    assert left_out == 0
    assert [part.tolist() for part in kept] == [part.tolist() for part in parts]
    assert grouped.figures({"train": kept[1], "selection": kept[0]})["selection"]["leak"] == 1.0


def test_the_figures_of_parts_that_were_cut_already_count_groups_and_kin_of_training_rows() -> None:
    def split(role: str, *texts: str) -> Split:
        return Split(role, texts, None, np.zeros(len(texts), dtype=np.int64))  # type: ignore[arg-type]

    figures = figures_of([split("train", *ROWS[:2], ROWS[4]), split("selection", *ROWS[2:4]), split("evaluation", ROWS[5])])
    assert figures == {
        "train": {"groups": 2},
        "selection": {"groups": 1, "leak": 0.5},
        "evaluation": {"groups": 1, "leak": 0.0},
    }
