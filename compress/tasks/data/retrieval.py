"""Queries, documents and which of them are relevant: the layout of BEIR, and judgements as TREC writes them.

Source: Thakur et al. 2021, BEIR, arXiv 2104.08663 (corpus.jsonl, queries.jsonl, qrels/*.tsv); trec_eval, whose qrels have four
columns: query, iteration, document, relevance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.errors import InputError, shown
from compress.tasks.data.characters import decoded, text_lines
from compress.tasks.data.files import open_table
from compress.tasks.data.mistakes import Mistakes
from compress.tasks.data.packing import PACKED, ZIP

HEADER = ("query-id", "corpus-id", "score")
TREC_COLUMNS = 4
CORPUS, QUERIES = "corpus.jsonl", "queries.jsonl"
ID, TITLE, TEXT = "_id", "title", "text"
SHAPE = f"a header {' '.join(HEADER)} with lines of three columns, or lines of TREC's four (query, 0, document, relevance)"


@dataclass(frozen=True)
class Retrieval:
    """Queries that are judged, and all documents.

    Args:
        source: The file of the judgements.
        queries: Texts by id, of those that are judged alone, in the order of their first judgements.
        documents: Texts by id, title and text in one, in the order of the corpus; those without any text are left out.
        relevances: For each query the relevance of each document that is judged for it; 0 is not relevant.
        lines: Of each query the line of its first judgement.
    """

    source: str
    queries: Mapping[str, str]
    documents: Mapping[str, str]
    relevances: Mapping[str, Mapping[str, float]]
    lines: Mapping[str, int]


def are_judgements(content: bytes) -> bool:
    """Whether a table's first line is that of judgements: BEIR's header, or TREC's four columns, the last a whole number."""
    fields = content[:4096].decode("utf-8-sig", "replace").partition("\n")[0].split()
    return tuple(fields) == HEADER or (len(fields) == TREC_COLUMNS and _whole(fields[-1]) is not None)


def read_retrieval(path: Path, content: bytes) -> Retrieval:
    """Read judgements, and the corpus and the queries that lie beside them or in the folder above.

    A relevance below 0, as TREC gives to spam, counts as 0. Where a pair is judged twice alike, it counts once.

    Args:
        path: Of the judgements: X/qrels/train.tsv or X/train.tsv, where X has corpus.jsonl and queries.jsonl, packed or not.
        content: What it holds.

    Raises:
        InputError: A file is missing, rows cannot be used, or judgements name what is not there; the first ten are named.
    """
    texts = {name: _texts(_beside(path, name), name == CORPUS) for name in (CORPUS, QUERIES)}
    mistakes = Mistakes(str(path))
    relevances: dict[str, dict[str, float]] = {}
    lines: dict[str, int] = {}
    first: dict[tuple[str, str], int] = {}
    for line, fields in _judgements(path, content, mistakes):
        query, document, relevance = fields
        what = _not_there(texts, query, document)
        if what:
            mistakes.add(line, None, what)
            continue
        given = relevances.setdefault(query, {}).setdefault(document, relevance)
        if given != relevance:
            said = f"gives document {shown(document)} relevance {relevance:g} for query {shown(query)}"
            mistakes.add(line, None, f"{said}, but line {first[query, document]} gives {given:g}")
        first.setdefault((query, document), line)
        lines.setdefault(query, line)
    mistakes.tell()
    if not relevances:
        raise InputError(f"data file {path} has no judgements; give {SHAPE}.")
    documents = {number: text for number, text in texts[CORPUS].items() if text}
    return Retrieval(str(path), {query: texts[QUERIES][query] for query in relevances}, documents, relevances, lines)


def _not_there(texts: Mapping[str, Mapping[str, str]], query: str, document: str) -> str | None:
    for what, number, name in (("query", query, QUERIES), ("document", document, CORPUS)):
        text = texts[name].get(number)
        if text is None:
            return f"names {what} {shown(number)}, which {name} does not have"
        if not text:
            return f"names {what} {shown(number)}, which has no text in {name}"
    return None


def _judgements(path: Path, content: bytes, mistakes: Mistakes) -> list[tuple[int, tuple[str, str, float]]]:
    """The lines with their query, document and relevance."""
    read: list[tuple[int, tuple[str, str, float]]] = []
    places, width = (0, 2, 3), TREC_COLUMNS
    for line, written in enumerate(text_lines(decoded(path, content)), 1):
        fields = written.split("\t") if "\t" in written else written.split()
        fields = [field.strip() for field in fields]
        if not any(fields):
            continue
        if tuple(fields) == HEADER and not read:
            places, width = (0, 1, 2), len(HEADER)
            continue
        if len(fields) != width or not all(fields):
            mistakes.add(line, None, f"has {len(list(filter(None, fields)))} columns, not {width}; allowed: {SHAPE}")
            continue
        query, document, score = (fields[place] for place in places)
        relevance = _whole(score)
        if relevance is None:
            mistakes.add(line, HEADER[-1], f"is {shown(score)}, no whole number")
            continue
        read.append((line, (query, document, max(0.0, relevance))))
    return read


def _whole(text: str) -> float | None:
    """The whole number that is written; None where it is none."""
    try:
        number = float(text) if text.isascii() else None
    except ValueError:
        return None
    return number if number is not None and number.is_integer() and abs(number) < 1 << 24 else None


def _beside(path: Path, name: str) -> Path:
    """The file of this name in the folder of the judgements, or in the one above."""
    names = [name, *(name + ending for ending in PACKED if ending != ZIP)]
    folders = [path.parent, path.parent.parent] if path.parent != path.parent.parent else [path.parent]
    candidates = [folder / other for folder in folders for other in names]
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None:
        where = " or ".join(str(folder) for folder in folders)
        raise InputError(
            f"data file {path} holds judgements, but there is no {name} in {where}; put it there, as BEIR's data sets have it "
            f"(a line for each: {ID}, {TEXT}{f', {TITLE}' if name == CORPUS else ''})."
        )
    return file


def _texts(path: Path, has_titles: bool) -> dict[str, str]:
    """Texts by id, with the title before each where there is one; empty where there is none."""
    table = open_table(path)
    missing = [name for name in (ID, TEXT) if name not in table.names]
    if missing:
        table.mistakes.tell()
        raise InputError(f"{path} has no {missing[0]!r}; each line is an object with {ID} and {TEXT}, as in BEIR's data sets.")
    wanted = [ID, TEXT, *([TITLE] if has_titles and TITLE in table.names else [])]
    lines, (ids, texts, *titles) = table.take(wanted)
    whole: dict[str, str] = {}
    stands_in: dict[str, int] = {}
    for row, (line, number, text) in enumerate(zip(lines, ids, texts, strict=True)):
        title = titles[0][row] if titles else ""
        key = _checked_id(line, number, table.mistakes)
        wrong = next((name for name, value in ((TEXT, text), (TITLE, title)) if not isinstance(value, str | None)), None)
        if wrong:
            table.mistakes.add(line, wrong, f"is no text: {shown(text if wrong == TEXT else title)}")
        elif key in stands_in:
            table.mistakes.add(line, ID, f"is {shown(key)}, which {table.mistakes.unit} {stands_in[key]} has too")
        elif key is not None:
            stands_in[key] = line
            whole[key] = _joined([title, text])
    table.mistakes.tell()
    return whole


def _checked_id(line: int, number: Any, mistakes: Mistakes) -> str | None:
    """An id as text; None, with what is wrong noted, where it is none."""
    if isinstance(number, bool) or not isinstance(number, str | int) or not str(number).strip():
        mistakes.add(line, ID, f"is no id, a text or a whole number: {shown(number)}")
        return None
    return str(number).strip()


def _joined(parts: Sequence[str | None]) -> str:
    return " ".join(part.strip() for part in parts if part and part.strip())
