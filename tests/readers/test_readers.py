"""What each kind's reader makes of a folder whose outputs follow from a table of numbers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.errors import InputError
from compress.readers import READERS, reader_of
from compress.readers.cutting import MOST_CHARACTERS, TextTooLong
from compress.readers.folder import read_folder
from compress.readers.reader import Cut, Item, Reader
from compress.runtimes.question_reader import QuestionReader
from compress.runtimes.runtime import LOGITS
from compress.runtimes.tokenizer_file import padded
from compress.tasks import TASKS
from tests.serving.folders import (
    LABELS,
    LONGEST,
    PIECES,
    make_folder,
    make_folder_of_tasks,
    mean_of,
    rows_of,
    table_for,
    tokenizer,
)
from tests.serving.folders import (
    TASKS as OF_FILE,
)

TEXT = "the film was very good"


def answered(path: Path, *items: Item, cut: Cut | None = None) -> list[Any]:
    """The answers to items whose pieces are all run in one batch, the last ones first."""
    folder = read_folder(path)
    reader = reader_of(folder)
    pieces = [reader.pieces(item, cut or Cut()) for item in items]
    batch = [(own, number) for own in range(len(items)) for number in range(len(pieces[own]))][::-1]
    outputs = folder.open(threads=1).run(padded([pieces[own][number] for own, number in batch]))[LOGITS]
    reduced: list[dict[int, Any]] = [{} for _ in items]
    for (own, number), rows in zip(batch, outputs, strict=True):
        reduced[own][number] = reader.reduce(pieces[own][number], rows)
    return [
        reader.answer(item, pieces[own], [reduced[own][number] for number in range(len(pieces[own]))])
        for own, item in enumerate(items)
    ]


def sigmoid(number: float) -> float:
    """By hand."""
    return 1 / (1 + math.exp(-number))


def test_every_kind_of_task_has_a_reader_in_a_file_of_its_own() -> None:
    assert list(READERS) == list(TASKS)
    assert all(module == f"compress.readers.{kind.replace('-', '_')}" for kind, module in READERS.items())


def test_a_label_has_the_softmax_of_the_logits(tmp_path: Path) -> None:
    first, second = answered(make_folder(tmp_path / "m", "text-classification"), Item(TEXT), Item("a plot", "sad"))
    for answer, logits in (
        (first, mean_of("text-classification", TEXT)),
        (second, mean_of("text-classification", "a plot", "sad")),
    ):
        wanted = [1 / (1 + math.exp(logits[1] - logits[0])), 1 / (1 + math.exp(logits[0] - logits[1]))]
        assert list(answer["scores"].values()) == pytest.approx(wanted, abs=1e-6)
        assert answer["label"] == ("bad", "good")[int(np.argmax(wanted))]
        assert answer["score"] == pytest.approx(max(wanted), abs=1e-6)


def test_none_is_answered_below_the_folders_threshold(tmp_path: Path) -> None:
    [sure] = answered(make_folder(tmp_path / "a", "text-classification", settled=[0.5]), Item(TEXT))
    [unsure] = answered(make_folder(tmp_path / "b", "text-classification", settled=[0.9999]), Item(TEXT))
    assert sure["label"] in LABELS["text-classification"]
    assert unsure["label"] is None
    assert unsure["score"] == sure["score"]


def test_labels_stand_above_their_own_thresholds(tmp_path: Path) -> None:
    scores = [sigmoid(number) for number in mean_of("multi-label-classification", TEXT)]
    thresholds = [scores[0] - 1e-4, scores[1] + 1e-4, scores[2] - 1e-4]
    [answer] = answered(make_folder(tmp_path / "m", "multi-label-classification", settled=thresholds), Item(TEXT))
    assert answer["labels"] == ["good", "long"]
    assert list(answer["scores"].values()) == pytest.approx(scores, abs=1e-6)
    [usual] = answered(make_folder(tmp_path / "n", "multi-label-classification"), Item(TEXT))
    assert usual["labels"] == [
        name for name, score in zip(LABELS["multi-label-classification"], scores, strict=True) if score > 0.5
    ]


def test_a_score_is_the_number_itself(tmp_path: Path) -> None:
    [answer] = answered(make_folder(tmp_path / "m", "regression"), Item(TEXT))
    assert answer["score"] == pytest.approx(float(mean_of("regression", TEXT)[0]), abs=1e-6)


@pytest.mark.parametrize(
    ("stated", "is_sigmoid"), [({}, True), ({"activation_fn": "torch.nn.modules.linear.Identity"}, False)]
)
def test_a_passage_has_the_score_that_the_folder_states(stated: dict[str, str], is_sigmoid: bool, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "reranking", config={"sentence_transformers": stated} if stated else None)
    [answer] = answered(folder, Item("how was it", TEXT))
    logit = float(mean_of("reranking", "how was it", TEXT)[0])
    assert answer["score"] == pytest.approx(sigmoid(logit) if is_sigmoid else logit, abs=1e-6)


def test_vectors_are_the_files_and_pairs_have_their_cosine(tmp_path: Path) -> None:
    alone, pair = answered(make_folder(tmp_path / "m", "sentence-embedding"), Item(TEXT), Item(TEXT, "a sad plot"))
    first, second = mean_of("sentence-embedding", TEXT), mean_of("sentence-embedding", "a sad plot")
    assert alone["vector"] == pytest.approx(first.tolist(), abs=1e-6)
    assert pair["similarity"] == pytest.approx(
        float(first @ second / np.linalg.norm(first) / np.linalg.norm(second)), abs=1e-6
    )


def test_prompts_stand_before_texts(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "sentence-embedding")
    settings = {"prompts": {"query": "how ", "passage": "it "}, "default_prompt_name": "passage"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings), encoding="utf-8")
    asked, usual = answered(folder, Item(TEXT, prompt="query"), Item(TEXT))
    assert asked["vector"] == pytest.approx(mean_of("sentence-embedding", f"how {TEXT}").tolist(), abs=1e-6)
    assert usual["vector"] == pytest.approx(mean_of("sentence-embedding", f"it {TEXT}").tolist(), abs=1e-6)
    settings["default_prompt_name"] = "none"
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(InputError, match="default_prompt_name is 'none'"):
        reader_of(read_folder(folder))


def spans_by_hand(text: str) -> list[tuple[str, str, int, int]]:
    """Entities of a text of known words: B- begins one, I- of its type goes on."""
    labels, spans, at = LABELS["token-classification"], list[tuple[str, str, int, int]](), 0
    before = "O"
    for word in text.split():
        start = text.index(word, at)
        at = start + len(word)
        tag = labels[int(table_for("token-classification")[PIECES.index(word)].argmax())]
        if tag.startswith("B-"):
            spans.append((tag[2:], text[start:at], start, at))
        elif tag.startswith("I-") and before != "O":
            kind, _, first, _ = spans.pop()
            spans.append((kind, text[first:at], first, at))
        else:
            tag = "O"
        before = tag
    return spans


@pytest.mark.parametrize("times", [1, 9])
def test_entities_stand_where_they_do_in_texts_of_any_length(times: int, tmp_path: Path) -> None:
    text = "  " + " ".join(["the film was very good and  ada lovelace is a sad plot how bad"] * times)
    folder = make_folder(tmp_path / "m", "token-classification")
    [answer] = answered(folder, Item(text))
    assert [(span["label"], span["text"], span["start"], span["end"]) for span in answer["spans"]] == spans_by_hand(text)
    assert len(answer["spans"]) >= times
    assert all(text[span["start"] : span["end"]] == span["text"] for span in answer["spans"])
    room = LONGEST - 2  # of which a quarter, 3 words, is shared
    windows = 1 + math.ceil((14 * times - room) / (room - 3))
    assert len(reader_of(read_folder(folder)).pieces(Item(text), Cut())) == windows


def test_words_have_their_tags_where_labels_tell_no_entities(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "token-classification", labels=["noun", "verb", "other"])
    [answer] = answered(folder, Item("the film was"))
    rows = rows_of("token-classification", "the film was")[1:-1]
    assert [span["label"] for span in answer["spans"]] == [("noun", "verb", "other")[row.argmax()] for row in rows]
    powers = np.exp(rows.astype(np.float64))
    assert [span["score"] for span in answer["spans"]] == pytest.approx((powers.max(1) / powers.sum(1)).tolist(), abs=1e-6)


@pytest.mark.parametrize("threshold", [[], [-100.0]])
def test_a_question_is_answered_as_by_the_reader_of_one_question(threshold: list[float], tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "question-answering", settled=threshold)
    text = "the film was very good and the plot is sad a bad film is it how very sad"
    [answer] = answered(folder, Item("how was it", text))
    wanted = QuestionReader(folder, threads=1).answer("how was it", text)
    assert (wanted is None) == bool(threshold)
    if wanted is None:
        assert answer == {"answer": None, "start": None, "end": None, "score": None}
    else:
        assert (answer["answer"], answer["start"], answer["end"]) == wanted[:3]
        assert answer["score"] == pytest.approx(wanted.score, abs=1e-5)


def test_masked_places_have_the_likeliest_pieces(tmp_path: Path) -> None:
    text = " the [MASK] was [MASK]"
    [answer] = answered(make_folder(tmp_path / "m", "masked-words"), Item(text))
    assert [(mask["start"], mask["end"]) for mask in answer["masks"]] == [(5, 11), (16, 22)]
    row = table_for("masked-words")[PIECES.index("[MASK]")].astype(np.float64)
    for mask in answer["masks"]:
        best = np.argsort(-row)[:5]
        assert [guess["piece"] for guess in mask["pieces"]] == [PIECES[number] for number in best]
        assert [guess["score"] for guess in mask["pieces"]] == pytest.approx((np.exp(row[best]) / np.exp(row).sum()).tolist())


def test_texts_that_are_too_long_are_cut_on_a_side_or_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "regression")
    words = ["good"] * 20 + ["bad"] * 20
    room = LONGEST - 2
    right, left = answered(folder, Item(" ".join(words))), answered(folder, Item(" ".join(words)), cut=Cut(side="left"))
    assert right[0]["score"] == pytest.approx(float(mean_of("regression", " ".join(words[:room]))[0]), abs=1e-6)
    assert left[0]["score"] == pytest.approx(float(mean_of("regression", " ".join(words[-room:]))[0]), abs=1e-6)
    reader = reader_of(read_folder(folder))
    with pytest.raises(TextTooLong, match=r"`inputs` must have less than 16 tokens. Given: 42"):
        reader.pieces(Item(" ".join(words)), Cut(allowed=False))
    with pytest.raises(TextTooLong, match=r"`inputs` must have less than 4000 characters. Given: 5000"):
        reader.pieces(Item("a" * 5000), Cut(allowed=False))
    assert len(reader.pieces(Item("a " * 10**6), Cut())[0]) == LONGEST


@pytest.mark.parametrize("kind", ["token-classification", "question-answering"])
def test_texts_that_are_read_in_windows_end_somewhere(kind: str, tmp_path: Path) -> None:
    reader: Reader = reader_of(read_folder(make_folder(tmp_path / "m", kind)))
    with pytest.raises(TextTooLong, match=f"less than {MOST_CHARACTERS} characters"):
        reader.pieces(Item("a " * MOST_CHARACTERS, "b"), Cut())


def test_folders_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder; name a folder that bert-compress exported"):
        read_folder(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no model.onnx, and no encoder.onnx.*; export the model"):
        read_folder(tmp_path)
    shipped = make_folder(tmp_path / "export" / "onnxruntime-cpu", "regression")
    with pytest.raises(InputError, match=r"; name .*export/onnxruntime-cpu\."):
        read_folder(tmp_path)
    (shipped / "config.json").unlink()
    with pytest.raises(InputError, match=r"holds no config\.json; restore the file"):
        read_folder(shipped)
    (shipped / "bert_compress.json").unlink()
    with pytest.raises(InputError, match=r"has no bert_compress\.json that says what its file is for"):
        read_folder(shipped)


def test_a_kind_that_nothing_reads_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "regression")
    facts = json.loads((folder / "bert_compress.json").read_text(encoding="utf-8"))
    (folder / "bert_compress.json").write_text(json.dumps({**facts, "kind": "telepathy"}), encoding="utf-8")
    with pytest.raises(InputError, match="is for telepathy, which nothing reads here; read are text-classification"):
        reader_of(read_folder(folder))


def test_neither_readers_nor_the_server_load_torch_or_anything_that_the_image_leaves_out() -> None:
    code = (
        "import importlib, sys, compress.cli, compress.readers as r, compress.serving.running, compress.runtimes.onnxruntime\n"
        "[importlib.import_module(module) for module in r.READERS.values()]\n"
        "print({'torch', 'transformers', 'scipy', 'datasets', 'onnx', 'sklearn'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "set()\n"), ended.stderr


def test_each_task_of_a_file_is_read_by_its_name(tmp_path: Path) -> None:
    path = make_folder_of_tasks(tmp_path / "m")
    for seed, (name, labels) in enumerate(OF_FILE.items()):
        logits = table_for("text-classification", seed)[tokenizer().encode(TEXT).ids].mean(axis=0)
        [answer] = answered(Path(f"{path}:{name}"), Item(TEXT))
        assert list(answer["scores"]) == list(labels)
        assert answer["scores"][labels[1]] == pytest.approx(sigmoid(logits[1] - logits[0]), abs=1e-6)
    assert answered(path, Item(TEXT)) == answered(Path(f"{path}:mood"), Item(TEXT))


def test_what_the_first_task_settled_is_not_the_others(tmp_path: Path) -> None:
    path = make_folder_of_tasks(tmp_path / "m")
    facts = json.loads((path / "bert_compress.json").read_text())
    (path / "bert_compress.json").write_text(json.dumps({**facts, "settled": [0.9999]}))
    assert answered(path, Item(TEXT))[0]["label"] is None
    assert answered(Path(f"{path}:spam"), Item(TEXT))[0]["label"] in ("ham", "spam")


def test_a_task_that_a_file_has_not_is_refused_by_those_that_it_has(tmp_path: Path) -> None:
    path = make_folder_of_tasks(tmp_path / "m")
    with pytest.raises(InputError, match=r"has no task 'topic'; it has mood, spam\. Name"):
        read_folder(f"{path}:topic")
    with pytest.raises(InputError, match="has a file of one task, so that none of it is called 'topic'"):
        read_folder(f"{make_folder(tmp_path / 'one', 'regression')}:topic")


def test_a_folder_whose_name_has_a_colon_is_read(tmp_path: Path) -> None:
    path = make_folder_of_tasks(tmp_path / "m:spam")
    assert read_folder(path).labels == OF_FILE["mood"]
    assert read_folder(f"{path}:spam").labels == OF_FILE["spam"]
