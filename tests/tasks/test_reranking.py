"""Passages in an order: how queries are cut and encoded, what is learned, how rankings are scored, compared and shipped."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from sklearn.metrics import ndcg_score

import compress as cp
from compress.errors import InputError
from compress.models.activation import IDENTITY, SIGMOID, activation_of, state_activation
from compress.pruning.fisher import drawn_examples, gate_gradients
from compress.tasks import evaluation_task, task
from compress.tasks.data.ranked import Candidates
from compress.tasks.encoding import Encoded
from compress.tasks.labelled import Task
from compress.tasks.reranking import KIND, LEARNED, MOST_PASSAGES, Ranked
from compress.tasks.split import Split
from compress.tasks.words import texts_of
from compress.training.step_context import StepContext
from tests.cli.calling import call
from tests.tasks.kinds import ROWS
from tests.tiny_models import LONGEST, tiny_for, tiny_tokenizer

WORDS = ("film", "plot", "good", "bad", "dull", "fine")


def rows(folder: Path, queries: int = 60, passages: int = 40, relevant: int = 1) -> Path:
    """Queries with many passages, the first ones relevant."""
    path = folder / "many.jsonl"
    lines = [
        {
            "query": f"query{query}",
            "passages": [f"query{query} passage{place} {WORDS[place % 6]}" for place in range(passages)],
            "labels": [int(place < relevant) for place in range(passages)],
        }
        for query in range(queries)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def ranked(*queries: list[float]) -> Ranked:
    relevances = np.array([relevance for query in queries for relevance in query], dtype=np.float32)
    groups = np.repeat(np.arange(len(queries)), [len(query) for query in queries])
    return Ranked(relevances, np.full(len(groups), np.nan, dtype=np.float32), groups)


def answers(*scores: float) -> np.ndarray:
    return np.array(scores, dtype=np.float32)[:, None]


# -- parts and examples


def test_parts_are_cut_by_query_and_only_what_is_measured_on_keeps_all_passages(tmp_path: Path) -> None:
    read = task({"train": str(rows(tmp_path))}, kind="cross-encoder", selection=0.2, calibration=0.2)
    assert read.kind == "reranking"
    sizes = {split.role: {len(own) for own in split.passages or ()} for split in read.splits()}
    assert sizes == {"train": {16}, "selection": {32}, "calibration": {4}, "evaluation": {40}}
    assert len({text for split in read.splits() for text in split.texts}) == sum(map(len, read.splits())) == 60
    for split in read.splits():
        assert all(own.relevances.count(1.0) == 1 for own in split.labels)
        assert all(own.passages == passages for own, passages in zip(split.labels, split.passages or (), strict=True))
    counts = read.describe()["splits"]["train"]
    assert (counts["passages"], counts["relevant"]) == (16 * len(read.train), 1.0)


def test_what_is_drawn_depends_on_the_texts_alone_and_keeps_what_is_relevant(tmp_path: Path) -> None:
    read = task({"train": str(rows(tmp_path, relevant=30))}, kind="reranking")
    again = task({"train": str(rows(tmp_path, relevant=30))}, kind="reranking")
    assert read.fingerprint == again.fingerprint
    assert all(sum(own.relevances) == LEARNED // 2 for own in read.train.labels)
    assert len({own.passages[:1][0].split()[1] for own in read.train.labels}) > 1  # not the first ones of each query
    few = task({"train": str(rows(tmp_path, relevant=38))}, kind="reranking")
    assert all(sum(own.relevances) == LEARNED - 2 for own in few.train.labels)


def test_other_passages_make_another_task(tmp_path: Path) -> None:
    text = rows(tmp_path).read_text(encoding="utf-8")
    before = task({"train": str(tmp_path / "many.jsonl")}, kind="reranking").fingerprint
    (tmp_path / "many.jsonl").write_text(text.replace("query3 passage0 film", "query3 passage0 movie"), encoding="utf-8")
    assert task({"train": str(tmp_path / "many.jsonl")}, kind="reranking").fingerprint != before


def test_a_few_queries_are_fewer_where_they_have_many_passages(tmp_path: Path) -> None:
    read = task({"train": str(rows(tmp_path))}, kind="reranking", selection=0.2, calibration=0.2).capped(20)
    sizes = {split.role: (len(split), sum(map(len, split.passages or ()))) for split in read.splits()}
    assert sizes["evaluation"] == (8, 320)
    assert sizes["selection"] == (8, 256)
    assert sizes["train"][0] <= 8


def split_of(*queries: tuple[str, tuple[str, ...], tuple[float, ...]], scores: tuple[float, ...] | None = None) -> Split:
    labels = np.empty(len(queries), dtype=object)
    labels[:] = [Candidates(passages, relevances, scores) for _, passages, relevances in queries]
    return Split(
        "evaluation", tuple(query for query, *_ in queries), None, labels, passages=tuple(own.passages for own in labels)
    )


TWO = split_of(
    ("a film", ("it was good", "dull"), (1.0, 0.0)), ("the plot", ("bad " * 40, "fine", "very good"), (0.0, 0.0, 1.0))
)


def test_a_passage_is_cut_at_its_end_and_the_query_stays_whole() -> None:
    encoded = KIND.encode(TWO, tiny_tokenizer(), 12)
    assert encoded.groups is not None
    assert encoded.groups.tolist() == [0, 0, 1, 1, 1]
    assert encoded.truncated == 1
    tokens = [tiny_tokenizer().convert_ids_to_tokens(ids) for ids in encoded.input_ids]
    assert tokens[0] == ["[CLS]", "a", "film", "[SEP]", "it", "was", "good", "[SEP]"]
    assert tokens[2] == ["[CLS]", "the", "plot", "[SEP]", *["bad"] * 7, "[SEP]"]
    assert encoded.token_type_ids is not None
    assert encoded.token_type_ids[0] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert KIND.collate(encoded, np.array([1, 3, 4]), 12)[:, [0, 2]].tolist() == [[0, 0], [0, 1], [1, 1]]
    assert texts_of(TWO)[2:4] == ["it was good", "dull"]


def test_so_many_examples_are_so_many_passages() -> None:
    many = split_of(*((f"query{number}", tuple("abcdefgh"), (1.0, *[0.0] * 7)) for number in range(20)))
    assert len(many.take(40)) == 5
    assert len(many.take(1)) == 1
    assert len(many.take(1000)) == 20
    assert many.take(40).texts == tuple(f"query{number}" for number in (0, 4, 8, 12, 16))


def test_what_is_compared_for_padding_are_passages_of_one_query() -> None:
    encoded = Encoded([[1]] * 100, None, None, 0, 0, "evaluation", groups=np.repeat(np.arange(5), 20))
    chosen = encoded.spread(16)
    assert chosen.tolist() == [*range(8), *range(80, 88)]
    assert encoded.rows_together(chosen).tolist() == [8, 8]
    assert encoded.rows_together(np.array([3, 25, 26, 4])).tolist() == [1, 2, 1]


# -- what is learned


def test_the_loss_on_judgements_is_the_cross_entropy_over_a_query() -> None:
    encoded = KIND.encode(TWO, tiny_tokenizer(), 12)
    targets = KIND.collate(encoded, np.arange(5), 12)
    outputs = torch.tensor([[1.0], [0.0], [3.0], [0.5], [2.0]])
    by_hand = [
        -torch.tensor([1.0, 0.0]).log_softmax(0)[0].item(),
        -torch.tensor([3.0, 0.5, 2.0]).log_softmax(0)[2].item(),
    ]
    assert KIND.loss(outputs, targets).item() == pytest.approx(sum(by_hand) / 2)
    assert KIND.loss(outputs, targets, "sum").item() == pytest.approx(sum(by_hand))
    order = torch.tensor([4, 0, 2, 1, 3])
    assert KIND.loss(outputs[order], targets[order]).item() == pytest.approx(sum(by_hand) / 2)


def test_grades_are_shares_and_a_part_of_a_query_without_anything_relevant_costs_nothing() -> None:
    graded = KIND.encode(split_of(("a", ("b", "c", "d"), (3.0, 1.0, 0.0))), tiny_tokenizer(), 12)
    outputs = torch.tensor([[0.0], [1.0], [2.0]], requires_grad=True)
    shares = outputs[:, 0].log_softmax(0)
    assert KIND.loss(outputs, KIND.collate(graded, np.arange(3), 12)).item() == pytest.approx(
        -(0.75 * shares[0] + 0.25 * shares[1]).item()
    )
    rest = KIND.loss(outputs[2:], KIND.collate(graded, np.array([2]), 12))
    assert rest.item() == 0.0
    assert torch.isfinite(torch.autograd.grad(rest, outputs)[0]).all()


def test_scores_of_another_model_are_learned_as_they_are() -> None:
    scored = KIND.encode(split_of(("a", ("b", "c"), (1.0, 0.0)), scores=(7.5, -1.0)), tiny_tokenizer(), 12)
    targets = KIND.collate(scored, np.arange(2), 12)
    assert KIND.loss(torch.tensor([[7.0], [1.0]]), targets).item() == pytest.approx((0.25 + 4.0) / 2)


def test_softmaxes_are_over_the_passages_that_there_are() -> None:
    student, teacher = torch.tensor([[[1.0], [0.0], [9.0]]]), torch.tensor([[[0.0], [0.0], [-9.0]]])
    mask = torch.tensor([[1, 1, 0]])
    said = torch.tensor([1.0, 0.0]).div(2).log_softmax(0)
    by_hand = (0.5 * (math.log(0.5) - said)).sum()
    assert KIND.divergence(student, teacher, mask, 2.0).item() == pytest.approx(by_hand.item())
    assert KIND.distance(student, teacher, mask).item() == pytest.approx(0.5)


# -- scores


def test_scores_are_means_over_queries() -> None:
    targets = ranked([1, 0, 0], [0, 0, 1, 0], [0, 1])
    scores = answers(3, 2, 1, 4, 3, 2, 1, 0, 9)
    assert KIND.score(scores, targets, "ndcg_at_10") == {
        "ndcg_at_10": pytest.approx((1 + 1 / math.log2(4) + 1) / 3),
        "mrr_at_10": pytest.approx((1 + 1 / 3 + 1) / 3),
    }
    assert list(KIND.score(scores, targets, "mrr_at_10")) == ["mrr_at_10", "ndcg_at_10"]
    random = np.random.default_rng(3)
    relevances = random.integers(0, 3, (20, 15)) + np.eye(20, 15)
    other = random.normal(size=(20, 15)).astype(np.float32)
    mean = KIND.score(other.reshape(-1, 1), ranked(*relevances.tolist()), "ndcg_at_10")["ndcg_at_10"]
    assert mean == pytest.approx(ndcg_score(relevances, other, k=10))


def test_drop_agreement_and_intervals_are_over_queries() -> None:
    targets = ranked([1, 0], [1, 0], [0, 1], [0, 1])
    before, after = answers(2, 1, 2, 1, 1, 2, 1, 2), answers(2, 1, 1, 2, 1, 2, 1, 2)
    compared = KIND.compare(before, after, targets, "mrr_at_10")
    assert compared["drop"]["value"] == pytest.approx(0.125)
    low, high = compared["drop"]["ci95"]
    assert (low, high) == (0.0, pytest.approx(0.375))
    assert compared["agreement"] == 0.75
    judged = KIND.judge(after, targets, "ndcg_at_10")
    assert list(judged["metrics"]) == list(judged["metrics_ci95"]) == ["ndcg_at_10", "mrr_at_10"]
    low, high = judged["metrics_ci95"]["mrr_at_10"]
    assert low < judged["metrics"]["mrr_at_10"] == 0.875 < high


def test_a_flip_is_another_first_passage() -> None:
    before, after = answers(2, 1, 0, 5, 6), answers(2, 1.9, 3, 5, 5.1)
    assert KIND.flips(before, after, np.array([3, 2])).tolist() == [True, False]
    assert KIND.flips(before, after, np.ones(5, dtype=np.int64)).tolist() == [False] * 5
    assert KIND.flips(before, before).tolist() == [False]


def test_a_model_that_ranks_as_chance_does_is_refused_unless_it_is_trained() -> None:
    targets = ranked([1, 0, 0], [1, 0])
    for scores in (answers(0, 0, 0, 0, 0), answers(0, 1, 2, 0, 1)):
        with pytest.raises(InputError, match=r"ranks the passages of 2 queries no better than chance \(ndcg_at_10"):
            KIND.check_answers(scores, targets, ("LABEL_0",), trains=False)
        KIND.check_answers(scores, targets, ("LABEL_0",), trains=True)
    KIND.check_answers(answers(2, 1, 0, 1, 0), targets, ("LABEL_0",), trains=False)


def test_queries_whose_first_passage_falls_the_farthest_are_shown() -> None:
    encoded = KIND.encode(TWO, tiny_tokenizer(), 12)
    before, after = answers(2, 1, 0, 1, 2), answers(1, 2, 2, 1, 0)
    shown = KIND.differing(before, after, TWO, encoded, ("LABEL_0",), 5)
    assert [(row["text"], row["label"], row["teacher"]) for row in shown] == [
        ("the plot", "very good", "very good"),
        ("a film", "it was good", "it was good"),
    ]
    assert shown[0]["student"] == f"{'bad ' * 30}..."
    assert KIND.differing(before, before, TWO, encoded, ("LABEL_0",), 5) == []


def test_what_a_gate_is_worth_is_asked_of_whole_queries(tmp_path: Path) -> None:
    read = read_tiny(tmp_path)
    model = tiny_for(read)
    encoded = drawn_examples(model, read, 20, seed=3)
    assert encoded.groups is not None
    assert np.bincount(encoded.groups).tolist() == [4] * 5  # so many passages, of whole queries
    gradients = torch.cat(gate_gradients(model, encoded).neurons, 1)
    assert (gradients.abs().sum(1) > 0).all()  # a passage alone would have none


# -- texts without labels, and other words


def read_tiny(tmp_path: Path, count: int = 120) -> Task:
    read = task({"train": str(ROWS["reranking"](tmp_path, count))}, kind="reranking", max_length=LONGEST, allow_unknown=True)
    return read.capped(8)


def test_pairs_without_labels_are_the_passages_of_their_query() -> None:
    pairs = Split("train", ("a", "b", *["a"] * 20), ("x", "y", *(f"z{number}" for number in range(20))), np.zeros(22))
    split = KIND.without_labels(pairs)
    assert split.texts == ("a", "a", "b")
    assert [len(own) for own in split.passages or ()] == [16, 5, 1]
    assert all(math.isnan(relevance) for own in split.labels for relevance in own.relevances)
    with pytest.raises(InputError, match="must be pairs here, a query and a passage"):
        KIND.without_labels(Split("train", ("a",), None, np.zeros(1)))


def test_a_teacher_ranks_pairs_without_labels_but_none_of_a_query_that_is_measured_on(tmp_path: Path) -> None:
    read = read_tiny(tmp_path)
    queries = [*read.evaluation.texts, *(f"what was number{index} ?" for index in range(12))]
    text = tmp_path / "pairs.tsv"
    lines = [f"{query}\tthe {word} was good" for query in queries for word in ("film", "plot")]
    text.write_text("\n".join(["text\tpair", *lines]) + "\n", encoding="utf-8")
    run, teacher = StepContext(device="cpu"), tiny_for(read, seed=5)
    how: dict[str, Any] = {"teacher": teacher, "task": read, "epochs": 1, "batch_size": 8, "run": run}
    student = cp.distill(tiny_for(read), objectives={"logits": 1.0, "logit_mse": 0.1}, text=str(text), **how)
    assert run.facts["examples"] == 24
    assert any((old != new).any() for old, new in zip(tiny_for(read).parameters(), student.parameters(), strict=True))


def test_copies_of_queries_keep_their_passages(tmp_path: Path) -> None:
    read, run = read_tiny(tmp_path), StepContext(device="cpu")
    how: dict[str, Any] = {"teacher": tiny_for(read, seed=5), "task": read, "epochs": 1, "batch_size": 8, "run": run}
    cp.distill(
        tiny_for(read), objectives={"margin_mse": 1.0}, augment={"copies": 2, "probability": 1.0, "candidates": 3}, **how
    )
    assert run.facts["examples"] > 4 * len(read.train)
    assert run.facts["examples"] % 4 == 0


# -- files and folders


@pytest.mark.slow
def test_a_shipped_folder_gives_one_logit_and_states_what_is_done_to_it(tmp_path: Path) -> None:
    read = read_tiny(tmp_path)
    model = tiny_for(read)
    assert activation_of(model.config) == IDENTITY
    state_activation(model.config, SIGMOID)
    shipped = cp.export(model, tmp_path / "out", target="onnxruntime-cpu", task=read)
    config = json.loads((shipped.path / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {"0": "LABEL_0"}
    assert config["sentence_transformers"] == {"activation_fn": SIGMOID}
    opened = onnxruntime.InferenceSession(str(shipped.path / "model.onnx"), providers=["CPUExecutionProvider"])
    encoded = read.encode(read.evaluation, model.tokenizer)
    (scores,) = opened.run(["logits"], encoded.batch(range(4)))
    assert scores.shape == (4, 1)
    path = ROWS["reranking"](tmp_path, 24)
    (shipped.path / "bert_compress.json").unlink()  # so that config.json alone tells the kind
    ended = call("eval", str(shipped.path), "--data", str(path), "--allow-unknown", "--max-length", "24", "--json")
    assert ended.exit_code == 0, ended.stderr
    assert list(json.loads(ended.stdout)["metrics"]) == ["ndcg_at_10", "mrr_at_10"]


def test_what_is_measured_on_alone_is_read_whole(tmp_path: Path) -> None:
    read = evaluation_task(rows(tmp_path), labels=["LABEL_0"], kind="reranking")
    assert {len(own) for own in read.evaluation.passages or ()} == {40}
    assert not len(read.train)
    assert MOST_PASSAGES.keys() == {"train", "selection", "calibration"}


def test_names_of_several_outputs_and_sets_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a reranker has one output"):
        task({"train": "a.jsonl"}, kind="reranking", labels=["a", "b"])
    with pytest.raises(InputError, match=r"data 'scifact' is read from files; give task\.data_dir"):
        task("scifact", kind="reranking", data_dir=str(tmp_path))
    with pytest.raises(InputError, match="judged by ndcg_at_10 or mrr_at_10"):
        task({"train": "a.jsonl"}, kind="reranking", metric="accuracy")


def test_scifact_is_read_from_beirs_files(tmp_path: Path) -> None:
    folder = tmp_path / "scifact"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": str(number), "title": f"t{number}", "text": f"word{number} and other words"} for number in range(60)]
    queries = [{"_id": f"q{number}", "text": f"claim of word{number}"} for number in range(60)]
    for name, lines in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for name, numbers in (("train", range(40)), ("test", range(40, 60))):
        lines = [f"q{number}\t{number}\t1" for number in numbers]
        (folder / "qrels" / f"{name}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]), encoding="utf-8")
    read = task("scifact", kind="reranking", data_dir=str(tmp_path))
    assert len(read.evaluation) == 20
    assert {len(own) for own in read.evaluation.passages or ()} == {60}
    assert sum(map(len, read.splits())) == 60
    first = read.evaluation.labels[0]
    assert first.passages[first.relevances.index(1.0)] == "t40 word40 and other words"
