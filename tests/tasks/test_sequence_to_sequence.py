"""Texts that are written: what files hold, how they become tokens, what is learned, how answers are scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from compress.errors import InputError
from compress.tasks import task
from compress.tasks.sequence_to_sequence import KIND
from compress.tasks.split import Split
from compress.tasks.text_scores import SCORES, text_counts
from compress.tasks.unknown import check_writes
from compress.tasks.written import NOT_LEARNED, as_targets, written
from tests.tiny_models import PIECES, tiny_tokenizer
from tests.written_texts import translated, writing_task

TEXTS = ["the film was good", "a plot and the plot was very bad", "it was dull"]
FURTHER = " ".join(f"word{number}" for number in range(12))


def read(folder: Path, lines: list[str], name: str = "rows.tsv", **arguments: Any) -> Any:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = {"train": str(path), **arguments.pop("data", {})}
    return task(data, kind="translation", **arguments)


def rows(count: int = 40, header: str = "source\ttarget") -> list[str]:
    return [header, *(f"film{index} {FURTHER.replace('word', f'w{index}x')}\tFilm Nummer {index}." for index in range(count))]


# -- what files hold


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ("source\ttarget", {}),
        ("document\tsummary", {}),
        ("src\ttgt", {}),
        ("en\tde", {"text": "en", "label": "de"}),
        ("label\ttext", {"text": "label", "label": "text"}),
    ],
)
def test_columns_are_found_by_their_usual_names_or_named(header: str, data: dict[str, str], tmp_path: Path) -> None:
    made = read(tmp_path, rows(header=header), data=data)
    assert made.kind == KIND.name
    assert made.labels == ("text",)
    pairs = {text.split()[0]: target for part in made.splits() for text, target in zip(part.texts, part.labels, strict=True)}
    assert pairs["film7"] == "Film Nummer 7."
    assert made.describe()["splits"]["train"]["mean_words_to_write"] == 3.0


def test_objects_on_lines_hold_texts_with_anything_in_them(tmp_path: Path) -> None:
    lines = [
        json.dumps(
            {"source": f"{index} {FURTHER.replace('word', f'w{index}x')}", "target": f'a\ttab, "quotes" and\nlines {index}'}
        )
        for index in range(40)
    ]
    made = read(tmp_path, lines, "rows.jsonl")
    assert any(target.startswith('a\ttab, "quotes" and\nlines') for target in made.train.labels)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("\tein Text", "line 2, column 'source' is empty"),
        ("a text\t", "line 2, column 'target' is empty"),
        ("a text\t   ", "line 2, column 'target' is empty"),
        ("a text", "line 2"),
        ("a\tb\tc", "line 2"),
    ],
)
def test_a_row_without_one_of_the_texts_is_refused_with_its_line(line: str, said: str, tmp_path: Path) -> None:
    lines = rows()
    with pytest.raises(InputError, match=rf"rows\.tsv[\s\S]*{said}"):
        read(tmp_path, [lines[0], line, *lines[1:]])


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (None, "is empty"),
        (["ein", "Text"], "is a list, not a text"),
        ({"de": "ein Text"}, "is an object, not a text"),
        (True, "is true or false, not a text"),
        ("", "is empty"),
        ("a\0b", "holds a NUL character"),
    ],
)
@pytest.mark.parametrize("column", ["source", "target"])
def test_a_value_that_is_no_text_is_refused_with_its_line(column: str, target: Any, said: str, tmp_path: Path) -> None:
    lines = [json.dumps({"source": f"film {index}", "target": f"Film {index}"}) for index in range(40)]
    lines[2] = json.dumps({"source": "film", "target": "Film", column: target})
    with pytest.raises(InputError, match=rf"line 3, column '{column}' {said}"):
        read(tmp_path, lines, "rows.jsonl")


@pytest.mark.parametrize(
    ("lines", "arguments", "said"),
    [
        (rows(header="first\tsecond"), {}, "name the column of the text to read with data.text; it has: first, second"),
        (rows(header="source\tsecond"), {}, "name the column of the text to write with data.label; it has: source, second"),
        (rows(), {"data": {"label": "de"}}, r"has no column 'de' \(data.label\)"),
        (rows(), {"data": {"text": "en"}}, r"has no column 'en' \(data.text\)"),
        (
            rows(),
            {"data": {"pair": "target"}},
            "data.pair is 'target', but sequence-to-sequence reads one text and writes one",
        ),
        (rows(), {"data": {"text": "target", "label": "target"}}, "columns of their own"),
        (rows(), {"labels": ["a", "b"]}, "texts that are written have none; leave labels out"),
        (rows(), {"metric": "accuracy"}, "judged by bleu or chrf or rouge_l"),
        (rows(10), {}, "at least 16 are needed"),
        (["source\ttarget"], {}, "no rows"),
        (
            ["source\ttarget", *(f"film{index} {index * 3} x{index}\tFilm" for index in range(40))],
            {},
            "every row has the text 'Film'",
        ),
        (["source\tsource", *rows()[1:]], {}, "stands there twice"),
    ],
)
def test_what_cannot_be_a_task_is_refused(lines: list[str], arguments: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read(tmp_path, lines, **arguments)


def test_multi30k_is_read_from_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "multi30k_en_de"
    folder.mkdir()
    for name, begin in (("train.tsv", 0), ("test_2016_flickr.tsv", 100)):
        lines = rows(header="en\tde")[: 30 if begin else 41]
        (folder / name).write_text("\n".join(lines).replace("film", f"film{begin}") + "\n", encoding="utf-8")
    made = task("multi30k_en_de", kind=KIND.name, data_dir=str(tmp_path))
    assert len(made.evaluation) == 29
    assert made.evaluation.texts[0].startswith("film1000 ")
    assert made.licence is not None


# -- texts as tokens


def test_a_text_is_given_behind_the_token_that_begins_it_and_learned_up_to_its_end() -> None:
    encoded = KIND.encode(
        Split("train", tuple(TEXTS), None, as_targets(["was good", "bad", "it was dull"])), tiny_tokenizer(), 24
    )
    batch = encoded.batch([0, 1])
    named = [[PIECES[number] for number in row] for row in batch["decoder_input_ids"]]
    assert named == [["[CLS]", "was", "good"], ["[CLS]", "bad", "[PAD]"]]
    assert batch["decoder_attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    targets = KIND.collate(encoded, np.array([0, 1]), 9)
    assert [[PIECES[number] for number in row if number != NOT_LEARNED] for row in targets.tolist()] == [
        ["was", "good", "[SEP]"],
        ["bad", "[SEP]"],
    ]
    assert list(encoded.unwritten.batch([0, 1])) == ["input_ids", "attention_mask", "token_type_ids"]
    assert encoded.labels.said(ids_of(["was it", "bad"])) == ["was it", "bad"]


def test_texts_that_are_too_long_to_be_written_are_cut_before_their_end() -> None:
    right = written(["a film and a plot", "a film"], tiny_tokenizer(), 4)
    assert [[PIECES[number] for number in row] for row in right.ids] == [["a", "film", "and", "[SEP]"], ["a", "film", "[SEP]"]]
    assert right.truncated == 1


def test_a_tokenizer_that_cannot_write_the_texts_is_refused() -> None:
    made, tokenizer = writing_task(), tiny_tokenizer()
    with pytest.raises(InputError, match=r"of the tokens of the train texts are unknown .* of tiny for what is written"):
        check_writes(made, made.train, tokenizer, "tiny")


# -- what is learned


def test_the_loss_is_that_of_the_tokens_to_write() -> None:
    outputs = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(3))
    targets = torch.tensor([[1, 4, 2], [3, NOT_LEARNED, NOT_LEARNED]])
    by_hand = [
        -outputs[row, place].log_softmax(0)[token] for row, place, token in ((0, 0, 1), (0, 1, 4), (0, 2, 2), (1, 0, 3))
    ]
    torch.testing.assert_close(KIND.loss(outputs, targets), torch.stack(by_hand).mean())
    torch.testing.assert_close(KIND.loss(outputs, targets, "sum"), torch.stack(by_hand).sum())


def test_the_divergence_is_over_the_vocabulary_and_a_mean_over_the_tokens() -> None:
    random = torch.Generator().manual_seed(5)
    student, teacher = (torch.randn(2, 3, 5, generator=random) for _ in range(2))
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    places = mask.nonzero().tolist()
    by_hand = [
        functional.kl_div((student[row, at] / 2).log_softmax(0), (teacher[row, at] / 2).softmax(0), reduction="sum")
        for row, at in places
    ]
    torch.testing.assert_close(KIND.divergence(student, teacher, mask, 2.0), torch.stack(by_hand).mean())
    squares = [(student[row, at] - teacher[row, at]).square().sum() for row, at in places]
    torch.testing.assert_close(KIND.distance(student, teacher, mask), torch.stack(squares).mean())


# -- how answers are scored


def ids_of(texts: list[str]) -> np.ndarray:
    """Answers that say these texts."""
    answers = np.zeros((len(texts), 12), dtype=np.float32)
    for row, text in enumerate(texts):
        ids = [*(PIECES.index(word) for word in text.split()), PIECES.index("[SEP]")]
        answers[row, : len(ids)] = ids
    return answers


def test_scores_drop_and_agreement_are_those_of_what_is_said() -> None:
    right = written(TEXTS, tiny_tokenizer(), 24)
    better, worse = [TEXTS[0], TEXTS[1], "it was fine"], [TEXTS[0], "a plot was bad", "it was fine"]
    counts = text_counts(worse, TEXTS).sum(0)
    assert KIND.score(ids_of(worse), right, "bleu") == {name: float(score(counts)) for name, score in SCORES.items()}
    assert list(KIND.score(ids_of(worse), right, "chrf")) == ["chrf", "bleu", "rouge_l"]
    judged = KIND.judge(ids_of(worse), right, "bleu")
    for name, (low, high) in judged["metrics_ci95"].items():
        assert low <= judged["metrics"][name] <= high
    compared = KIND.compare(ids_of(better), ids_of(worse), right, "bleu")
    before, after = (float(SCORES["bleu"](text_counts(said, TEXTS).sum(0))) for said in (better, worse))
    assert compared["drop"]["value"] == pytest.approx(before - after)
    assert compared["agreement"] == pytest.approx(2 / 3)


def test_what_differs_most_is_shown_first() -> None:
    split = Split("evaluation", ("one", "two", "three"), None, as_targets(TEXTS))
    encoded = type("Part", (), {"labels": written(TEXTS, tiny_tokenizer(), 24)})()
    before, after = TEXTS, ["the film was bad", TEXTS[1], "good"]
    shown = KIND.differing(ids_of(before), ids_of(after), split, encoded, ("text",), 5)
    assert [(row["text"], row["label"], row["teacher"], row["student"]) for row in shown] == [
        ("three", TEXTS[2], TEXTS[2], "good"),
        ("one", TEXTS[0], TEXTS[0], "the film was bad"),
    ]


def test_a_flip_is_another_text_or_another_likeliest_token() -> None:
    assert KIND.flips(ids_of(TEXTS), ids_of([TEXTS[0], "a film", TEXTS[2]])).tolist() == [False, True, False]
    before, after = np.eye(4)[[0, 1, 2]], np.eye(4)[[0, 3, 2]]
    assert KIND.flips(before, after, np.array([2, 1])).tolist() == [False, True, False]
    assert KIND.relative_error(before, before) == 0.0
    shifted = KIND.relative_error(before, before + 5.0)
    assert shifted == pytest.approx(5.0 / np.sqrt(np.mean((before - 0.25) ** 2)))


def test_a_model_that_writes_alike_for_everything_is_refused() -> None:
    right = written(TEXTS, tiny_tokenizer(), 24)
    with pytest.raises(InputError, match=r"what the model writes for 3 texts \(chrF .* no nearer to what is right"):
        KIND.check_answers(ids_of([TEXTS[0]] * 3), right, ("text",), trains=False)
    KIND.check_answers(ids_of(TEXTS), right, ("text",), trains=False)
    KIND.check_answers(ids_of([TEXTS[0]] * 3), right, ("text",), trains=True)


def test_texts_without_others_to_write_have_empty_ones() -> None:
    texts = Split("train", ("a", "b"), None, np.array([-1, -1]))
    assert KIND.without_labels(texts).labels.tolist() == ["", ""]
    with pytest.raises(InputError, match="reads one text, not a pair"):
        KIND.without_labels(Split("train", ("a",), ("b",), np.array([-1])))


def test_the_toy_task_is_a_word_for_a_word() -> None:
    assert translated("the film was good") == "Der Film war gut."
