"""A network reads how pieces are spelled in the place of the word table: it learns the rows, trains, is saved and shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

import compress as cp
from compress.benchmark.counts import onnx_macs, torch_macs
from compress.errors import InputError
from compress.methods.spell_words import spell_words
from compress.models.from_teacher import student_of
from compress.models.spelled import spelled_of
from compress.targets.onnx.graph import in_onnxruntime
from compress.training.step_context import StepContext
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tiny_for, tiny_tokenizer, tokens, toy_task

SMALL: dict[str, Any] = {"filters": [[1, 3], [2, 4]], "highways": 1, "steps": 5}


def font() -> str:
    """A font that is not of this repository."""
    matplotlib = pytest.importorskip("matplotlib")
    pytest.importorskip("PIL")
    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


def arguments_of(by: str) -> dict[str, Any]:
    if by == "letters":
        return SMALL
    return {"by": "glyphs", "font": font(), "size": 12, "channels": 8, "steps": 5}


BY = pytest.mark.parametrize("by", ["letters", "glyphs"])
MODELS = {
    "bert": tiny_bert,
    "static": lambda: student_of(tiny_bert(), "static", bigram_buckets=31, bigram_size=4, head_size=6),
    "bilstm": lambda: student_of(tiny_bert(), "bilstm", embedding_size=8, lstm_size=8, lstm_layers=2, mixes=True, head_size=6),
}
EACH = pytest.mark.parametrize("kind", MODELS)


@BY
@EACH
def test_a_spelled_model_learns_and_is_the_same_when_loaded(by: str, kind: str, tmp_path: Path) -> None:
    model = MODELS[kind]()
    before, run = state_of(model), StepContext(device="cpu")
    spelled = spell_words(model, task=toy_task(), run=run, **arguments_of(by))
    assert not differences(before, state_of(model))
    assert run.facts["spelling"]["by"] == by
    trained = cp.fine_tune(spelled, task=toy_task(), epochs=1, batch_size=8, learning_rate=1e-2, run=run)
    changed = differences(state_of(trained), state_of(spelled))
    assert any("network.project" in name for name in changed)
    assert not any("spellings" in name or "pictures" in name for name in changed)
    again = cp.load(cp.save(trained, tmp_path / "saved"))
    assert spelled_of(again) is not None
    assert torch.equal(logits_of(again), logits_of(trained))


@BY
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["static", "bilstm"])
def test_the_file_holds_the_rows_as_a_table_and_answers_the_same(by: str, kind: str, tmp_path: Path) -> None:
    model = spell_words(MODELS[kind](), **arguments_of(by))
    shipped = cp.export(model, tmp_path / "out", target="onnxruntime-cpu", task=toy_task())
    opened = in_onnxruntime(shipped.path / "model.onnx")
    for lengths in ((2,), (9, 4, 1, 7)):
        batch = tokens(lengths=lengths)
        logits = opened.run({name: values.numpy() for name, values in batch.items()})
        np.testing.assert_allclose(logits, logits_of(model, **batch).numpy(), atol=1e-5)
    assert onnx_macs(shipped.path / "model.onnx", 10) == torch_macs(model, 10)
    plain = cp.export(MODELS[kind](), tmp_path / "plain", target="onnxruntime-cpu", task=toy_task())
    sizes = [(folder.path / "model.onnx").stat().st_size for folder in (shipped, plain)]
    assert abs(sizes[0] - sizes[1]) < 0.05 * sizes[1]
    whole = cp.export(model, tmp_path / "whole", target="onnxruntime-cpu-int8", task=toy_task())
    assert whole.stages[-1].accepted
    assert spelled_of(model) is not None


def test_more_steps_learn_more_of_the_rows() -> None:
    kept = []
    for steps in (0, 20, 400):
        run = StepContext()
        spell_words(tiny_bert(), steps=steps, run=run)
        kept.append(run.facts["spelling"]["kept"])
    assert kept[0] < kept[1] < kept[2]
    assert kept[2] > 0.8


def test_a_rehearsal_has_the_shape_and_learns_nothing() -> None:
    run = StepContext(rehearsal=True)
    rehearsed, whole = spell_words(tiny_bert(), run=run, **SMALL), spell_words(tiny_bert(), **SMALL)
    assert [tensor.shape for tensor in rehearsed.state_dict().values()] == [
        tensor.shape for tensor in whole.state_dict().values()
    ]
    assert "kept" not in run.facts["spelling"]


def test_training_in_eight_bits_trains_the_table_of_the_rows() -> None:
    spelled = spell_words(tiny_bert(), **SMALL)
    trained = cp.quantize_aware(spelled, task=toy_task(), epochs=1, batch_size=8, run=StepContext(device="cpu"))
    assert spelled_of(trained) is None
    assert trained.get_input_embeddings().weight.shape == spelled.get_input_embeddings().weight.shape


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"by": "glyphs"}, "font is missing; give a file of one"),
        ({"font": "a.ttf"}, "font is given, but only glyphs are drawn"),
        ({"by": "glyphs", "font": "a.ttf", "filters": [[1, 2]]}, "filters is given, but only letters have them"),
        ({"by": "glyphs", "font": "nowhere.ttf"}, "font nowhere.ttf cannot be read as one .*; give a .ttf, .otf or .ttc"),
        ({"filters": [[1, 2, 3]]}, "filters"),
        ({"filters": [[0, 2]]}, "filters"),
        ({"size": 8}, "size is 8"),
        ({"channels": 6}, "channels is 6"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        spell_words(tiny_bert(), **arguments)


def test_a_font_without_the_vocabulary_s_script_is_refused() -> None:
    model = tiny_bert(vocab_size=24)
    model.tokenizer = tiny_tokenizer(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"电影很好看不错糟糕演员故事情节"[:19]))
    with pytest.raises(
        InputError, match=r"has no picture of 15 of the vocabulary's \d+ characters, such as '.*at most a tenth"
    ):
        spell_words(model, by="glyphs", font=font())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: spell_words(tiny_bert(), **SMALL),
            "a network reads how the model's pieces are spelled; spell its words before",
        ),
        (lambda: cp.factorize_embedding(tiny_bert(), task=toy_task(), rank=4), "the model's word table is factorized"),
        (
            lambda: tiny_for(toy_task(kind="masked-words")),
            "the word table of a model of masked-words is what its head multiplies by",
        ),
    ],
)
def test_models_without_a_table_of_their_own_are_refused(make: Any, said: str) -> None:
    model: PreTrainedModel = make()
    with pytest.raises(InputError, match=said):
        spell_words(model, **SMALL)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: cp.factorize_embedding(model, task=toy_task(), rank=4),
        lambda model: cp.trim_vocabulary(model, task=toy_task()),
        lambda model: cp.prune_heads(model, task=toy_task(), fraction=0.4),
        lambda model: cp.build_student(model, layers=1, task=toy_task()),
    ],
)
def test_what_would_cut_the_table_has_to_come_before(change: Any) -> None:
    with pytest.raises(InputError, match=r"a network reads how the model's pieces are spelled; .* before spell_words"):
        change(spell_words(tiny_bert(), **SMALL))
