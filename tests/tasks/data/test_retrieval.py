"""Queries, documents and judgements in BEIR's layout and TREC's: what is read, and what is refused where."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from compress.errors import InputError
from compress.tasks.data.retrieval import Retrieval, are_judgements, read_retrieval

HEADER = "query-id\tcorpus-id\tscore\n"
CORPUS = (
    {"_id": "d1", "title": "Film", "text": "a good plot"},
    {"_id": "d2", "title": "", "text": "a dull plot"},
    {"_id": 3, "text": "no title"},
    {"_id": "d4", "title": "", "text": " "},
)
QUERIES = ({"_id": "q1", "text": "good film"}, {"_id": "2", "text": "dull film"}, {"_id": "q3", "text": "asked by nobody"})


def lines(rows: tuple[object, ...]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(
    folder: Path, qrels: str, corpus: str = lines(CORPUS), queries: str = lines(QUERIES), name: str = "qrels/dev.tsv"
) -> Retrieval:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(qrels, encoding="utf-8")
    (folder / "corpus.jsonl").write_text(corpus, encoding="utf-8")
    (folder / "queries.jsonl").write_text(queries, encoding="utf-8")
    return read_retrieval(path, path.read_bytes())


@pytest.mark.parametrize(
    ("qrels", "name"),
    [
        (HEADER + "q1\td1\t1\nq1\td2\t0\n2\t3\t2\n", "qrels/dev.tsv"),
        ("q1 0 d1 1\nq1 0 d2 -2\n2 Q0 3 2\n", "qrels/robust.qrels"),
        ("q1\t0\td1\t1\r\nq1\t0\td2\t0\r\n\r\n2\t0\t3\t2.0", "dev.tsv"),
    ],
)
def test_judgements_are_read_with_what_lies_beside_them_or_above(qrels: str, name: str, tmp_path: Path) -> None:
    collection = read(tmp_path, qrels, name=name)
    assert collection.queries == {"q1": "good film", "2": "dull film"}
    assert collection.documents == {"d1": "Film a good plot", "d2": "a dull plot", "3": "no title"}
    assert collection.relevances == {"q1": {"d1": 1.0, "d2": 0.0}, "2": {"3": 2.0}}
    assert list(collection.lines) == ["q1", "2"]


def test_a_packed_corpus_is_read_too(tmp_path: Path) -> None:
    read(tmp_path, HEADER + "q1\td1\t1\n")
    (tmp_path / "corpus.jsonl").rename(tmp_path / "plain")
    (tmp_path / "corpus.jsonl.gz").write_bytes(gzip.compress((tmp_path / "plain").read_bytes()))
    path = tmp_path / "qrels" / "dev.tsv"
    assert len(read_retrieval(path, path.read_bytes()).documents) == 3


def test_judgements_are_told_from_tables() -> None:
    assert are_judgements(HEADER.encode())
    assert are_judgements(b"\xef\xbb\xbfquery-id\tcorpus-id\tscore\r\n")
    assert are_judgements(b"q1 0 d1 1\n")
    assert not are_judgements(b"query\tpassage\tlabel\n")
    assert not are_judgements(b"text\tlabel\na film\t1\n")
    assert not are_judgements(b"a\tb\tc\td\n")


@pytest.mark.parametrize(
    ("qrels", "said"),
    [
        (HEADER + "q1\td9\t1\n", "line 2 names document 'd9', which corpus.jsonl does not have"),
        (HEADER + "q1\td1\t1\nq9\td1\t1\n", "line 3 names query 'q9', which queries.jsonl does not have"),
        (HEADER + "q1\td4\t1\n", "line 2 names document 'd4', which has no text in corpus.jsonl"),
        (HEADER + "q1\td1\tyes\n", "line 2, column 'score' is 'yes', no whole number"),
        (HEADER + "q1\td1\tnan\n", "line 2, column 'score' is 'nan', no whole number"),
        (HEADER + "q1\td1\t0.5\n", "line 2, column 'score' is '0.5', no whole number"),
        (HEADER + "q1\td1\n", "line 2 has 2 columns, not 3"),
        (HEADER + "q1\t\t1\n", "line 2 has 2 columns, not 3"),
        ("q1 0 d1 1\nq1 d1 1\n", "line 2 has 3 columns, not 4"),
        (
            HEADER + "q1\td1\t1\nq1\td2\t1\nq1\td1\t2\n",
            "line 4 gives document 'd1' relevance 2 for query 'q1', but line 2 gives 1",
        ),
        (HEADER, "has no judgements; give a header query-id corpus-id score"),
    ],
)
def test_judgements_that_cannot_be_used_are_refused_with_their_line(qrels: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read(tmp_path, qrels)


@pytest.mark.parametrize(
    ("corpus", "said"),
    [
        (lines((*CORPUS, CORPUS[0])), r"corpus.jsonl[\s\S]*line 5, column '_id' is 'd1', which line 1 has too"),
        (lines(({"_id": None, "text": "a"},)), "line 1, column '_id' is no id"),
        (lines(({"_id": True, "text": "a"},)), "line 1, column '_id' is no id"),
        (lines(({"_id": "a", "text": 4},)), "line 1, column 'text' is no text: 4"),
        (lines(({"_id": "a", "title": [], "text": "b"},)), "line 1, column 'title' is no text"),
        (lines(({"id": "a", "text": "b"},)), "corpus.jsonl has no '_id'; each line is an object with _id and text"),
        ("{", "line 1 is no JSON"),
    ],
)
def test_a_corpus_that_cannot_be_used_is_refused_with_its_line(corpus: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read(tmp_path, HEADER + "q1\td1\t1\n", corpus=corpus)


def test_a_query_that_is_there_twice_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"queries.jsonl[\s\S]*line 4, column '_id' is 'q1', which line 1 has too"):
        read(tmp_path, HEADER + "q1\td1\t1\n", queries=lines((*QUERIES, {"_id": "q1", "text": "another"})))
    with pytest.raises(InputError, match=r"line 2 names query 'q4', which has no text in queries\.jsonl"):
        read(tmp_path, HEADER + "q4\td1\t1\n", queries=lines(({"_id": "q4", "text": ""},)))


def test_what_should_lie_beside_the_judgements_is_named(tmp_path: Path) -> None:
    path = tmp_path / "qrels" / "dev.tsv"
    path.parent.mkdir()
    path.write_text(HEADER + "q1\td1\t1\n", encoding="utf-8")
    with pytest.raises(InputError, match=rf"there is no corpus.jsonl in {tmp_path}/qrels or {tmp_path}; put it there"):
        read_retrieval(path, path.read_bytes())
