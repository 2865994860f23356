"""What is told of a stranger's data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compress.errors import InputError
from compress.tasks import TASKS
from compress.tasks.looking import look_at
from tests.tasks.kinds import ROWS

UNCERTAIN = {
    "sentence-embedding": "regression or sentence-embedding",
    "masked-words": "sentence-embedding or masked-words",
}
"""Pairs with a score, and texts alone: two kinds have such data."""


@pytest.mark.parametrize("kind", TASKS)
def test_the_kind_is_told_where_only_one_can_be_meant(kind: str, tmp_path: Path) -> None:
    data = {"train": str(ROWS[kind](tmp_path, 60))}
    if kind in UNCERTAIN:
        with pytest.raises(InputError, match=f"can be meant for {UNCERTAIN[kind]}; tell which with --kind"):
            look_at(data)
    facts = look_at(data, kind if kind in UNCERTAIN else None)
    assert (facts.kind, facts.rows, facts.validation) == (kind, 60, None)


def test_labels_pairs_rows_and_words_are_counted(tmp_path: Path) -> None:
    lines = ["text\tpair\tlabel", *(f"{'word ' * (number + 1)}\tb c\t{'yes' if number % 2 else 'no'}" for number in range(21))]
    for name in ("train.tsv", "held.tsv"):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    facts = look_at({"train": str(tmp_path / "train.tsv"), "validation": str(tmp_path / "held.tsv")})
    assert (facts.rows, facts.validation, facts.labels, facts.pairs) == (21, 21, ("no", "yes"), True)
    assert facts.words == (11 + 2, 20 + 2)  # of 1 to 21 words and 2 of the pair: the middle, and the 95th percentile


def test_words_of_a_longest_passage_count_with_those_of_its_query(tmp_path: Path) -> None:
    rows = [{"query": f"who is {n}", "passages": [f"one {n}", "two words more here"], "labels": [1, 0]} for n in range(20)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    assert look_at({"train": str(tmp_path / "rows.jsonl")}).words == (3 + 4, 3 + 4)


@pytest.mark.parametrize(
    ("labels", "kinds"),
    [
        (["0", "1"], {"text-classification"}),
        (["1", "2", "3"], {"text-classification", "regression"}),
        (["0.5", "1.25", "2.75"], {"text-classification", "regression"}),
    ],
)
def test_numbers_may_be_labels_or_scores(labels: list[str], kinds: set[str], tmp_path: Path) -> None:
    lines = ["text\tlabel", *(f"a film number{number}\t{labels[number % len(labels)]}" for number in range(30))]
    (tmp_path / "rows.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if len(kinds) == 1:
        assert {look_at({"train": str(tmp_path / "rows.tsv")}).kind} == kinds
        return
    with pytest.raises(InputError, match="can be meant for") as raised:
        look_at({"train": str(tmp_path / "rows.tsv")})
    assert all(kind in str(raised.value) for kind in kinds)


def test_a_known_name_tells_its_kind_unless_two_kinds_know_it() -> None:
    assert look_at("tweets").kind == "text-classification"
    with pytest.raises(
        InputError, match="--kind is missing, which 'stsb' does not tell; give regression or sentence-embedding"
    ):
        look_at("stsb")


@pytest.mark.parametrize(
    ("data", "kind", "said"),
    [
        ("nonesuch", None, "data 'nonesuch' is unknown"),
        ("owner/name", None, "--kind is missing, which 'owner/name' does not tell"),
        ("tweets", "poetry", "--kind is 'poetry'; allowed: text-classification"),
        ({"train": "nowhere.tsv"}, None, "nowhere.tsv does not exist"),
    ],
)
def test_what_cannot_be_looked_at_is_said(data: str | dict[str, str], kind: str | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        look_at(data, kind)
