"""Answers that are copied: what files hold, how windows are read, what is learned, how answers are found and scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from compress.errors import InputError
from compress.runtimes.spans import LOW, best_spans, stride_of
from compress.tasks import task
from compress.tasks.data.squad import Asked
from compress.tasks.question_answering import KIND
from compress.tasks.span_answers import Windows, best_answers, said_of
from compress.tasks.split import Split
from compress.tasks.squad_scores import exact_match, normalized, token_f1
from tests.tiny_models import WORDS, tiny_tokenizer

NUMBERED = ("question", "context", "page")
FILM = "the film was very good and the plot was dull"


def rows(*made: dict[str, Any], count: int = 40) -> str:
    """These rows again and again, questions and contexts numbered."""
    lines = []
    for index in range(count):
        row = made[index % len(made)]
        further = " ".join(f"word{index}x{number}" for number in range(16))  # so that no two are nearly alike
        numbered = {
            name: f"{text} {further}" for name, text in row.items() if name in NUMBERED and isinstance(text, str) and text
        }
        lines.append(json.dumps({**row, **numbered}))
    return "\n".join(lines)


def read(folder: Path, text: str, name: str = "rows.jsonl", **arguments: Any) -> Any:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return task({"train": str(path)}, kind=KIND.name, **arguments)


def squad(*questions: dict[str, Any], context: str = FILM) -> str:
    """SQuAD's own JSON, the questions in paragraphs of their own."""
    paragraphs = [{"context": f"{context} number{index}", "qas": [question]} for index, question in enumerate(questions)]
    return json.dumps({"version": "v2.0", "data": [{"title": "films", "paragraphs": paragraphs}]})


# -- what files hold


def test_rows_of_the_hub_have_columns_of_texts_and_starts(tmp_path: Path) -> None:
    row = {
        "id": "7",
        "question": "how?",
        "context": FILM,
        "answers": {"text": ["good", "very good"], "answer_start": [18, 13]},
    }
    train = read(tmp_path, rows(row)).train
    assert train.labels[0] == Asked("7", (("good", 18), ("very good", 13)))
    assert train.pairs[0].startswith(FILM)
    assert train.texts[0].startswith("how? word")


def test_squad_has_articles_with_paragraphs_and_questions_without_an_answer(tmp_path: Path) -> None:
    asked = [
        {"id": str(index), "question": f"how number{index}?", "answers": [{"text": "good", "answer_start": 18}]}
        for index in range(30)
    ]
    without = [
        {"id": f"n{index}", "question": f"who number{index}?", "is_impossible": True, "answers": [],
         "plausible_answers": [{"text": "dull", "answer_start": 40}]}
        for index in range(30)
    ]  # fmt: skip
    made = read(tmp_path, squad(*asked, *without), "rows.json")
    known = {question.id: question.answers for split in made.splits() for question in split.labels}
    assert known["3"] == (("good", 18),)
    assert known["n3"] == ()
    assert made.labels == ("start", "end")
    assert made.describe()["splits"]["train"]["answerable"] < made.describe()["splits"]["train"]["examples"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"answers": [{"text": "good", "answer_start": 17}]},
            "'good' at character 17 of the context; it stands at character 18",
        ),
        ({"answers": [{"text": "fine", "answer_start": 3}]}, "the context does not hold it"),
        ({"answers": [{"text": "", "answer_start": 0}]}, "an answer without text; give an empty list"),
        ({"answers": [{"text": "good", "answer_start": -1}]}, "answer_start is no whole number from 0 on"),
        ({"answers": [{"text": "good", "answer_start": "18"}]}, "answer_start is no whole number from 0 on"),
        ({"answers": [{"text": "good", "answer_start": True}]}, "answer_start is no whole number from 0 on"),
        ({"answers": {"text": ["good"], "answer_start": []}}, "has not as many answer_start as text"),
        ({"answers": {"text": ["good"]}}, "has not as many answer_start as text"),
        ({"answers": ["good"]}, "an answer without text"),
        ({"answers": "good"}, "is no object or list of answers"),
        ({"answers": 3}, "is no object or list of answers"),
        ({"answers": None}, "is no object or list of answers"),
        ({"context": ""}, "column 'context' is empty or no text"),
        ({"context": 5}, "column 'context' is empty or no text"),
        ({"context": None}, "column 'context' is empty or no text"),
    ],
)
def test_rows_that_do_not_fit_are_refused_with_their_line(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    row = {"question": "how?", "context": FILM, "answers": [{"text": "good", "answer_start": 18}], **changes}
    with pytest.raises(InputError, match=rf"rows that cannot be used[\s\S]*line 1, .*{said}"):
        read(tmp_path, rows(row))


def test_a_question_without_text_is_refused(tmp_path: Path) -> None:
    row = json.dumps({"question": " ", "context": FILM, "answers": []})
    with pytest.raises(InputError, match="line 1, column 'question' is empty or no text"):
        read(tmp_path, row)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (json.dumps({"data": [{"paragraphs": []}]}), "has no questions; give articles"),
        (
            json.dumps({"data": [{"paragraphs": [{"context": "a"}]}]}),
            "question 1 is to stand in a paragraph with context and qas",
        ),
        (json.dumps({"data": [{"paragraphs": [{"context": "a", "qas": [4]}]}]}), "question 1 is no object: 4"),
        (
            json.dumps({"data": [{"paragraphs": [{"qas": [{"question": "a", "answers": []}]}]}]}),
            "'context' is empty or no text",
        ),
        ('{"data": [', "is no JSON"),
        (json.dumps([{"question": "a", "answers": []}] * 20), "name the column of the context with data.pair"),
        (json.dumps([{"question": "a", "context": "b"}] * 20), "name the column of the answers with data.label"),
        (json.dumps([{"context": "b", "answers": []}] * 20), "name the column of the question with data.text"),
    ],
)
def test_files_of_another_shape_are_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        read(tmp_path, text, "rows.json")


def test_columns_are_named_where_they_are_called_otherwise(tmp_path: Path) -> None:
    row = {"question": "how?", "page": FILM, "gold": [{"text": "good", "answer_start": 18}]}
    path = tmp_path / "rows.jsonl"
    path.write_text(rows(row), encoding="utf-8")
    data = {"train": str(path), "pair": "page", "label": "gold"}
    assert task(data, kind=KIND.name).train.labels[0].answers == (("good", 18),)
    with pytest.raises(InputError, match=r"has no column 'pages' \(data.pair\); it has: question, page, gold"):
        task({**data, "pair": "pages"}, kind=KIND.name)


def test_what_has_no_answer_at_all_and_names_of_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="every row has the answer 'none'"):
        read(tmp_path, rows({"question": "how?", "context": FILM, "answers": []}))
    with pytest.raises(InputError, match="answers to questions have none; leave labels out"):
        read(tmp_path, rows({"question": "how?", "context": FILM, "answers": []}), labels=["a", "b"])
    with pytest.raises(InputError, match="must be pairs here, a question and its context"):
        KIND.without_labels(Split("train", ("a",), None, np.array([-1])))


# -- windows


def encoded(questions: list[str], contexts: list[str], answers: list[tuple[tuple[str, int], ...]], max_length: int) -> Any:
    asked = np.empty(len(questions), dtype=object)
    asked[:] = [Asked(str(number), spans) for number, spans in enumerate(answers)]
    split = Split("evaluation", tuple(questions), tuple(contexts), asked)
    return KIND.encode(split, tiny_tokenizer(), max_length)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.integers(10, 24), st.integers(0, 1000))
def test_every_token_stands_in_a_window_and_the_answer_at_its_own_tokens(counts: list[int], length: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    contexts, answers = [], []
    for count in counts:
        words = random.choice(WORDS, count).tolist()
        first = int(random.integers(count))
        last = min(count - 1, first + int(random.integers(3)))
        start = len(" ".join(words[:first])) + (first > 0)
        contexts.append(" ".join(words))
        answers.append(((" ".join(words[first : last + 1]), start),))
    part = encoded(["a film"] * len(counts), contexts, answers, length)
    targets = part.labels
    assert max(map(len, part.input_ids)) <= length
    seen: list[set[int]] = [set() for _ in contexts]
    for window, places in enumerate(part.places):
        owner, offsets = int(targets.owners[window]), targets.offsets[window]
        assert places[0] == 0
        assert len(places) == 1 + len(offsets)
        seen[owner] |= {int(start) for start, _ in offsets}
        first, last = targets.positions[window].tolist()
        if first:
            inside = places[1:].tolist()
            begins, ends = offsets[inside.index(first), 0], offsets[inside.index(last), 1]
            assert contexts[owner][begins:ends] == answers[owner][0][0]
    for count, starts in zip(counts, seen, strict=True):
        assert len(starts) == count


def test_windows_share_a_third_of_their_text_and_a_long_question_is_cut() -> None:
    assert stride_of(384, 3) == (64, 105)
    assert stride_of(512, 3) == (64, 128)
    assert stride_of(24, 3) == (10, 3)
    part = encoded(["a " * 40], [" ".join(WORDS)], [(("film", 6),)], 24)
    assert part.truncated == 1
    assert sum(kind == 0 for kind in part.token_type_ids[0]) == 12  # [CLS], ten of the question, [SEP]


# -- what is learned


def test_the_loss_is_that_of_start_and_end_over_real_tokens() -> None:
    outputs = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(3))
    targets = torch.tensor([[1, 3, 5], [0, 0, 2]])
    by_hand = torch.stack(
        [
            functional.cross_entropy(outputs[0, :, 0], torch.tensor(1)),
            functional.cross_entropy(outputs[0, :, 1], torch.tensor(3)),
            functional.cross_entropy(outputs[1, :2, 0], torch.tensor(0)),
            functional.cross_entropy(outputs[1, :2, 1], torch.tensor(0)),
        ]
    )
    assert torch.allclose(KIND.loss(outputs, targets), by_hand.mean())
    assert torch.allclose(KIND.loss(outputs, targets, "sum"), by_hand.sum() / 2)


def test_the_divergence_is_between_places_and_not_between_start_and_end() -> None:
    random = torch.Generator().manual_seed(5)
    student, teacher = (torch.randn(2, 4, 2, generator=random) for _ in range(2))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    by_hand = torch.stack(
        [
            functional.kl_div(
                (student[row, :count, end] / 2).log_softmax(0), (teacher[row, :count, end] / 2).softmax(0), reduction="sum"
            )
            for row, count in ((0, 4), (1, 2))
            for end in (0, 1)
        ]
    ).mean()
    assert torch.allclose(KIND.divergence(student, teacher, mask, 2.0), by_hand, atol=1e-6)
    squares = [(student[row, place] - teacher[row, place]).square().sum() for row, place in mask.nonzero().tolist()]
    assert torch.allclose(KIND.distance(student, teacher, mask), torch.stack(squares).mean())


# -- how answers are found


@given(st.integers(1, 12), st.integers(1, 6), st.integers(0, 10_000))
def test_the_best_spans_are_those_of_all_pairs(count: int, longest: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    start, end = random.normal(size=(2, count))
    pairs = {
        (first, last): start[first] + end[last] for first in range(count) for last in range(first, min(count, first + longest))
    }
    spans = best_spans(start, end, count=3, longest=longest)
    wanted = sorted(pairs, key=lambda pair: -pairs[pair])[:3]
    assert [(span.first, span.last) for span in spans] == wanted
    assert [span.score for span in spans] == pytest.approx([pairs[pair] for pair in wanted])


def test_nothing_is_found_in_nothing() -> None:
    assert best_spans(np.zeros(0), np.zeros(0)) == []


def windows(*answers: str, context: str = "the film was good", owners: tuple[int, ...] | None = None) -> Windows:
    """Questions about one context of four words, each of them in one window, or in several."""
    offsets = np.array([(0, 3), (4, 8), (9, 12), (13, 17)])
    asked = [Asked(str(number), ((answer, context.index(answer)),) if answer else ()) for number, answer in enumerate(answers)]
    owners = owners or tuple(range(len(answers)))
    return Windows(np.array(owners), [offsets] * len(owners), np.zeros((len(owners), 2)), asked, [context] * len(asked))


def logits(first: int, last: int, score: float = 4.0, without: float = 0.0) -> np.ndarray:
    """Answers of a window that means these words."""
    rows_of = np.zeros((5, 2), dtype=np.float32)
    rows_of[0] = without / 2
    rows_of[1 + first, 0] = rows_of[1 + last, 1] = score / 2
    return rows_of


def test_the_best_window_answers() -> None:
    targets = windows("good", owners=(0, 0))
    answers = np.concatenate([logits(1, 1, 3.0), logits(3, 3, 5.0)])
    (best,) = best_answers(answers, targets)
    assert best.text == "good"
    assert best.score == 5.0
    assert best.without == -5.0
    assert KIND.score(answers, targets, "f1") == {"f1": 1.0, "exact_match": 1.0}


def test_a_threshold_parts_questions_with_an_answer_from_those_without() -> None:
    targets = windows("good", "film", "", "")
    answers = np.concatenate([logits(3, 3, 6, 3), logits(1, 1, 6, 4), logits(2, 2, 6, 5), logits(2, 2, 6, 5.5)])
    assert said_of(answers, targets) == ["good", "film", "was", "was"]
    chosen = KIND.settle(answers, targets)
    assert chosen == (-1.5,)
    settled = KIND.settled(answers, chosen, targets)
    assert said_of(settled, targets) == ["good", "film", "", ""]
    scores = KIND.score(settled, targets, "f1")
    assert scores == {"f1": 1.0, "exact_match": 1.0, "has_answer_f1": 1.0, "no_answer_f1": 1.0}
    assert KIND.score(answers, targets, "f1")["no_answer_f1"] == 0.0
    assert answers.min() > LOW  # what was given stays as it was


def test_without_a_threshold_there_is_always_an_answer() -> None:
    targets = windows("good", "")
    answers = np.concatenate([logits(3, 3, 1, 9), logits(3, 3, 1, 9)])
    assert said_of(answers, targets) == ["", ""]
    assert said_of(KIND.settled(answers, (), targets), targets) == ["good", "good"]
    assert not KIND.settles(Split("selection", ("a",), ("b",), np.array([Asked("", (("b", 0),))], dtype=object)))
    assert KIND.settles(Split("selection", ("a",), ("b",), np.array([Asked("", ())], dtype=object)))


@given(st.lists(st.tuples(st.booleans(), st.floats(-5, 5), st.booleans()), min_size=2, max_size=12))
def test_no_other_threshold_is_better(questions: list[tuple[bool, float, bool]]) -> None:
    targets = windows(*("good" if has_answer else "" for has_answer, *_ in questions))
    answers = np.concatenate([logits(*((3, 3) if right else (1, 1)), 6, 6 + more) for _, more, right in questions])
    chosen = KIND.settle(answers, targets)
    best = KIND.score(KIND.settled(answers, chosen, targets), targets, "f1")["f1"]
    for threshold in (-100.0, *(more + 1e-3 for _, more, _ in questions), 100.0):
        assert KIND.score(KIND.settled(answers, (threshold,), targets), targets, "f1")["f1"] <= best + 1e-9


# -- how they are scored


@pytest.mark.parametrize(
    ("said", "true", "exact", "f1"),
    [
        ("the Film.", ["film"], 1.0, 1.0),
        ("very good film", ["a good film", "dull"], 0.0, 0.8),
        ("", ["film"], 0.0, 0.0),
        ("", [], 1.0, 1.0),
        ("film", [], 0.0, 0.0),
        ("the", ["a"], 1.0, 1.0),
        ("good good", ["good"], 0.0, 2 / 3),
    ],
)
def test_scores_are_those_of_the_official_scripts(said: str, true: list[str], exact: float, f1: float) -> None:
    assert exact_match(said, true) == exact
    assert token_f1(said, true) == pytest.approx(f1)


def test_answers_are_compared_without_case_articles_and_punctuation() -> None:
    assert normalized(" The  U.S.A., a 'state' ") == "usa state"


def test_drop_agreement_and_intervals_are_over_questions() -> None:
    targets = windows("good", "film", "was")
    before, after = (
        np.concatenate([logits(3, 3), logits(1, 1), logits(2, 2)]),
        np.concatenate([logits(3, 3), logits(1, 2), logits(0, 0)]),
    )
    compared = KIND.compare(before, after, targets, "f1")
    assert compared["drop"]["value"] == pytest.approx(1 - (1 + 2 / 3 + 0) / 3)
    assert compared["agreement"] == pytest.approx(1 / 3)
    judged = KIND.judge(after, targets, "exact_match")
    assert list(judged["metrics"]) == ["exact_match", "f1"]
    low, high = judged["metrics_ci95"]["f1"]
    assert low <= judged["metrics"]["f1"] <= high
    split = Split("evaluation", ("a", "b", "c"), targets.contexts, np.array(targets.asked, dtype=object))  # type: ignore[arg-type]
    encoded_part = type("Part", (), {"labels": targets})()
    shown = KIND.differing(before, after, split, encoded_part, ("start", "end"), 10)
    assert [(row["text"], row["teacher"], row["student"]) for row in shown] == [("c", "was", "the"), ("b", "film", "film was")]
    assert shown[0]["label"] == "was"


def test_a_flip_is_a_window_that_begins_or_ends_elsewhere() -> None:
    before = np.concatenate([logits(3, 3), logits(1, 1)])
    after = np.concatenate([logits(3, 3, 2.0), logits(1, 2)])
    assert KIND.flips(before, after, np.array([5, 5])).tolist() == [False, True]


def test_a_model_that_answers_alike_to_everything_is_refused() -> None:
    targets = windows("good", "film")
    with pytest.raises(InputError, match=r"answers to 2 questions .* no better than those that it gives to other questions"):
        KIND.check_answers(np.concatenate([logits(3, 3), logits(3, 3)]), targets, ("start", "end"), trains=False)
    KIND.check_answers(np.concatenate([logits(3, 3), logits(1, 1)]), targets, ("start", "end"), trains=False)
    KIND.check_answers(np.concatenate([logits(1, 1), logits(3, 3)]), targets, ("start", "end"), trains=True)
