"""Students of every kind start from their teacher, and sizes that do not fit are refused before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

import compress as cp
import compress.methods.build_student as module
from compress.errors import InputError, NoEffect
from compress.methods.build_student import build_student
from compress.models.families import KNOWN, WITHOUT_ENCODER
from compress.models.layout import encoder_layers
from compress.models.quantizers import with_quantizers
from compress.models.token_vectors import principal, token_vectors
from compress.training.step_context import StepContext
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tiny_of, tokens, toy_task

STUDENTS: dict[str, dict[str, Any]] = {
    "narrow": {"kind": "bert", "layers": 2, "width": 12, "intermediate": 16, "heads": 2},
    "fewer heads": {"kind": "bert", "layers": 3, "heads": 2},
    "copied": {"kind": "bert", "layers": 2},
    "distilbert": {"kind": "distilbert"},
    "narrow distilbert": {"kind": "distilbert", "width": 8},
    "mobilebert": {"kind": "mobilebert"},
    "wide mobilebert": {"kind": "mobilebert", "width": 32, "normalization": "layer_norm", "feed_forwards": 2},
    "albert": {"kind": "albert", "embedding": 12},
    "narrow albert": {"kind": "albert", "width": 8, "groups": 2},
    "bilstm": {"kind": "bilstm", "width": 6},
    "mixed bilstm": {"kind": "bilstm", "layers": 2, "mix": True, "width": 6, "embedding": 6},
    "static": {"kind": "static", "embedding": 12, "width": 8, "buckets": 31},
    "random static": {"kind": "static", "buckets": 0, "initial": "random"},
    "random": {"kind": "distilbert", "layers": 5, "width": 20, "heads": 5, "initial": "random"},
}
each_student = pytest.mark.parametrize("name", STUDENTS)


@pytest.fixture(scope="module")
def teacher() -> PreTrainedModel:
    return tiny_bert(layers=4)


def built(teacher: PreTrainedModel, seed: int = 13, **arguments: Any) -> PreTrainedModel:
    return build_student(teacher, task=toy_task(), run=StepContext(seed=seed), **arguments)


@each_student
def test_a_student_has_its_class_and_its_teacher_s_labels_and_words(teacher: PreTrainedModel, name: str) -> None:
    before, student = state_of(teacher), built(teacher, **STUDENTS[name])
    assert type(student) is KNOWN[STUDENTS[name]["kind"]].classifier
    assert student.config.id2label == teacher.config.id2label
    assert student.tokenizer.get_vocab() == teacher.tokenizer.get_vocab()
    assert set(teacher.tokenizer("a film")) == set(KNOWN["bert"].inputs)
    assert not differences(before, state_of(teacher))
    assert not {tensor.data_ptr() for tensor in teacher.parameters()} & {tensor.data_ptr() for tensor in student.parameters()}
    assert torch.isfinite(logits_of(student)).all()


@each_student
def test_a_student_is_saved_and_the_same_seed_builds_it_again(teacher: PreTrainedModel, name: str, tmp_path: Path) -> None:
    student, again = (built(teacher, **STUDENTS[name]) for _ in range(2))
    assert not differences(state_of(student), state_of(again))
    loaded = cp.load(cp.save(student, tmp_path / "saved"))
    assert torch.equal(logits_of(loaded), logits_of(student))


def test_copied_layers_are_those_that_are_named(teacher: PreTrainedModel) -> None:
    for kind in ("bert", "distilbert"):
        student = built(teacher, kind=kind, keep=[1, 3])
        kept = [list(layer.parameters()) for layer in encoder_layers(student)]
        for tensors, index in zip(kept, (1, 3), strict=True):
            expected = sorted(tensor.detach().double().sum().item() for tensor in encoder_layers(teacher)[index].parameters())
            assert sorted(tensor.detach().double().sum().item() for tensor in tensors) == expected


def test_all_layers_in_distilbert_say_what_the_teacher_says_in_front_of_the_head(teacher: PreTrainedModel) -> None:
    """Single sentences: their type stands in the positions."""
    student, batch = built(teacher, kind="distilbert", layers=4), tokens()
    types = torch.zeros_like(batch["token_type_ids"])
    expected = teacher.bert(batch["input_ids"], batch["attention_mask"], types).last_hidden_state
    hidden = student.distilbert(batch["input_ids"], batch["attention_mask"]).last_hidden_state
    mask = batch["attention_mask"].bool()
    torch.testing.assert_close(hidden[mask], expected[mask], atol=1e-5, rtol=1e-5)


def test_distilbert_s_head_holds_the_pooler_s_columns_with_both_signs(teacher: PreTrainedModel) -> None:
    student, states = built(teacher, kind="distilbert", layers=4), torch.randn(5, 16)
    before = student.pre_classifier(states)
    torch.testing.assert_close(before[:, :8], -before[:, 8:])
    torch.testing.assert_close(student.classifier.weight[:, :8], -student.classifier.weight[:, 8:])
    columns = {tuple(row.tolist()) for row in teacher.bert.pooler.dense.weight}
    assert all(tuple(row.tolist()) in columns for row in student.pre_classifier.weight[:8])


def test_an_albert_with_a_group_for_each_layer_and_no_narrower_table_is_near(teacher: PreTrainedModel) -> None:
    student = built(teacher, kind="albert", embedding=16, groups=4)
    logits, expected = (logits_of(model) for model in (student, teacher))
    expected, logits = expected[:, 0] - expected[:, 1], logits[:, 0] - logits[:, 1]
    assert torch.corrcoef(torch.stack([expected, logits]))[0, 1] > 0.8


def test_an_albert_s_shared_layer_is_the_middle_one_of_its_group(teacher: PreTrainedModel) -> None:
    student = built(teacher, kind="albert", groups=2)
    queries = [layer.attention.query.weight for layer in dict.fromkeys(encoder_layers(student))]
    assert [
        torch.equal(query, encoder_layers(teacher)[index].attention.self.query.weight)
        for query, index in zip(queries, (1, 3), strict=True)
    ] == [True, True]


def test_padding_does_not_reach_a_mobilebert_s_last_word(teacher: PreTrainedModel) -> None:
    student, batch = built(teacher, kind="mobilebert"), tokens(lengths=(9, 4))
    with torch.no_grad():  # as training may make it
        student.mobilebert.embeddings.embedding_transformation.weight.add_(0.1)
    alone = {name: values[1:, :4] for name, values in batch.items()}
    torch.testing.assert_close(logits_of(student, **batch)[1:], logits_of(student, **alone), rtol=1e-5, atol=1e-5)


def test_shapes_go_by_name_and_a_given_size_goes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.SHAPES, "tinybert4", {"layers": 1, "width": 12, "intermediate": 10, "heads": 3})
    config = built(tiny_bert(), shape="tinybert4", heads=2).config
    sizes = (config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.num_attention_heads)
    assert sizes == (1, 12, 10, 2)


def test_tinybert_s_and_mobilebert_s_shapes_are_those_of_the_papers() -> None:
    assert module.SHAPES["tinybert4"] == {"layers": 4, "width": 312, "intermediate": 1200, "heads": 12}
    assert module.SHAPES["mobilebert"]["bottleneck"] == 128


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"heads": 3}, r"heads is 3, which does not divide width 16"),
        ({"width": 20}, r"width is 20, the teacher's 16 is the most that can be taken from it; use 16, or initial: random"),
        ({"layers": 5}, r"layers is 5, the teacher's 4 is the most"),
        ({"intermediate": 30}, r"intermediate is 30, the teacher's 24 is the most"),
        ({"heads": 8}, r"heads is 8, the teacher's 4 is the most"),
        ({"width": 8, "initial": "copy"}, r"width is 8, the teacher's 16 must be equal to be copied; use 16, or"),
        ({"keep": [1, 4]}, r"keep names layer 4, but the teacher has layers 0 to 3"),
        ({"keep": [2, 1]}, r"keep is \[2, 1\]; name each layer once, in rising order: \[1, 2\]"),
        ({"keep": [1], "layers": 2}, r"keep names 1 layers, but layers is 2"),
        ({"keep": [1], "initial": "random"}, r"keep is \[1\], but no layer is taken"),
        ({"groups": 2}, r"groups is given, but only albert have it"),
        ({"kind": "albert", "groups": 5}, r"groups is 5, but only 4 layers run"),
        ({"kind": "albert", "embedding": 17}, r"embedding is 17, but width is 16"),
        ({"kind": "albert", "keep": [0, 1], "groups": 1}, r"keep names 2 layers, but groups is 1"),
        ({"kind": "mobilebert", "heads": 3}, r"heads is 3, which does not divide bottleneck 4"),
        ({"kind": "mobilebert", "keep": [0]}, r"keep is \[0\], but no layer is taken"),
        ({"kind": "mobilebert", "initial": "copy"}, r"no layer of a BERT fits into a mobilebert"),
        ({"shape": "tinybert5"}, r"shape is 'tinybert5'"),
        ({"layers": 0}, r"layers is 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_before_any_work(
    teacher: PreTrainedModel, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(module, "new_student", lambda *_: pytest.fail("a student was made"))
    with pytest.raises(InputError, match=said):
        built(teacher, **arguments)


def test_wrong_sizes_are_told_together(teacher: PreTrainedModel) -> None:
    with pytest.raises(InputError) as caught:
        built(teacher, layers=9, width=20, heads=3)
    assert len(str(caught.value).splitlines()) == 3


def test_a_student_like_its_teacher_is_no_effect(teacher: PreTrainedModel) -> None:
    with pytest.raises(NoEffect, match="the teacher's shape and layers; make it smaller"):
        built(teacher, layers=4)


def test_what_is_no_even_float_bert_cannot_teach() -> None:
    with pytest.raises(InputError, match="but the model is a DistilBertForSequenceClassification"):
        built(tiny_of("distilbert"))
    with pytest.raises(InputError, match="the model quantizes; build the student before quantize_aware"):
        built(with_quantizers(tiny_bert(), per_channel=True, symmetric=True))
    with pytest.raises(InputError, match=r"looks at the teacher's states; give task"):
        build_student(tiny_bert(), kind="distilbert")


def test_a_student_of_another_family_is_trained_by_its_teacher(teacher: PreTrainedModel) -> None:
    """Of the same width, by hidden states too, though it reads no token types and its teacher does."""
    student = built(teacher, kind="distilbert")
    trained = cp.distill(
        student,
        teacher=teacher,
        task=toy_task(),
        objectives={"logits": 1.0, "hidden": 0.1},
        epochs=1,
        batch_size=8,
        run=StepContext(device="cpu"),
    )
    assert differences(state_of(trained), state_of(student))
    assert type(trained) is type(student)


@each_student
def test_every_student_learns_its_teacher_s_logits(teacher: PreTrainedModel, name: str) -> None:
    student = built(teacher, **STUDENTS[name])
    trained = cp.distill(
        student,
        teacher=teacher,
        task=toy_task(),
        objectives={"logits": 1.0},
        epochs=1,
        batch_size=8,
        augment={"copies": 2},
        run=StepContext(device="cpu"),
    )
    assert differences(state_of(trained), state_of(student))


@pytest.mark.parametrize("kind", WITHOUT_ENCODER)
def test_what_a_student_without_an_encoder_has_no_layer_for_is_refused(teacher: PreTrainedModel, kind: str) -> None:
    with pytest.raises(InputError, match=r"'hidden', which finds no layer to compare: the student has 0 layers|layers names"):
        cp.distill(built(teacher, kind=kind), teacher=teacher, task=toy_task(), objectives={"hidden": 1.0})


@pytest.mark.parametrize("kind", WITHOUT_ENCODER)
def test_students_without_an_encoder_have_the_sizes_that_are_told_and_start_from_the_teacher_s_vectors(
    teacher: PreTrainedModel, kind: str
) -> None:
    student, vectors = built(teacher, kind=kind, embedding=6, width=5), principal(token_vectors(teacher), 6)
    assert {
        name: getattr(student.config, key) for name, key in KNOWN[kind].student_sizes.items() if name in ("embedding", "width")
    } == {
        "embedding": 6,
        "width": 5,
    }
    rows = student.get_input_embeddings().weight.detach()
    torch.testing.assert_close(rows / rows.norm(), vectors / vectors.norm(), rtol=1e-4, atol=1e-5)
    assert not student.config.pairs
    random = built(teacher, kind=kind, embedding=6, initial="random").get_input_embeddings().weight.detach()
    assert not torch.allclose(random / random.norm(), vectors / vectors.norm(), atol=0.05)


@pytest.mark.parametrize("kind", WITHOUT_ENCODER)
def test_a_task_of_pairs_makes_students_that_read_two_sentences_apart(teacher: PreTrainedModel, kind: str) -> None:
    toy = toy_task()
    task = replace(toy, train=replace(toy.train, pairs=toy.train.texts))
    assert build_student(teacher, kind=kind, task=task).config.pairs


VECTORS = "6 4\nfilm 1 2 3 4\nthe 5 6 7 8\ntune 9 8 7 6\ndull 1 0 1 0\nFINE 2 2 0 1\nover 3 1 4 1\n"


def vectors_file(folder: Path, content: str = VECTORS) -> str:
    path = folder / "vectors.txt"
    path.write_text(content, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("kind", WITHOUT_ENCODER)
@pytest.mark.parametrize("by_its_teacher", [True, False])
def test_a_student_of_word_vectors_learns_with_and_without_its_teacher_and_ships(
    teacher: PreTrainedModel, kind: str, by_its_teacher: bool, tmp_path: Path
) -> None:
    run = StepContext(device="cpu")
    student = build_student(teacher, kind=kind, vectors=vectors_file(tmp_path), task=toy_task(), run=run)
    assert run.facts["word_vectors"]["width"] == student.config.embedding_size == 4
    assert student.config.vocab_size == len(student.tokenizer) == 5 + run.facts["word_vectors"]["words_of_texts"] + 2
    assert student.tokenizer.tokenize("Tune over") == ["tune", "over"]  # words of no training text
    rows = student.get_input_embeddings().weight.detach()
    ids = student.tokenizer.convert_tokens_to_ids(["the", "film", "fine"])
    torch.testing.assert_close(rows[ids] / rows[ids[0]][0] * 5, torch.tensor([[5.0, 6, 7, 8], [1, 2, 3, 4], [2, 2, 0, 1]]))
    learned = {"task": toy_task(), "epochs": 1, "batch_size": 8, "run": run}
    if by_its_teacher:
        trained = cp.distill(student, teacher=teacher, objectives={"logits": 1.0}, **learned)
    else:
        trained = cp.fine_tune(student, learning_rate=1e-2, **learned)
    assert differences(state_of(trained), state_of(student))
    again = cp.load(cp.save(trained, tmp_path / "saved"))
    assert again.tokenizer.get_vocab() == student.tokenizer.get_vocab()
    assert torch.equal(logits_of(again), logits_of(trained))
    shipped = cp.export(trained, tmp_path / "out", target="onnxruntime-cpu-int8", task=toy_task())
    assert shipped.stages[-1].accepted
    assert (shipped.path / "tokenizer.json").is_file()


def test_narrower_vectors_are_the_file_s_principal_components(teacher: PreTrainedModel, tmp_path: Path) -> None:
    path = vectors_file(tmp_path)
    whole, narrow = (
        built(teacher, kind="static", vectors=path, **sizes).get_input_embeddings().weight.detach()
        for sizes in ({}, {"embedding": 2})
    )
    expected = principal(whole, 2)
    torch.testing.assert_close(narrow / narrow.norm(), expected / expected.norm(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        (VECTORS, {"embedding": 5}, "width of the word vectors is 5, but those to start from have 4 components"),
        (VECTORS, {"initial": "random"}, "build_student.initial is random, and vectors are given to start from"),
        (VECTORS, {"kind": "bert", "layers": 1}, "build_student.vectors is given, but only bilstm and static have it"),
        (
            VECTORS.replace(" 8\n", "\n"),
            {},
            r"build_student.vectors: .*vectors.txt, line 3: it has 3 numbers, but the vectors are 4",
        ),
        ("haus 1 2\n", {}, "build_student.vectors: .*has a vector for none of the"),
        (None, {}, "build_student.vectors: file missing.txt cannot be read: No such file"),
        (None, {"vectors": None, "words": 3}, "build_student.words is 3, but tells how many of a file of vectors are used"),
    ],
)
@pytest.mark.parametrize("rehearsal", [False, True])
def test_vectors_that_do_not_fit_are_refused_before_any_training(
    teacher: PreTrainedModel, content: str | None, arguments: dict[str, Any], said: str, rehearsal: bool, tmp_path: Path
) -> None:
    path = "missing.txt" if content is None else vectors_file(tmp_path, content)
    given = {"kind": "static", "vectors": path, **arguments}
    with pytest.raises(InputError, match=said):
        build_student(teacher, task=toy_task(), run=StepContext(rehearsal=rehearsal), **given)


def test_vectors_need_the_words_of_a_task(teacher: PreTrainedModel, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="vectors are read for the words of a task's texts; give task"):
        build_student(teacher, kind="static", vectors=vectors_file(tmp_path))


def test_sizes_of_layers_are_refused_where_there_is_none(teacher: PreTrainedModel) -> None:
    with pytest.raises(InputError) as caught:
        built(teacher, kind="bilstm", heads=2, buckets=7, initial="copy")
    assert "build_student.heads is given, but a bilstm has embedding, width, layers, mix alone; leave" in str(caught.value)
    assert "build_student.buckets is given" in str(caught.value)
    assert "initial is copy, but no layer of a BERT fits into a bilstm; use auto or random." in str(caught.value)
    with pytest.raises(InputError, match="buckets is given, but only static have it"):
        built(teacher, kind="bert", layers=1, buckets=7)
    with pytest.raises(
        InputError, match="the vectors are 9 wide and the states 6 in each direction, and a mix of both needs vec"
    ):
        built(teacher, kind="bilstm", mix=True, width=6, embedding=9)
    with pytest.raises(InputError, match="build_student: a BiLSTM of 33 layers is more than the 32"):
        built(teacher, kind="bilstm", layers=33)
    with pytest.raises(InputError, match="layers is given, but a static has embedding, width, buckets alone"):
        built(teacher, kind="static", layers=2)
