"""Pairs with scores, pairs that belong together, searches and texts alone: read, laid out, learned and scored."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

import compress as cp
from compress.errors import InputError
from compress.models.embedder import pooling_of
from compress.models.heads import output_count
from compress.tasks import evaluation_task, task
from compress.tasks.compared_vectors import Graded, NothingKnown, Ranked, as_kept, cosines
from compress.tasks.labelled import Task
from compress.tasks.sentence_embedding import KIND
from compress.tasks.vector_losses import in_order, parted
from compress.training.step_context import StepContext
from tests.tiny_models import tiny_of, tiny_tokenizer

NAME = "sentence-embedding"
WORDS = ("film", "plot", "scene", "actor", "song", "book", "story", "hero", "sound", "light", "end", "joke")


def written(path: Path, lines: list[str]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def graded(path: Path, count: int = 60) -> str:
    rows = [f"{WORDS[i % 12]} number{i} is good\t{WORDS[i * 5 % 12]} of number{i} may be\t{i % 6}" for i in range(count)]
    return written(path, ["sentence1\tsentence2\tscore", *rows])


def search(folder: Path, queries: int = 40) -> str:
    """A query for each document, and as many documents that nobody asks for."""
    documents = [
        {"_id": f"d{i}", "title": WORDS[i % 12], "text": f"all about number{i} and {WORDS[i * 7 % 12]}"}
        for i in range(2 * queries)
    ]
    asked = [{"_id": f"q{i}", "text": f"who asks {WORDS[i % 12]} number{i}"} for i in range(queries)]
    written(folder / "corpus.jsonl", [json.dumps(row) for row in documents])
    written(folder / "queries.jsonl", [json.dumps(row) for row in asked])
    return written(folder / "qrels" / "train.tsv", ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in range(queries))])


def read(path: str, **more: Any) -> Task:
    return task({"train": path}, kind=NAME, max_length=24, allow_unknown=True, **more)


def test_pairs_with_scores_are_laid_out_side_by_side(tmp_path: Path) -> None:
    data = read(graded(tmp_path / "a.tsv"))
    assert data.labels == ("score",)
    assert data.metric == "spearman"
    encoded = data.encode(data.train, tiny_tokenizer())
    count = len(data.train)
    assert len(encoded) == 2 * count
    assert encoded.groups is not None
    assert encoded.groups.tolist() == [number for number in range(count) for _ in range(2)]
    truth = encoded.labels.truth
    assert isinstance(truth, Graded)
    assert truth.grades.tolist() == [float(label) for label in data.train.labels]
    assert encoded.labels.known[:2].tolist() == [[0, 0, truth.grades[0]], [0, 1, truth.grades[0]]]


def test_pairs_without_scores_belong_together(tmp_path: Path) -> None:
    lines = [f"what is number{i}\tit is {WORDS[i % 12]} number{i}" for i in range(60)]
    data = read(written(tmp_path / "a.tsv", ["anchor\tpositive", *lines]))
    assert data.labels == ("relevance",)
    assert data.metric == "ndcg_at_10"
    truth = data.encode(data.evaluation, tiny_tokenizer()).labels.truth
    assert isinstance(truth, Ranked)
    assert [dict(own) for own in truth.relevances] == [{number: 1.0} for number in range(len(data.evaluation))]


def test_a_search_has_all_documents_to_measure_on_and_pairs_to_learn_from(tmp_path: Path) -> None:
    data = read(search(tmp_path / "set"))
    assert data.metric == "ndcg_at_10"
    tokenizer = tiny_tokenizer()
    measured = data.encode(data.evaluation, tokenizer)
    truth = measured.labels.truth
    assert isinstance(truth, Ranked)
    assert len(truth.documents) == 80
    assert len(measured) == 80 + len(data.evaluation)
    learned = data.encode(data.train, tokenizer)
    known, count = learned.labels.known, len(data.train)
    assert isinstance(learned.labels.truth, NothingKnown)
    assert known[: 2 * count, 1].tolist() == [0, 1] * count
    assert len(learned) == 80 + count  # each query once, each document once
    assert data.describe()["splits"]["evaluation"]["documents"] == 80
    chosen = data.encode(data.calibration, tokenizer)
    assert len(chosen) == 2 * len(data.calibration)


def test_texts_alone_are_learned_from_and_pairs_measured_on(tmp_path: Path) -> None:
    rows = [f"{WORDS[i % 12]} number{i} says {WORDS[i * 5 % 12]}" for i in range(60)]
    texts = written(tmp_path / "texts.txt", [*rows, "", ""])
    files = {"train": texts, "validation": graded(tmp_path / "dev.tsv")}
    data = task(files, kind=NAME, max_length=24, allow_unknown=True)
    assert data.metric == "spearman"
    assert data.train.pairs is None
    assert data.encode(data.train, tiny_tokenizer()).groups is None
    teacher, student = (tiny_of("bert", task=data, seed=seed) for seed in (3, 4))
    run = StepContext(device="cpu")
    learned = cp.distill(student, teacher=teacher, task=data, objectives={"vectors": 1.0}, epochs=2, batch_size=8, run=run)
    assert run.facts["best_epoch"] == 2  # the last one, since nothing tells
    assert run.facts["metrics"] == {}
    encoded = data.encode(data.train, tiny_tokenizer())
    from compress.training.predict import predict

    before, after, wanted = (predict(model, encoded) for model in (student, learned, teacher))
    assert KIND.relative_error(wanted, after) < KIND.relative_error(wanted, before)


def test_the_score_is_spearmans_of_the_cosines(tmp_path: Path) -> None:
    data = read(graded(tmp_path / "a.tsv"))
    encoded = data.encode(data.evaluation, tiny_tokenizer())
    vectors = np.random.default_rng(1).normal(size=(len(encoded), 5)).astype(np.float32)
    own = [float(a @ b / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in zip(vectors[::2], vectors[1::2], strict=True)]
    expected = spearmanr(own, data.evaluation.labels.astype(float)).statistic
    scores = KIND.score(vectors, encoded.labels, "spearman")
    assert scores["spearman"] == pytest.approx(expected)
    judged = KIND.judge(vectors, encoded.labels, "spearman")
    low, high = judged["metrics_ci95"]["spearman"]
    assert low < scores["spearman"] < high
    same = KIND.compare(vectors, vectors, encoded.labels, "spearman")
    assert same["agreement"] == 1.0
    assert same["likeness"] == pytest.approx({"mean": 1.0, "worst": 1.0})
    assert "likeness" not in KIND.compare(vectors, vectors[:, :3], encoded.labels, "spearman")


def test_a_search_is_scored_by_ranks_and_with_the_baselines_documents() -> None:
    """Two queries, three documents; the second query's document is found second."""
    truth = Ranked(np.array([0, 1]), np.array([2, 3, 4]), [{0: 1.0}, {2: 1.0}])
    vectors = np.array([[1, 0], [0, 1], [9, 0], [1, 9], [1, 5]], dtype=np.float32)
    known = type("Laid", (), {"truth": truth})
    scores = KIND.score(vectors, known, "ndcg_at_10")  # type: ignore[arg-type]
    assert scores["ndcg_at_10"] == pytest.approx((1 + 1 / math.log2(3)) / 2)
    assert scores["mrr_at_10"] == pytest.approx(0.75)
    assert scores["recall_at_100"] == 1.0
    assert {"int8_ndcg_at_10", "binary_ndcg_at_10"} < scores.keys()
    other = vectors.copy()
    other[[3, 4]] = vectors[[4, 3]]  # other documents, with which the subject alone would be right
    compared = KIND.compare(vectors, other, known, "ndcg_at_10")  # type: ignore[arg-type]
    assert compared["baseline_documents"] == {"ndcg_at_10": pytest.approx(scores["ndcg_at_10"])}
    assert compared["drop"]["value"] == pytest.approx(scores["ndcg_at_10"] - 1.0)
    assert compared["agreement"] == 0.5


def test_vectors_of_a_byte_or_a_bit() -> None:
    documents = np.array([[0.0, -1.0], [0.5, 1.0], [1.0, 0.0]])
    assert as_kept(documents, "binary").tolist() == [[-1, -1], [1, 1], [1, -1]]
    kept = as_kept(documents, "int8")
    assert np.abs(kept - documents).max() <= 1 / 255
    assert len(np.unique(as_kept(np.random.default_rng(0).normal(size=(5000, 1)), "int8"))) <= 256


def test_cosines_of_nothing_are_nothing() -> None:
    assert cosines(np.zeros((1, 2)), np.ones((1, 2))).tolist() == [0.0]


def test_pairs_are_put_in_order_by_their_scores() -> None:
    """CoSENT over three pairs, by hand."""
    first = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), dim=-1)
    second = torch.nn.functional.normalize(torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]]), dim=-1)
    said = [1 / math.sqrt(2), 1.0, 0.0]
    grades = torch.tensor([2.0, 1.0, 1.0])
    expected = math.log(1 + math.exp(3 * (said[1] - said[0])) + math.exp(3 * (said[2] - said[0])))
    assert in_order(first, second, grades, 3.0).item() == pytest.approx(expected, rel=1e-5)
    assert in_order(first, second, torch.ones(3), 3.0).item() == 0.0  # nothing is before anything


def test_a_batch_is_parted_by_its_pairs() -> None:
    known = torch.tensor([[7.0, 1, 2], [3, 0, 1], [7, 0, 2], [3, 1, 1], [9, 1, math.nan]])
    outputs = torch.arange(10.0).reshape(5, 2) + 1
    first, second, others, grades = parted(outputs, known)
    unit = torch.nn.functional.normalize(outputs, dim=-1)
    assert torch.equal(first, unit[[1, 2]])
    assert torch.equal(second, unit[[3, 0]])
    assert torch.equal(others, unit[[4]])
    assert grades is not None
    assert grades.tolist() == [1, 2]


def test_prompts_stand_before_texts_by_their_role(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    data = read(search(tmp_path / "set"))
    plain = data.encode(data.evaluation, tokenizer)
    tokenizer.prompts = {"query": "the film ", "passage": "a plot "}
    prompted = data.encode(data.evaluation, tokenizer)
    before = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("the film", "a plot", "good")]
    count = len(data.evaluation)
    assert prompted.input_ids[0] == [plain.input_ids[0][0], *before[0], *plain.input_ids[0][1:]]
    assert prompted.input_ids[count] == [plain.input_ids[count][0], *before[1], *plain.input_ids[count][1:]]
    tokenizer.prompts = {"": "good "}
    assert data.encode(data.evaluation, tokenizer).input_ids[0][1:2] == before[2]


def test_a_student_of_another_width_learns_through_a_projection_that_stays_or_goes(tmp_path: Path) -> None:
    data = read(graded(tmp_path / "a.tsv"))
    teacher = tiny_of("bert", task=data)
    student = cp.build_student(teacher, kind="bert", layers=1, width=8, heads=2, task=data)
    how: dict[str, Any] = {"teacher": teacher, "task": data, "objectives": {"vectors": 1.0}, "epochs": 1, "batch_size": 8}
    gone = cp.distill(student, **how, run=StepContext(device="cpu"))
    assert output_count(gone) == 8
    stays = cp.distill(student, **how, keep_projection=True, run=StepContext(device="cpu"))
    assert output_count(stays) == 16
    assert [shape.outputs for shape in pooling_of(stays.config).projections] == [16]
    with pytest.raises(InputError, match=r"'logits', which compares vectors of 8 numbers .student. with 16"):
        cp.distill(student, **{**how, "objectives": {"logits": 1.0}}, run=StepContext(device="cpu"))
    with pytest.raises(InputError, match="project is false; set it to true"):
        cp.distill(student, **how, project=False, run=StepContext(device="cpu"))
    with pytest.raises(InputError, match=r"distill\.keep_projection is true, but student and teacher both answer 16 numbers"):
        cp.distill(teacher, **how, keep_projection=True, run=StepContext(device="cpu"))


def test_beginnings_of_vectors_learn_too(tmp_path: Path) -> None:
    data = read(graded(tmp_path / "a.tsv"))
    teacher, student = (tiny_of("bert", task=data, seed=seed) for seed in (3, 4))
    run = StepContext(device="cpu")
    how: dict[str, Any] = {"teacher": teacher, "task": data, "epochs": 1, "batch_size": 8, "run": run}
    whole = cp.distill(student, objectives={"similarities": 1.0}, **how)
    nested = cp.distill(student, objectives={"similarities": 1.0}, nested=[4], **how)
    assert any((before != after).any() for before, after in zip(whole.parameters(), nested.parameters(), strict=True))
    with pytest.raises(InputError, match=r"distill\.nested is \[16\], but vectors have 16 numbers"):
        cp.distill(student, objectives={"similarities": 1.0}, nested=[16], **how)
    with pytest.raises(InputError, match=r"nested is \[4\], but none of its objectives teaches beginnings"):
        cp.distill(student, objectives={"vectors": 1.0}, nested=[4], **how)
    with pytest.raises(InputError, match=r"fine_tune\.nested is \[99\], but vectors have 16 numbers"):
        cp.fine_tune(student, task=data, nested=[99], run=run)


def test_objectives_of_vectors_refuse_labels() -> None:
    from tests.tiny_models import tiny_bert, toy_task

    for name in ("vectors", "similarities", "contrastive"):
        message = f"names '{name}', which compares vectors of texts, but the model answers with bad, good"
        with pytest.raises(InputError, match=message):
            cp.distill(tiny_bert(seed=4), teacher=tiny_bert(), task=toy_task(), objectives={name: 1.0})


def test_a_new_head_is_refused(tmp_path: Path) -> None:
    data = read(graded(tmp_path / "a.tsv"))
    with pytest.raises(InputError, match="new_head is true, but the task's answers are vectors"):
        cp.fine_tune(tiny_of("bert", task=data), task=data, new_head=True)


def test_a_model_that_tells_nothing_is_refused(tmp_path: Path) -> None:
    data = read(graded(tmp_path / "a.tsv"))
    laid = data.encode(data.evaluation, tiny_tokenizer()).labels
    good = np.zeros((len(laid), 2), dtype=np.float32)
    good[::2, 0], good[1::2, 0] = 1.0, laid.truth.grades
    good[1::2, 1] = 5.0 - laid.truth.grades
    KIND.check_answers(good, laid, ("score",), trains=False)
    worst = good.copy()
    worst[1::2] = good[1::2, ::-1]
    with pytest.raises(InputError, match="tell nothing of which belong together"):
        KIND.check_answers(worst, laid, ("score",), trains=False)
    KIND.check_answers(worst, laid, ("score",), trains=True)


def test_differing_pairs_and_queries_are_shown(tmp_path: Path) -> None:
    data = read(graded(tmp_path / "a.tsv"))
    encoded = data.encode(data.evaluation, tiny_tokenizer())
    random = np.random.default_rng(1)
    before, after = (random.normal(size=(len(encoded), 4)).astype(np.float32) for _ in range(2))
    shown = KIND.differing(before, after, data.evaluation, encoded, data.labels, 3)
    apart = np.abs(encoded.labels.truth.said(before) - encoded.labels.truth.said(after))
    assert shown[0]["text"] == data.evaluation.texts[int(apart.argmax())]
    searched = read(search(tmp_path / "set"))
    encoded = searched.encode(searched.evaluation, tiny_tokenizer())
    before, after = (random.normal(size=(len(encoded), 4)).astype(np.float32) for _ in range(2))
    entry = KIND.differing(before, after, searched.evaluation, encoded, searched.labels, 3)[0]
    assert all("number" in entry[key] for key in ("label", "teacher", "student"))
    assert entry["teacher"] != entry["student"]


HEADER = "sentence1\tsentence2\tscore"
MANY = [f"a number{i}\t{WORDS[i % 12]} d {i}\t{i % 4}" for i in range(40)]
WRONG: dict[str, tuple[list[str], str]] = {
    "no number": ([HEADER, *MANY, "e\tf\thigh"], r"line 42, column 'score': 'high'"),
    "not finite": ([HEADER, "e\tf\tinf", *MANY], r"line 2, column 'score': 'inf'"),
    "one score": ([HEADER, *(f"{row[:-1]}3" for row in MANY)], r"every row has the score '3'"),
    "texts alone": (["text", *(row.partition("\t")[0] for row in MANY)], r"texts alone, by which nothing is measured"),
    "an empty text": ([HEADER, "\tf\t1", *MANY], r"line 2"),
    "no such column": ([HEADER.replace("sentence1", "what"), *MANY], r"which column is the text\?"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_rows_is_told(what: str, tmp_path: Path) -> None:
    lines, message = WRONG[what]
    with pytest.raises(InputError, match=message):
        read(written(tmp_path / "a.tsv", lines))


def test_metrics_and_labels_that_do_not_belong_to_the_rows_are_refused(tmp_path: Path) -> None:
    pairs, documents = graded(tmp_path / "a.tsv"), search(tmp_path / "set")
    with pytest.raises(InputError, match=r"ndcg_at_10, but the data has scores for pairs; use spearman or pearson"):
        read(pairs, metric="ndcg_at_10")
    with pytest.raises(InputError, match=r"pearson, but the data has texts that belong together; use ndcg_at_10"):
        read(documents, metric="pearson")
    with pytest.raises(InputError, match="vectors of texts have none; leave labels out"):
        read(pairs, labels=["a", "b"])
    with pytest.raises(InputError, match="holds texts alone"):
        evaluation_task(written(tmp_path / "t.txt", ["one", "two"]), labels=[], kind=NAME)


def test_judgements_without_a_relevant_document_are_refused(tmp_path: Path) -> None:
    path = search(tmp_path / "set")
    written(Path(path), ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t0" for i in range(40))])
    with pytest.raises(InputError, match="has no query with a relevant document"):
        read(path)


def test_scifact_is_read_from_its_folder_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BERT_COMPRESS_DATA", raising=False)
    with pytest.raises(InputError, match=r"data 'scifact' is read from files; give task\.data_dir"):
        task("scifact", kind=NAME)
    search(tmp_path / "scifact")
    (tmp_path / "scifact/qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t1\nq1\td1\t1\n", encoding="utf-8")
    data = task("scifact", kind=NAME, data_dir=str(tmp_path), max_length=24, allow_unknown=True)
    assert len(data.evaluation) == 2
    assert data.licence == "claims and annotations CC BY 4.0, abstracts ODC-By 1.0"
    assert replace(data, max_length=12).fingerprint != data.fingerprint
