"""Queries with their passages: the shapes that files have, and what is refused with its line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from compress.errors import InputError
from compress.tasks.data import ranked
from compress.tasks.data.ranked import Candidates
from compress.tasks.data.rows import Rows
from compress.tasks.kind import load_kind, read_rows

KIND = load_kind("reranking")
NO_COLUMNS: Mapping[str, str] = {}
GOOD, DULL, THIN = "a good film", "a dull film", "a thin plot"


def read(folder: Path, text: str, name: str = "rows.jsonl", columns: Mapping[str, str] = NO_COLUMNS) -> Rows:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_rows(KIND, path, columns)


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


WHOLE = Candidates((GOOD, DULL, THIN), (1.0, 0.0, 0.0), None)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("rows.jsonl", lines({"query": "which?", "passages": [GOOD, DULL, THIN], "labels": [1, 0, 0]})),
        ("rows.jsonl", lines({"query": "which?", "documents": [GOOD, DULL, THIN], "relevance": [True, False, "0"]})),
        ("rows.jsonl", lines({"query": "which?", "positive": GOOD, "negative": [DULL, THIN]})),
        ("rows.jsonl", lines({"query": "which?", "pos": [GOOD], "neg": [DULL, THIN]})),
        ("rows.jsonl", lines(*({"anchor": "which?", "positive": GOOD, "negative": other} for other in (DULL, THIN)))),
        ("rows.jsonl", lines({"question": "which?", "positive": GOOD, "negative_1": DULL, "negative_2": THIN})),
        ("rows.tsv", f"query\tpassage\tlabel\nwhich?\t{GOOD}\t1\nwhich?\t{DULL}\t0\nwhich?\t{THIN}\t0\n"),
        ("rows.csv", f"query,document,score\nwhich?,{GOOD},1.0\n which?,{DULL},0.0\nwhich?,{THIN},0\n"),
        ("rows.tsv", f'query\tpassages\tlabels\nwhich?\t["{GOOD}", "{DULL}", "{THIN}"]\t[1, 0, 0]\n'),
    ],
)
def test_shapes_that_say_the_same_are_read_alike(name: str, text: str, tmp_path: Path) -> None:
    rows = read(tmp_path, text, name)
    assert rows.texts == ("which?",)
    assert rows.pairs is None
    assert rows.labels == (WHOLE,)


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    text = f"claim id\twords\tgold\nwhich?\t{GOOD}\t2\nwhich?\t{DULL}\t1\nhow?\t{THIN}\t1\nhow?\t{GOOD}\t0\n"
    rows = read(tmp_path, text, "rows.tsv", {"text": "claim id", "pair": "words", "label": "gold"})
    assert rows.lines == (2, 4)
    assert rows.labels == (Candidates((GOOD, DULL), (2.0, 1.0), None), Candidates((THIN, GOOD), (1.0, 0.0), None))


def test_numbers_that_are_no_grades_are_another_model_s_scores(tmp_path: Path) -> None:
    rows = read(tmp_path, lines({"query": "which?", "passages": [GOOD, DULL, THIN], "scores": [7.5, -1.25, 2]}))
    assert rows.labels == (Candidates((GOOD, DULL, THIN), (1.0, 0.0, 0.0), (7.5, -1.25, 2.0)),)
    both = {"query": "which?", "passages": [GOOD, DULL], "labels": [0, 1], "scores": [0.5, 0.25]}
    assert read(tmp_path, lines(both)).labels == (Candidates((GOOD, DULL), (0.0, 1.0), (0.5, 0.25)),)
    signed = {"query": "which?", "pos": [GOOD], "neg": [DULL], "pos_scores": [0.9], "neg_scores": [0.2]}
    assert read(tmp_path, lines(signed)).labels == (Candidates((GOOD, DULL), (1.0, 0.0), (0.9, 0.2)),)


def beir(folder: Path, qrels: str) -> Path:
    corpus = [("d1", GOOD), ("d2", DULL), ("d3", THIN), ("d4", GOOD), ("d5", "nothing like it")]
    (folder / "corpus.jsonl").write_text(lines(*({"_id": name, "text": text} for name, text in corpus)), encoding="utf-8")
    queries = [("q1", "a thin film"), ("q2", "good"), ("q3", "good")]
    (folder / "queries.jsonl").write_text(lines(*({"_id": name, "text": text} for name, text in queries)), encoding="utf-8")
    path = folder / "dev.tsv"
    path.write_text(qrels, encoding="utf-8")
    return path


def test_judgements_get_candidates_by_bm25_each_text_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranked, "CANDIDATES", 2)
    path = beir(tmp_path, "query-id\tcorpus-id\tscore\nq1\td5\t1\nq1\td3\t0\nq2\td4\t1\nq3\td2\t2\nq3\td1\t0\n")
    rows = read_rows(KIND, path, {})
    assert rows.lines == (2, 4)
    assert rows.labels[0] == Candidates(("nothing like it", THIN, GOOD), (1.0, 0.0, 0.0), None)
    assert rows.texts == ("a thin film", "good")  # asked as q2 and q3
    assert dict(zip(rows.labels[1].passages, rows.labels[1].relevances, strict=True)) == {GOOD: 1.0, DULL: 2.0}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"query": "", "passages": [GOOD, DULL], "labels": [1, 0]}, "line 1, column 'query' is empty or no text: ''"),
        ({"query": 4, "passages": [GOOD, DULL], "labels": [1, 0]}, "line 1, column 'query' is empty or no text: 4"),
        ({"query": None, "passages": [GOOD, DULL], "labels": [1, 0]}, "column 'query' is empty or no text: None"),
        ({"query": "a", "passages": [], "labels": []}, "line 1, column 'passages' is an empty list"),
        ({"query": "a", "passages": [GOOD, " "], "labels": [1, 0]}, "line 1, column 'passages' holds a passage that is empty"),
        (
            {"query": "a", "passages": [GOOD, 3], "labels": [1, 0]},
            "column 'passages' holds a passage that is empty or no text: 3",
        ),
        ({"query": "a", "passages": {"a": 1}, "labels": [1]}, "holds a passage that is empty or no text: {'a': 1}"),
        (
            {"query": "a", "passages": [GOOD, DULL], "labels": [1]},
            "column 'labels' has 1 entries for 2 passages in 'passages'",
        ),
        ({"query": "a", "passages": [GOOD, DULL], "labels": 1}, "column 'labels' has 1 entries for 2 passages"),
        ({"query": "a", "passages": [GOOD, DULL], "labels": [1, "no"]}, "column 'labels' is no finite number: 'no'"),
        ({"query": "a", "passages": [GOOD, DULL], "labels": [1, None]}, "column 'labels' is no finite number: None"),
        ({"query": "a", "passages": [GOOD, DULL], "labels": [1, "nan"]}, "column 'labels' is no finite number: 'nan'"),
        ({"query": "a", "passages": [GOOD, DULL], "scores": [1, "inf"]}, "column 'scores' is no finite number: 'inf'"),
        (
            {"query": "a", "passages": [GOOD, GOOD], "labels": [1, 0]},
            "holds a passage that this row has already: 'a good film'",
        ),
        (
            {"query": "a", "passages": [GOOD, DULL], "labels": [0, 0]},
            "line 1 begins a query none of whose 2 passages is relevant",
        ),
        (
            {"query": "a", "passages": [GOOD, DULL], "labels": [1, 1]},
            "line 1 begins a query whose 2 passages are all as relevant",
        ),
        ({"query": "a", "passages": [GOOD], "labels": [1]}, "line 1 begins a query whose only passage is relevant"),
        (
            {"query": "a", "passages": [GOOD, DULL], "scores": [0.5, 0.5]},
            "begins a query whose 2 passages are all as relevant",
        ),
        ({"query": "a", "positive": [GOOD], "negative": [GOOD]}, "'negative' holds a passage that this row has already"),
        ({"query": "a", "positive": [GOOD], "negative": []}, "column 'negative' is an empty list"),
        (
            {"query": "a", "positive": None, "negative": [GOOD]},
            "column 'positive' holds a passage that is empty or no text: None",
        ),
        (
            {"query": "a", "pos": [GOOD], "neg": [DULL], "pos_scores": [1.5]},
            "1 of 2 passages have a score; give one to all, or to none",
        ),
        (
            {"query": "a", "passages": [GOOD, DULL], "labels": [0.5, 0], "scores": [1.5, 2]},
            "line 1 has the label 0.5 beside scores; give whole numbers",
        ),
    ],
)
def test_rows_that_cannot_be_used_are_refused_with_their_line(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read(tmp_path, lines(row))


def test_rows_that_say_different_things_of_a_passage_are_refused(tmp_path: Path) -> None:
    rows = lines({"query": "a", "positive": GOOD, "negative": DULL}, {"query": "a", "positive": THIN, "negative": GOOD})
    with pytest.raises(
        InputError, match="line 2, column 'negative' gives 0 to a passage to which line 1 gives 1, for the same query: 'a good"
    ):
        read(tmp_path, rows)


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("query\tpassage\nwhich?\tit\n", "rows.tsv", "name the column of the labels with data.label; it has: query, passage"),
        ("passage\tlabel\nit\t1\n", "rows.tsv", "name the column of the query with data.text; it has: passage, label"),
        ("query\tlabel\nit\t1\n", "rows.tsv", "name the column of the passages with data.pair; it has: query, label"),
        ("query\tpositive\nit\ta\n", "rows.tsv", r"has the columns query, positive; allowed: query with passages and labels"),
        ("query\tpassage\tlabel\n", "rows.tsv", "has no rows"),
        ("q1 0 d1 1\n", "rows.qrels", "holds judgements, but there is no corpus.jsonl in"),
        ("which film was it?\n", "rows.txt", "there is no corpus.jsonl in"),
        ("[]", "rows.json", "has no rows"),
    ],
)
def test_files_of_another_shape_are_refused(text: str, name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read(tmp_path, text, name)


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    row = lines({"query": "a", "passages": [GOOD, DULL], "labels": [1, 0]})
    for role in ("text", "pair", "label"):
        with pytest.raises(InputError, match=rf"has no column 'other' \(data.{role}\); it has: query, passages, labels"):
            read(tmp_path, row, columns={role: "other"})


def test_a_query_without_anything_relevant_among_judgements_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 3 begins a query none of whose 4 passages is relevant"):
        read_rows(KIND, beir(tmp_path, "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t0\n"), {})
