"""Masked words: what files hold, what is masked, how answers are scored, and what a model for them is a start of."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, PreTrainedModel

import compress as cp
from compress.errors import InputError
from compress.models.families import encoder_family
from compress.models.head import MASKED, OF_TOKENS
from compress.models.heads import logits_of
from compress.models.masked_places import at_places
from compress.models.sharing import tied_parameters
from compress.tasks import task
from compress.tasks.labelled import Task
from compress.tasks.masked_pieces import EVERY, MaskedPieces, kept, masked, passes_over, windows_of
from compress.tasks.masked_words import IGNORED, KIND
from compress.tasks.split import Split
from compress.training.masking import masking_of, unmasked
from compress.training.predict import predict
from compress.training.step_context import StepContext
from tests.tasks.kinds import ROWS
from tests.tiny_models import (
    LONGEST,
    PIECES,
    STRUCTURES,
    differences,
    state_of,
    tiny_bert,
    tiny_for,
    tiny_of,
    tiny_tokenizer,
    toy_task,
    without_dropout,
)
from tests.tiny_models import tokens as random_tokens

TEXTS = ("the film was very good and the plot was fine", "bad", "a plot and the plot was very bad and it was very dull")
MASK = PIECES.index("[MASK]")
CPU = StepContext(device="cpu")


def read(folder: Path, lines: list[str] | bytes, name: str = "texts.txt", **arguments: Any) -> Task:
    path = folder / name
    path.write_bytes(lines if isinstance(lines, bytes) else ("\n".join(lines) + "\n").encode())
    data = {"train": str(path), **arguments.pop("data", {})}
    return task(data, kind="masked-words", **arguments)


def sentences(count: int = 40) -> list[str]:
    return [f"number{index} of so many words, w{index}x w{index}y w{index}z" for index in range(count)]


def part(role: Any = "evaluation", texts: tuple[str, ...] = TEXTS) -> Split:
    return Split(role, texts, None, np.zeros(len(texts), dtype=np.int64))


def made(folder: Path) -> Task:
    return task({"train": str(ROWS["masked-words"](folder, 120))}, kind="masked-words", max_length=LONGEST, allow_unknown=True)


# -- what files hold


@pytest.mark.parametrize(
    ("name", "lines", "data"),
    [
        ("a.txt", sentences(), {}),
        ("a.txt", [line for text in sentences() for line in (text, "")], {}),
        ("a.txt", [part for text in sentences() for part in (*text.split(", "), " \t")], {"parted_by": "paragraph"}),
        ("a.tsv", ["text", *sentences()], {}),
        ("a.tsv", ["text\tpair\tlabel", *(f"{text}\tother\tgood" for text in sentences())], {}),
        ("a.csv", ["body", *(f'"{text}"' for text in sentences())], {"text": "body"}),
        ("a.jsonl", [f'{{"text": "{text}"}}' for text in sentences()], {}),
    ],
)
def test_texts_are_read_from_lines_paragraphs_and_columns(
    name: str, lines: list[str], data: dict[str, str], tmp_path: Path
) -> None:
    own_task = read(tmp_path, lines, name, data=data)
    texts = {text.replace(",", "") for split in own_task.splits() for text in split.texts}
    assert texts == {text.replace(",", "") for text in sentences()}
    assert own_task.labels == ()
    assert own_task.train.pairs is None


@pytest.mark.parametrize(
    ("name", "lines", "data", "said"),
    [
        ("a.txt", b"", {}, r"a\.txt is empty; it needs rows"),
        ("a.txt", b"\n \n\t\n", {}, r"a\.txt is empty; it needs rows"),
        ("a.txt", ["one text"], {}, r"a\.txt has 1 rows; at least 16 are needed"),
        ("a.txt", b"text\x00more\n" * 40, {}, r"a\.txt, line 1: there is a zero byte"),
        ("a.txt", b"\x89PNG\r\n\x1a\n" + bytes(range(256)), {}, r"a\.txt"),
        ("a.tsv", ["body\tother", *(f"{text}\t1" for text in sentences())], {}, "name the column of the text with data.text"),
        ("a.tsv", ["body", *sentences()], {"text": "texts"}, r"no column 'texts' \(data\.text\); it has: body"),
        ("a.tsv", ["text\tid", "\t0", *(f"{text}\t1" for text in sentences())], {}, r"a\.tsv.*\n.*line 2.*empty"),
        ("a.tsv", ["text\tlabel", *(f"{text}\tx" for text in sentences())], {"label": "label"}, "data.label is .*no labels"),
        ("a.tsv", ["text\tpair", *(f"{text}\tx" for text in sentences())], {"pair": "pair"}, "data.pair is .*second texts"),
        ("a.tsv", ["text", *sentences()], {"parted_by": "paragraph"}, r"data\.parted_by is 'paragraph'.*reads a\.tsv"),
        ("a.txt", sentences(), {"parted_by": "page"}, "data.parted_by is 'page'; allowed: line, paragraph"),
    ],
)
def test_what_is_no_text_is_refused(
    name: str, lines: list[str] | bytes, data: dict[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=f"(?s){said}"):
        read(tmp_path, lines, name, data=data)


def test_names_of_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="masked words have none; leave labels out"):
        read(tmp_path, sentences(), labels=["good", "bad"])


def test_a_tokenizer_without_a_mask_is_refused_before_anything_is_learned(tmp_path: Path) -> None:
    own_task = made(tmp_path)
    model = tiny_for(own_task)
    model.tokenizer.mask_token = None
    for run in (replace(CPU, rehearsal=True), CPU):
        with pytest.raises(InputError, match=r"no token that masks words; .*set mask_token"):
            cp.fine_tune(model, task=own_task, run=run)


def test_wikitext_loses_its_titles_and_its_joints(tmp_path: Path) -> None:
    folder = tmp_path / "wikitext2"
    folder.mkdir()
    lines = [f" <unk> has {index} @,@ 000 well @-@ known w{index} , 1 @.@ 5 \n = Title = \n \n" for index in range(40)]
    for name in ("train.txt", "test.txt"):
        (folder / name).write_text("".join(line.replace("known", f"known{name[:2]}") for line in lines), encoding="utf-8")
    own_task = task("wikitext2", kind="masked-words", data_dir=str(tmp_path))
    assert "[UNK] has 7,000 well-knownte w7 , 1.5" in own_task.evaluation.texts
    assert len(own_task.evaluation) == 40
    with pytest.raises(InputError, match="set BERT_COMPRESS_DATA"):
        task("wikitext2", kind="masked-words")


# -- what is masked


def test_windows_hold_every_piece_of_every_text() -> None:
    tokenizer = tiny_tokenizer()
    windows = list(windows_of(TEXTS, tokenizer, 6))
    for number, text in enumerate(TEXTS):
        pieces = [window.ids[place] for window in windows if window.text == number for place in window.places]
        assert pieces == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert max(len(window.ids) for window in windows) == 6
    assert len(windows) == 3 + 1 + 4


def test_where_a_model_is_measured_every_piece_is_masked_once() -> None:
    tokenizer = tiny_tokenizer()
    encoded = KIND.encode(part(), tokenizer, LONGEST)
    true: list[Counter[int]] = [Counter() for _ in TEXTS]
    for ids, places, pieces, owner in zip(
        encoded.input_ids, encoded.places or (), encoded.labels.ids, encoded.labels.owners, strict=True
    ):
        true[owner].update(pieces.tolist())
        assert [index for index, piece in enumerate(ids) if piece == MASK] == places.tolist()
        whole = np.array(ids)
        whole[places] = pieces
        assert whole.tolist() == tokenizer(TEXTS[owner])["input_ids"]
    assert true == [Counter(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in TEXTS]
    assert Counter(encoded.labels.owners.tolist()) == {0: EVERY, 1: 1, 2: EVERY}


def test_each_window_is_read_once_elsewhere_and_where_texts_are_many() -> None:
    tokenizer = tiny_tokenizer()
    assert len(KIND.encode(part("train"), tokenizer, LONGEST)) == len(TEXTS)
    windows = list(windows_of(TEXTS * 1000, tokenizer, LONGEST))
    tokens = sum(len(window.ids) for window in windows)
    assert passes_over(windows, measures=True) == 60_000 // tokens
    assert passes_over(windows * 10, measures=True) == 1
    turns = [places.tolist() for _, _, places in masked(windows[:1] * 3, 1, MASK)]
    assert turns == [[1, 8], [2, 9], [3, 10]]


def test_training_masks_anew_what_was_masked_before() -> None:
    tokenizer, rows = tiny_tokenizer(), np.arange(len(TEXTS))
    encoded = KIND.encode(part("train"), tokenizer, LONGEST)
    ids = torch.from_numpy(encoded.batch(rows)["input_ids"])
    pieces = KIND.collate(encoded, rows, ids.shape[1])
    whole = unmasked(ids, pieces)
    assert [row[row != 0].tolist() for row in whole] == [tokenizer(text)["input_ids"] for text in TEXTS]
    masking = masking_of(0.15, tokenizer, torch.arange(len(PIECES)))
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        _, hidden = masking.applied(whole)
        assert not hidden[whole < 5].any()  # special tokens and padding
        seen.add(tuple(hidden.nonzero().flatten().tolist()))
    assert len(seen) > 15
    assert encoded.hides == 0.15


# -- what is learned and answered


def masked_model(family: str, **changes: Any) -> PreTrainedModel:
    return tiny_of(family, task=toy_task(kind="masked-words", labels=()), **changes)


@pytest.mark.parametrize("family", STRUCTURES)
def test_answers_at_some_places_are_those_among_all(family: str) -> None:
    model = masked_model(family)
    batch = {name: values for name, values in random_tokens().items() if name in model.tokenizer.model_input_names}
    places = torch.rand(batch["input_ids"].shape, generator=torch.Generator().manual_seed(1)) < 0.3
    with torch.no_grad():
        whole = logits_of(model(**batch))
        with at_places(model, places):
            some = logits_of(model(**batch))
        again = logits_of(model(**batch))
    assert torch.allclose(some[0], whole[places], atol=1e-6)
    assert torch.equal(again, whole)


def test_what_is_kept_is_the_logarithm_of_the_true_piece_and_the_likeliest_one() -> None:
    logits = torch.randn(5, 9, generator=torch.Generator().manual_seed(1)) * 30
    true = np.array([0, 8, 3, 3, 5])
    answers = kept(logits.numpy(), true)
    assert np.allclose(answers[:, 0], logits.log_softmax(-1)[range(5), true], atol=1e-4)
    assert answers[:, 1].tolist() == logits.argmax(-1).tolist()
    with pytest.raises(InputError, match="answers for 9 pieces, but its tokenizer has a piece with the number 9"):
        kept(logits.numpy(), np.array([0, 0, 0, 0, 9]))


def test_perplexity_and_accuracy_are_those_of_all_masked_pieces() -> None:
    """Text 0: 1/2 and 1/8, the first right; text 1: 1/4, wrong. exp of the mean of log 2, log 8, log 4 is 4."""
    targets = MaskedPieces([np.array([7, 8]), np.array([9])], np.array([0, 1]), 2, tiny_tokenizer())
    answers = np.array([[-np.log(2), 7], [-np.log(8), 5], [-np.log(4), 6]], dtype=np.float32)
    scores = KIND.score(answers, targets, "pseudo_perplexity")
    assert scores == pytest.approx({"pseudo_perplexity": 4.0, "accuracy": 1 / 3})
    assert next(iter(scores)) == "pseudo_perplexity"
    judged_scores = KIND.judge(answers, targets, "pseudo_perplexity")
    low, high = judged_scores["metrics_ci95"]["pseudo_perplexity"]
    assert (low, high) == pytest.approx((4.0, 4.0))  # both texts have the mean log 4
    worse = answers - np.array([[np.log(1.1), 0]], dtype=np.float32)
    compared = KIND.compare(answers, worse, targets, "pseudo_perplexity")
    assert compared["drop"]["value"] == pytest.approx(0.1, abs=1e-5)
    assert compared["drop"]["ci95"] == pytest.approx([0.1, 0.1], abs=1e-5)
    assert compared["agreement"] == 1.0
    assert KIND.compare(answers, worse, targets, "accuracy")["drop"]["value"] == 0.0
    with pytest.raises(InputError, match="compare models with one tokenizer"):
        KIND.compare(answers[:2], answers, targets, "accuracy")


def test_the_score_is_that_of_transformers_model_asked_piece_by_piece(tmp_path: Path) -> None:
    model, texts = masked_model("bert"), TEXTS[:1]
    encoded = KIND.encode(part(texts=texts), model.tokenizer, LONGEST)
    score = KIND.score(predict(model, encoded), encoded.labels, "pseudo_perplexity")["pseudo_perplexity"]
    theirs = AutoModelForMaskedLM.from_pretrained(cp.save(model, tmp_path / "saved"), attn_implementation="sdpa").eval()
    ids = torch.tensor(model.tokenizer(texts[0])["input_ids"])
    total = 0.0
    for turn in range(EVERY):
        places = torch.arange(1, len(ids) - 1)[turn::EVERY]
        given = ids.clone()
        given[places] = MASK
        with torch.no_grad():
            logits = theirs(given[None]).logits[0]
        total -= logits[places].log_softmax(-1)[range(len(places)), ids[places]].sum().item()
    assert score == pytest.approx(np.exp(total / (len(ids) - 2)), rel=1e-5)


def test_an_equal_teacher_leaves_nothing_to_learn_from_its_answers(exact: None, tmp_path: Path) -> None:
    own_task = made(tmp_path)
    model = masked_model("bert", **without_dropout())
    run = StepContext(device="cpu", max_steps=1)
    how: dict[str, Any] = {"objectives": {"logits": 1.0, "cosine": 1.0}, "batch_size": 16}
    cp.distill(model, teacher=model, task=own_task, run=run, **how)
    assert run.facts["epochs"][0]["loss"] == pytest.approx(0.0, abs=1e-5)


def test_the_epoch_with_the_lowest_perplexity_is_kept(exact: None, tmp_path: Path) -> None:
    run = StepContext(device="cpu")
    cp.fine_tune(masked_model("bert"), task=made(tmp_path), run=run, epochs=4, batch_size=8, learning_rate=2e-2)
    perplexities = [epoch["selection_pseudo_perplexity"] for epoch in run.facts["epochs"]]
    assert run.facts["best_epoch"] == 1 + int(np.argmin(perplexities))
    assert run.facts["metrics"] == {"selection_pseudo_perplexity": min(perplexities)}


def test_texts_of_a_file_are_learned_like_the_tasks_own(tmp_path: Path) -> None:
    """So that a student may be distilled on more text, with the loss of masked words too."""
    own_task, more = made(tmp_path), tmp_path / "more.txt"
    more.write_text("\n".join(f"the plot was good and number{index}x" for index in range(40)), encoding="utf-8")
    student, teacher = tiny_for(own_task, seed=3), tiny_for(own_task, seed=4)
    run = StepContext(device="cpu")
    objectives = {"logits": 0.5, "labels": 0.5}
    learned = cp.distill(
        student, teacher=teacher, task=own_task, text=str(more), objectives=objectives, epochs=1, batch_size=8, run=run
    )
    assert run.facts["examples"] == 40
    assert differences(state_of(student), state_of(learned))


def test_a_model_that_knows_nothing_is_refused_unless_it_is_trained() -> None:
    targets = MaskedPieces([np.array([7, 7, 7, 8])], np.array([0]), 1, tiny_tokenizer())
    ignorant = np.array([[-1.0, 7]] * 3 + [[-1.0, 7]], dtype=np.float32)
    with pytest.raises(InputError, match=r"tells 75\.0% of 4 masked pieces, .*commonest one alone is 75\.0%.*fine_tune"):
        KIND.check_answers(ignorant, targets, (), trains=False)
    KIND.check_answers(ignorant, targets, (), trains=True)
    knowing = np.array([[-1.0, 7]] * 3 + [[-1.0, 8]], dtype=np.float32)
    KIND.check_answers(knowing, targets, (), trains=False)


def test_texts_are_shown_with_the_pieces_that_are_told_otherwise() -> None:
    encoded = KIND.encode(part(), tiny_tokenizer(), LONGEST)
    true = encoded.labels.flat
    before = np.stack([np.zeros(len(true)), true], 1).astype(np.float32)
    after = before.copy()
    bad = int(np.flatnonzero(encoded.labels.owner == 1)[0])
    after[bad, 1] = PIECES.index("good")
    (shown,) = KIND.differing(before, after, part(), encoded, (), 5)
    assert (shown["text"], shown["label"], shown["teacher"], shown["student"]) == ("bad", "bad", "bad", "good")


# -- the table that is tied to the head


@pytest.mark.parametrize("family", STRUCTURES)
def test_the_word_table_stays_one_with_the_heads_matrix(family: str, tmp_path: Path) -> None:
    model = masked_model(family)
    ties = tied_parameters(model)
    assert f"{encoder_family(family).masked_head[-1]}.weight" in ties
    own_task = made(tmp_path)
    changed = cp.fine_tune(model, task=own_task, epochs=1, batch_size=16, run=CPU)
    changed = cp.prune_ffn(cp.drop_layers(changed, keep=[0]), task=own_task, fraction=0.5, run=CPU)
    changed = cp.quantize_aware(changed, task=own_task, epochs=1, batch_size=16, run=CPU)
    assert tied_parameters(changed) == ties
    folder = cp.save(changed, tmp_path / "saved")
    assert not load_file(folder / "model.safetensors").keys() & ties.keys()
    again = cp.load(folder)
    assert not again.has_new_head
    assert tied_parameters(again) == ties
    assert not differences(state_of(changed), state_of(again))


def test_a_float_file_holds_the_word_table_once_and_an_int8_file_no_float_one(tmp_path: Path) -> None:
    model, own_task = masked_model("bert", hidden_size=32, intermediate_size=64), made(tmp_path)
    table = model.get_input_embeddings().weight.numel()
    for target, times in (("onnxruntime-cpu", 1), ("onnxruntime-cpu-int8", 0)):
        options = {} if times else {"max_flips": 1.0, "max_relative_error": 10.0}
        cp.export(model, tmp_path / target, target=target, task=own_task, **options)
        tensors = onnx.load(tmp_path / target / "model.onnx").graph.initializer
        floats = [tensor for tensor in tensors if tensor.data_type == onnx.TensorProto.FLOAT]
        assert sum(int(np.prod(tensor.dims)) == table for tensor in floats) == times


def test_a_checkpoint_without_the_head_gets_one_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = cp.save(tiny_bert(), tmp_path / "classifier")
    with pytest.raises(InputError, match="head for labels of a whole text, but the task needs one for MaskedLM"):
        cp.load(folder, head=KIND.head, labels=())
    base = tiny_bert().bert
    base.config.save_pretrained(tmp_path / "base")
    base.save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    with caplog.at_level(logging.INFO):
        model = cp.load(tmp_path / "base", head=OF_TOKENS[MASKED], labels=())
    assert model.has_new_head
    assert "no head for masked words; it gets a new one, tied to its word table" in caplog.text
    assert tied_parameters(model)
    assert torch.equal(model.bert.embeddings.word_embeddings.weight, base.embeddings.word_embeddings.weight)


def test_a_model_for_masked_words_is_the_start_of_a_classifier(tmp_path: Path) -> None:
    """Its encoder stays, and the classifier is new: what is distilled before any task serves all of them."""
    model = cp.fine_tune(masked_model("bert"), task=made(tmp_path), epochs=1, batch_size=16, run=CPU)
    folder, toy = cp.save(model, tmp_path / "steps" / "1-fine_tune"), toy_task()
    start = cp.load(folder, labels=toy.labels, head=toy.rules.head)
    assert start.has_new_head
    assert list(start.config.id2label.values()) == list(toy.labels)
    encoder = {name: value for name, value in state_of(start.bert).items() if not name.startswith("pooler.")}
    assert not differences(state_of(model.bert), encoder)
    tuned = cp.fine_tune(start, task=toy, epochs=1, run=CPU)
    assert type(cp.load(cp.save(tuned, tmp_path / "tuned"))).__name__ == "BertForSequenceClassification"
    assert type(cp.load(folder)).__name__ == "BertForMaskedLM"


# -- what is refused


@pytest.mark.parametrize("method", ["trim_vocabulary", "factorize_embedding"])
def test_the_table_is_not_cut_while_a_head_reads_it(method: str, tmp_path: Path) -> None:
    arguments = {"rank": 2} if method == "factorize_embedding" else {}
    with pytest.raises(InputError, match=f"{method}: .* of masked-words .* in a recipe of the task that comes after it"):
        getattr(cp, method)(masked_model("bert"), task=made(tmp_path), run=CPU, **arguments)


def test_a_new_head_and_weights_of_labels_are_refused(tmp_path: Path) -> None:
    model, own_task = masked_model("bert"), made(tmp_path)
    with pytest.raises(InputError, match="tied to the word table, and has no labels; leave it out"):
        cp.fine_tune(model, task=own_task, new_head=True, run=CPU)
    with pytest.raises(InputError, match="class_weights"):
        cp.fine_tune(model, task=own_task, class_weights="balanced", run=CPU)


def test_targets_stand_at_masked_places_alone() -> None:
    encoded = KIND.encode(part(), tiny_tokenizer(), LONGEST)
    rows = np.arange(3)
    batch = encoded.batch(rows)
    targets = KIND.collate(encoded, rows, batch["input_ids"].shape[1])
    marks = torch.from_numpy(encoded.answered(rows, batch))
    assert torch.equal(targets != IGNORED, marks)
    assert torch.equal(marks, torch.from_numpy(batch["input_ids"] == MASK))
