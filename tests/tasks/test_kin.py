from __future__ import annotations

import sys
from subprocess import run

import numpy as np
import pytest

from compress.tasks.kin import MOST_CANDIDATES, find_kin, tokens_of

TWENTY = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
TWENTY += " eighteen nineteen"


def kin_of(*texts: str) -> list[set[int]]:
    """For each row the others that are its kin."""
    kin = find_kin([texts])
    rows = np.arange(len(texts))
    return [
        {other for other in rows.tolist() if other != row and kin.touches(rows[row : row + 1], rows[[other]])} for row in rows
    ]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It's a GOOD film, isn't it?!", ("it", "s", "a", "good", "film", "isn", "t", "it")),
        ("\ufb01ne\u3000\uff57\uff49\uff44\uff45", ("fine", "wide")),  # a ligature, a wide space and wide letters
        ("良い映画 in 2024", ("良", "い", "映", "画", "in", "2024")),
        (" ... ", ("...",)),
        ("", ("",)),
    ],
)
def test_a_text_is_cut_into_words_without_case_and_punctuation(text: str, tokens: tuple[str, ...]) -> None:
    assert tokens_of(text) == tokens


def test_copies_are_kin_whatever_their_length_case_and_punctuation() -> None:
    assert kin_of("good", "Good!", "bad", "a good one") == [{1}, {0}, set(), set()]


def test_a_row_that_stands_in_another_is_its_kin_from_four_tokens_on() -> None:
    three, four = "of the film", "plot of the film"
    longer = "the thin plot of the film is told"
    apart = "the plot of a film is the film"  # the same words, not one after the other
    assert kin_of(three, four, longer, apart) == [set(), {2}, {1}, set()]


def test_a_row_of_more_than_eight_tokens_is_found_in_another_to_its_last_token() -> None:
    nine = "one two three four five six seven eight nine"
    assert kin_of(nine, f"zero {nine} ten and more words so that it is no near copy", f"{nine[:-4]} ten and other words") == [
        {1},
        {0},
        set(),
    ]


def test_near_copies_share_four_fifths_of_their_tokens_and_pairs() -> None:
    one_other = TWENTY.replace("seven ", "x ", 1)  # 19 of 20 tokens and 17 of 19 pairs: 36 of 42
    two_others = one_other.replace("twelve", "y")  # 18 and 15: 33 of 45; of the first 36 of 42
    assert kin_of(TWENTY, one_other, two_others) == [{1}, {0, 2}, {1}]


def test_pairs_are_kin_when_one_of_their_texts_is_in_whichever_column() -> None:
    firsts = ["a man plays the guitar", "two dogs run over grass", "yes", "yes"]
    seconds = ["no", "we saw a man plays the guitar", "a man plays the guitar", "no"]
    kin = find_kin([firsts, seconds])
    touched = [kin.touches(np.array([row]), np.array([0])).item() for row in (1, 2, 3)]
    assert touched == [True, True, False]  # short texts that are the same make no kin


def test_the_kin_do_not_depend_on_the_order_of_the_rows() -> None:
    texts = [" ".join(f"w{(row * 7 + place) % 90}" for place in range(4 + row % 9)) for row in range(120)]
    there, back = kin_of(*texts), kin_of(*texts[::-1])[::-1]
    assert [{119 - row for row in rows} for rows in back] == there
    assert 20 < sum(map(bool, there)) < 120


def test_lines_of_a_log_are_not_all_compared_with_all() -> None:
    lines = [TWENTY.replace("ten", f"x{number}", 1) for number in range(3 * MOST_CANDIDATES)]
    kin = find_kin([lines])
    assert len(kin.links) <= MOST_CANDIDATES * len(lines)
    rows = np.arange(len(lines))
    assert kin.touches(rows[300:], rows[:300]).all()


def test_only_near_copies_of_the_first_rows_are_looked_for_where_they_are_indexed() -> None:
    other = TWENTY.replace("seven ", "x ", 1)
    assert len(find_kin([["something else", TWENTY, other]], indexed=1).links) == 0
    assert len(find_kin([[TWENTY, other, "something else"]], indexed=1).links) == 1


def test_the_library_of_near_copies_is_imported_when_rows_are_compared_and_not_before() -> None:
    code = "import compress.tasks.reading, sys; sys.exit('datasketch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
