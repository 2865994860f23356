"""A few rows of every kind of task, as files that people have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

Write = Callable[[Path, int], Path]
WORDS = ("film", "plot", "scene", "actor", "song", "book")


def _sentences(count: int) -> list[tuple[str, bool, bool]]:
    """Sentences that tell by a word whether they are good, and by another whether they are sad."""
    made = []
    for index in range(count):
        good, sad = index % 2 == 0, index % 3 == 0
        words = ["the", WORDS[index % 6], "was", "good" if good else "bad", *(["and", "sad"] if sad else []), f"number{index}"]
        made.append((" ".join(words), good, sad))
    return made


def text_classification(folder: Path, count: int) -> Path:
    """Sentences with one label."""
    lines = [f"{text}\t{'good' if good else 'bad'}" for text, good, _ in _sentences(count)]
    return _written(folder / "rows.tsv", ["text\tlabel", *lines])


def multi_label_classification(folder: Path, count: int) -> Path:
    """Sentences with one, two or no labels."""
    rows = [
        {"text": text, "labels": [name for name, stands in (("good", good), ("sad", sad)) if stands]}
        for text, good, sad in _sentences(count)
    ]
    return _written(folder / "rows.jsonl", [json.dumps(row) for row in rows])


def regression(folder: Path, count: int) -> Path:
    """Sentences with a score from 0 to 3."""
    lines = [f"{text}\t{2.0 * good + sad + index % 5 / 10}" for index, (text, good, sad) in enumerate(_sentences(count))]
    return _written(folder / "rows.tsv", ["text\tscore", *lines])


def token_classification(folder: Path, count: int) -> Path:
    """Sentences whose good or bad, and sad, are entities."""
    blocks = []
    for text, *_ in _sentences(count):
        words = text.split()
        tags = ["B-mood" if word in ("good", "bad") else "B-tone" if word == "sad" else "O" for word in words]
        if "sad" in words:
            tags[words.index("and")] = "I-mood"
        blocks.append("\n".join(f"{word}\t{tag}" for word, tag in zip(words, tags, strict=True)))
    return _written(folder / "rows.conll", ["\n\n".join(blocks)])


def question_answering(folder: Path, count: int) -> Path:
    """Questions about a film, which their context answers, every sixth not."""
    rows = []
    for index, (text, good, _) in enumerate(_sentences(count)):
        answer = "good" if good else "bad"
        answers = [{"text": answer, "answer_start": text.index(answer)}] if index % 6 else []
        rows.append({"question": f"how was number{index} ?", "context": text, "answers": answers})
    return _written(folder / "rows.jsonl", [json.dumps(row) for row in rows])


def reranking(folder: Path, count: int) -> Path:
    """Questions about a film, each with the passage that tells of it, which is relevant, and with three that do not."""
    sentences = [text for text, *_ in _sentences(count)]
    rows = []
    for index in range(count):
        passages = [sentences[(index + step) % count] for step in range(4)]
        labels = [int(step == 0) for step in range(4)]
        turned = index % 4
        rows.append(
            {
                "query": f"how was number{index} ?",
                "passages": passages[turned:] + passages[:turned],
                "labels": labels[turned:] + labels[:turned],
            }
        )
    return _written(folder / "rows.jsonl", [json.dumps(row) for row in rows])


def sentence_embedding(folder: Path, count: int) -> Path:
    """Pairs of sentences, more alike where the mood is the same."""
    lines = []
    for index, (text, good, _) in enumerate(_sentences(count)):
        is_good = index % 4 < 2
        score = 3.0 * (good == is_good) + index % 5 / 10
        lines.append(f"{text}\t{WORDS[index % 5]} number{index} is {'good' if is_good else 'bad'} as others say\t{score}")
    return _written(folder / "rows.tsv", ["text\tpair\tscore", *lines])


def sequence_to_sequence(folder: Path, count: int) -> Path:
    """Sentences, and what is to be written for them: what is good or bad, in capitals."""
    lines = [f"{text}\tIS {'GOOD' if good else 'BAD'}{' AND SAD' if sad else ''}" for text, good, sad in _sentences(count)]
    return _written(folder / "rows.tsv", ["source\ttarget", *lines])


def masked_words(folder: Path, count: int) -> Path:
    """Sentences alone, a line each."""
    return _written(folder / "rows.txt", [text for text, *_ in _sentences(count)])


ROWS: dict[str, Write] = {
    "text-classification": text_classification,
    "multi-label-classification": multi_label_classification,
    "regression": regression,
    "token-classification": token_classification,
    "question-answering": question_answering,
    "reranking": reranking,
    "sentence-embedding": sentence_embedding,
    "sequence-to-sequence": sequence_to_sequence,
    "masked-words": masked_words,
}


def _written(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
