"""A label for each word: how texts and tags are read, where a word is answered, what is learned, how it is scored."""

from __future__ import annotations

import json
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from compress.errors import InputError
from compress.objectives.logit_mse import logit_mse
from compress.objectives.logits import logits
from compress.objectives.outputs import Batch, Outputs
from compress.tasks import task
from compress.tasks.scores import by_label
from compress.tasks.split import Split
from compress.tasks.tagged_words import marked_spans
from compress.tasks.tags import bio, entities, is_bio, names_of, spans_to_tags
from compress.tasks.token_classification import IGNORED, KIND
from compress.tasks.windows import windows_of_words
from tests.tiny_models import WORDS, tiny_tokenizer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from seqeval.metrics import f1_score, precision_score, recall_score
    from seqeval.scheme import IOB2

NAMES = ("O", "B-a", "I-a", "B-b", "I-b")


def written(folder: Path, text: str, name: str = "rows.conll") -> dict[str, str]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return {"train": str(path)}


def rows(folder: Path, *made: dict[str, Any]) -> dict[str, str]:
    """A file of these rows again and again."""
    lines = []
    for index in range(40):
        row = dict(made[index % len(made)])
        if "tokens" in row:
            row |= {"tokens": [*row["tokens"], f"number{index}"], "tags": [*row["tags"], "O"]}
        else:
            row["text"] += f" number{index}"
        lines.append(json.dumps(row))
    return written(folder, "\n".join(lines) + "\n", "rows.jsonl")


# -- what files hold


def test_conll_files_have_the_word_first_and_its_tag_last(tmp_path: Path) -> None:
    blocks = [f"EU NNP B-ORG\nrejects{index} VBZ O" for index in range(40)]
    read = task(written(tmp_path, "\n\n".join(["-DOCSTART- -X- O", *blocks])), kind=KIND.name)
    assert read.labels == ("O", "B-ORG", "I-ORG")
    assert read.train.words is not None
    assert {words[0] for words in read.train.words} == {"EU"}
    assert {tuple(ids.tolist()) for ids in read.train.labels} == {(1, 0)}


@pytest.mark.parametrize(("name", "measured"), [("wnut17", "test.conll"), ("ncbi_disease", "dev.conll")])
def test_a_known_set_is_read_from_its_folder(tmp_path: Path, name: str, measured: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for file, said in (("train.conll", "learned"), (measured, "measured")):
        blocks = [f"{said}{index}\tB-Disease\nis\tO" for index in range(40)]
        (folder / file).write_text("\n\n".join(blocks) + "\n", encoding="utf-8")
    read = task(name, kind=KIND.name, data_dir=str(tmp_path))
    assert read.labels == ("O", "B-Disease", "I-Disease")
    assert read.evaluation.texts[0] == "measured0 is"
    assert all(text.startswith("learned") for text in read.train.texts)
    assert read.licence


def test_conllu_files_tell_parts_of_speech(tmp_path: Path) -> None:
    block = (
        "# text = vámonos\n1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_\n1\tvamos\tir\tVERB\t_\t_\t0\troot\t_\t_\n"
        "2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_\n2.1\tx\t_\t_\t_\t_\t_\t_\t_\t_\n3\tn{}\tn\tNOUN\t_\t_\t1\tobj\t_\t_"
    )
    data = written(tmp_path, "\n\n".join(block.replace("{}", str(index)) for index in range(40)), "rows.conllu")
    read = task(data, kind=KIND.name, metric="accuracy")
    assert read.labels == ("NOUN", "PRON", "VERB")
    assert read.train.words is not None
    assert read.train.words[0][:2] == ("vamos", "nos")
    named = task({**data, "label": "deprel"}, kind=KIND.name, metric="accuracy")
    assert named.labels == ("obj", "root")
    with pytest.raises(InputError, match="f1 counts entities, but the tags are no B- and I-"):
        task(data, kind=KIND.name)


def test_spans_of_characters_tag_the_words_that_they_touch(tmp_path: Path) -> None:
    text = "Ann-Marie lives in New York."
    spans = [{"start": 0, "end": 9, "label": "per"}, [19, 27, "loc"]]
    read = task(rows(tmp_path, {"text": text, "spans": spans}), kind=KIND.name)
    assert read.train.words is not None
    assert read.train.words[0][:9] == ("Ann", "-", "Marie", "lives", "in", "New", "York", ".", read.train.words[0][8])
    tags = [read.labels[tag] for tag in read.train.labels[0]]
    assert tags == ["B-per", "I-per", "I-per", "O", "O", "B-loc", "I-loc", "O", "O"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "has 2 tags for 3 words"),
        ({"tokens": ["a", ""], "tags": ["O", "O"]}, "no list of words beside it, none of them empty"),
        ({"tokens": ["a"], "tags": [None]}, "is no list of tags"),
        ({"text": "a b", "spans": [{"start": 0, "end": 99, "label": "x"}]}, "outside of the text's"),
        ({"text": "a b", "spans": [{"start": 1, "end": 1, "label": "x"}]}, "outside of the text's"),
        ({"text": "a b", "spans": [[0, 1, "x"], [0, 3, "y"]]}, "spans that share a word"),
        ({"text": "a  b", "spans": [[1, 2, "x"]]}, "or that have none"),
        ({"text": "a b", "spans": [[0, "1", "x"]]}, r"a span that is not \{start, end, label\}"),
        ({"text": "a b", "spans": "x"}, "is no list of spans"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_their_line(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"rows that cannot be used[\\s\\S]*line 1, column .* {said}"):
        task(rows(tmp_path, row), kind=KIND.name)


def test_a_line_of_other_columns_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 2 has 1 columns, but 2 are needed"):
        task(written(tmp_path, "a\tO\nb\n"), kind=KIND.name)
    with pytest.raises(InputError, match=r"has no words|line 1 has 1 columns"):
        task(written(tmp_path, "a\n\n"), kind=KIND.name)
    with pytest.raises(InputError, match=r"line 1 has 2 columns; CoNLL-U has 10"):
        task(written(tmp_path, "1\ta\n", "rows.conllu"), kind=KIND.name)


def test_tags_that_were_not_named_are_refused_and_numbers_are_ids(tmp_path: Path) -> None:
    data = rows(tmp_path, {"tokens": ["EU"], "tags": ["B-x"]})
    with pytest.raises(InputError, match=r"tags that are unknown; allowed: O, B-y, I-y[\s\S]*line 1, column 'tags': 'B-x'"):
        task(data, kind=KIND.name, labels=["O", "B-y", "I-y"])
    ids = written(tmp_path, "\n".join(json.dumps({"tokens": ["EU", f"n{i}"], "tags": [1, 0]}) for i in range(40)), "ids.jsonl")
    assert task(ids, kind=KIND.name, labels=["O", "B-y", "I-y"]).train.labels[0].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["B-a", "I-a", "O", "I-a"], ["B-a", "I-a", "O", "B-a"]),
        (["I-a", "I-a", "B-a", "I-b"], ["B-a", "I-a", "B-a", "B-b"]),
        (["S-a", "B-a", "I-a", "E-a", "I-a"], ["B-a", "B-a", "I-a", "I-a", "B-a"]),
        (["U-a", "L-a", "O"], ["B-a", "B-a", "O"]),
        (["NOUN", "VERB"], ["NOUN", "VERB"]),
    ],
)
def test_other_schemes_become_bio2(tags: list[str], expected: list[str]) -> None:
    assert bio(tags) == expected


def test_names_have_both_tags_of_each_type_after_outside() -> None:
    assert names_of(["B-b", "I-a", "O"]) == ("O", "B-a", "I-a", "B-b", "I-b")
    assert names_of(["VERB", "NOUN"]) == ("NOUN", "VERB")
    assert is_bio(NAMES)
    assert not is_bio(["O"])
    assert not is_bio(["NOUN", "VERB"])
    assert spans_to_tags([(0, 2), (3, 5)], [(1, 4, "x")]) == ["B-x", "I-x"]


# -- where words are answered


def encoded(words: list[list[str]], max_length: int) -> Any:
    labels = np.empty(len(words), dtype=object)
    labels[:] = [np.arange(len(row), dtype=np.int64) for row in words]

    split = Split("evaluation", tuple(map(" ".join, words)), None, labels, tuple(map(tuple, words)), NAMES)
    return KIND.encode(split, tiny_tokenizer(), max_length)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(4, 24))
def test_every_word_is_answered_once_at_its_own_piece(counts: list[int], max_length: int) -> None:
    random = np.random.default_rng(sum(counts))
    words = [list(random.choice(WORDS, count)) for count in counts]
    encoding, tokenizer = encoded(words, max_length), tiny_tokenizer()
    assert max(map(len, encoding.input_ids)) <= max_length
    seen: list[list[int]] = [[] for _ in words]
    for ids, places, labels, owner in zip(
        encoding.input_ids, encoding.places, encoding.labels.ids, encoding.labels.owners.tolist(), strict=True
    ):
        for place, label in zip(places.tolist(), labels.tolist(), strict=True):
            assert tokenizer.convert_ids_to_tokens(ids[place]) == words[owner][label]
            seen[owner].append(label)
    assert seen == [list(range(count)) for count in counts]


def test_windows_share_words_and_a_word_answers_where_it_has_neighbours() -> None:
    windows = windows_of_words([list(WORDS) * 4], tiny_tokenizer(), 18)  # 48 words, 16 a window
    assert len(windows) == 4
    for window, later in pairwise(windows):
        assert later.first < window.end
        assert window.answered == later.answers
        assert later.first < later.answers < window.end


def test_a_word_of_several_pieces_or_of_none_has_one_place() -> None:

    encoding = encoded([["film", "\u200b", "good"]], 10)
    assert len(encoding.places[0]) == 3
    assert encoding.labels.flat.tolist() == [0, 1, 2]


# -- what is learned


def test_targets_stand_at_first_pieces_and_nothing_else_counts() -> None:
    encoding = encoded([["a", "film"], ["good"]], 10)
    targets = KIND.collate(encoding, np.array([1, 0]), 5)
    assert targets.tolist() == [[IGNORED, 0, IGNORED, IGNORED, IGNORED], [IGNORED, 0, 1, IGNORED, IGNORED]]
    outputs = torch.randn(2, 5, 5, generator=torch.Generator().manual_seed(3))
    by_hand = torch.stack(
        [
            functional.cross_entropy(outputs[0, 1], torch.tensor(0)),
            *(functional.cross_entropy(outputs[1, 1 + label], torch.tensor(label)) for label in (0, 1)),
        ]
    )
    assert torch.allclose(KIND.loss(outputs, targets), by_hand.mean())
    assert torch.allclose(KIND.loss(outputs, targets, "sum"), by_hand.sum())


def test_the_divergence_is_the_mean_over_real_tokens() -> None:
    random = torch.Generator().manual_seed(5)
    student, teacher = (torch.randn(2, 3, 4, generator=random) for _ in range(2))
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    expected = torch.stack(
        [
            functional.kl_div((student[at] / 2).log_softmax(-1), (teacher[at] / 2).softmax(-1), reduction="sum")
            for at in ((0, 0), (0, 1), (1, 0))
        ]
    ).mean()
    assert torch.allclose(KIND.divergence(student, teacher, mask, 2.0), expected, atol=1e-6)
    by_hand = torch.stack([(student[at] - teacher[at]).square().sum() for at in ((0, 0), (0, 1), (1, 0))]).mean()
    assert torch.allclose(KIND.distance(student, teacher, mask), by_hand)


# -- how it is scored


TAG = st.sampled_from(NAMES)


@given(st.lists(st.lists(st.tuples(TAG, TAG), min_size=1, max_size=8), min_size=1, max_size=6))
def test_entities_are_those_of_seqeval(pairs: list[list[tuple[str, str]]]) -> None:
    said, true = ([[pair[side] for pair in text] for text in pairs] for side in (0, 1))
    predicted, reference = ([entities(tags) for tags in tags_of] for tags_of in (said, true))
    right = sum(len(guess & other) for guess, other in zip(predicted, reference, strict=True))
    how: dict[str, Any] = {"mode": "strict", "scheme": IOB2, "zero_division": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert precision_score(true, said, **how) == pytest.approx(right / max(1, sum(map(len, predicted))))
        assert recall_score(true, said, **how) == pytest.approx(right / max(1, sum(map(len, reference))))
        assert f1_score(true, said, **how) == pytest.approx(
            2 * right / max(1, sum(map(len, predicted)) + sum(map(len, reference)))
        )


def test_scores_of_windows_are_those_of_their_texts() -> None:
    """An entity that runs over the edge between two windows is one."""
    words = [["film"] * 30, ["good"] * 3]
    labels = np.empty(2, dtype=object)
    labels[:] = [np.array([1] + [2] * 29), np.array([0, 3, 4])]

    split = Split("evaluation", ("x", "y"), None, labels, tuple(map(tuple, words)), NAMES)
    encoding = KIND.encode(split, tiny_tokenizer(), 12)
    assert len(encoding) > 3
    answers = np.eye(5, dtype=np.float32)[encoding.labels.flat]
    scores = KIND.score(answers, encoding.labels, "f1")
    assert scores == {"f1": 1.0, "precision": 1.0, "recall": 1.0, "accuracy": 1.0}
    answers[5] = np.eye(5)[0]  # a word in the middle of the long one
    scores = KIND.score(answers, encoding.labels, "f1")
    assert scores["f1"] == pytest.approx(2 / 4)
    assert scores["accuracy"] == pytest.approx(32 / 33)
    comparison = KIND.compare(np.eye(5)[encoding.labels.flat], answers, encoding.labels, "f1")
    assert comparison["drop"]["value"] == pytest.approx(0.5)
    assert comparison["agreement"] == pytest.approx(32 / 33)
    judged = KIND.judge(answers, encoding.labels, "f1")
    assert next(iter(judged["metrics"])) == "f1"
    with pytest.raises(InputError, match="finds none of the entities in 2 texts"):
        KIND.check_answers(np.eye(5)[np.zeros(33, dtype=int)], encoding.labels, NAMES, trains=False)
    shown = KIND.differing(np.eye(5)[encoding.labels.flat], answers, split, encoding, NAMES, 10)
    assert len(shown) == 1
    assert shown[0]["label"] == "a: " + " ".join(words[0])
    assert shown[0]["student"] == "a: " + " ".join(words[0][:5])


def test_texts_without_labels_are_cut_into_words() -> None:

    split = KIND.without_labels(Split("train", ("A film, good.", ""), None, np.array([-1, -1])))
    assert split.words == (("A", "film", ",", "good", "."), ("",))


def test_each_type_of_entity_is_counted_for_itself() -> None:
    words = [["film", "good", "plot"], ["bad", "dull"]]
    labels = np.empty(2, dtype=object)
    labels[:] = [np.array([1, 2, 3]), np.array([3, 0])]  # a over two words and b; b
    part = KIND.encode(Split("evaluation", ("x", "y"), None, labels, tuple(map(tuple, words)), NAMES), tiny_tokenizer(), 12)
    answers = np.eye(5, dtype=np.float32)[[1, 2, 1, 3, 0]]  # the first b is taken for an a
    assert KIND.classes(NAMES) == ("a", "b")
    assert KIND.by_class(answers, part.labels, NAMES).tolist() == [[[1, 2, 1], [0, 0, 1]], [[0, 0, 0], [1, 1, 1]]]
    scores = by_label(("a", "b"), KIND.by_class(answers, part.labels, NAMES))
    assert scores["a"]["precision"] == 0.5
    assert scores["a"]["recall"] == 1.0
    assert scores["a"]["ci95"]["recall"] == [0.0, 1.0]
    assert scores["b"] | {"ci95": None} == {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "ci95": None, "support": 2}
    assert KIND.classes(("NOUN", "VERB")) == ()


def test_a_score_without_a_value_is_none() -> None:
    scores = by_label(("never", "unanswered"), np.array([[[0, 1, 0], [0, 0, 2]]]))
    assert (scores["never"]["recall"], scores["never"]["ci95"]["recall"]) == (None, None)
    assert (scores["never"]["precision"], scores["never"]["f1"]) == (0.0, 0.0)
    assert (scores["unanswered"]["precision"], scores["unanswered"]["recall"]) == (None, 0.0)


@given(st.lists(st.tuples(TAG, TAG), min_size=1, max_size=10))
def test_marked_entities_lie_apart_in_the_text(pairs: list[tuple[str, str]]) -> None:
    words = tuple(f"w{number}" for number in range(len(pairs)))
    split = Split("evaluation", (" ".join(words),), None, np.array([None]), (words,), NAMES)
    said, true = [first for first, _ in pairs], [second for _, second in pairs]
    spans = marked_spans(split, 0, said, true)
    for (_, end, _, _), (start, *_) in pairwise(spans):
        assert end < start
    by_verdict = {verdict: {span[:3] for span in spans if span[3] == verdict} for verdict in ("right", "wrong", "missed")}
    assert len(by_verdict["right"]) == len(entities(said) & entities(true))
    assert len(by_verdict["wrong"]) == len(entities(said) - entities(true))
    assert len(by_verdict["missed"]) <= len(entities(true) - entities(said))
    spoken = {(kind, " ".join(words[first:end])) for kind, first, end in entities(said) | entities(true)}
    assert {(kind, split.texts[0][start:end]) for start, end, kind, _ in spans} <= spoken


def test_answers_of_first_tokens_alone_may_be_compared() -> None:
    part = encoded([["a", "film"], ["good"]], 10)
    marked = part.answering(np.array([1, 0]), 5)
    assert marked.tolist() == [[False, True, False, False, False], [False, True, True, False, False]]
    random = torch.Generator().manual_seed(5)
    student, teacher = (Outputs(torch.randn(2, 5, 5, generator=random)) for _ in range(2))
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
    batch = Batch(torch.zeros(2, 5), mask, answering=torch.from_numpy(marked), rules=KIND)
    assert logits(student, teacher, batch) == KIND.divergence(student.logits, teacher.logits, mask, 2.0) * 4
    only = logits(student, teacher, batch, tokens="answering")
    assert only == KIND.divergence(student.logits, teacher.logits, torch.from_numpy(marked), 2.0) * 4
    assert logit_mse(student, teacher, batch, tokens="answering") != logit_mse(student, teacher, batch)
