"""What methods do to a model that reads and writes: to which of its parts, and that it still reads back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import compress as cp
from compress.errors import InputError, NoEffect
from compress.models.layout import all_layers, decoder_layers, encoder_layers, head_count, neuron_count, parameter_count
from compress.models.writer_tokenizer import writer_of
from compress.training.predict import predict
from compress.training.step_context import StepContext
from tests.tiny_models import LONGEST, differences, state_of, tiny_bert
from tests.written_texts import tiny_writer, writing_task

RUN = StepContext(device="cpu")
KNOBS: dict[str, Any] = {"epochs": 1, "batch_size": 16, "run": RUN}


def said(model: Any) -> list[str]:
    task = writing_task()
    encoded = task.encode(task.evaluation, model.tokenizer)
    return encoded.labels.said(predict(model, encoded))


def reads_back(model: Any, folder: Path) -> None:
    again = cp.load(cp.save(model, folder / "saved"))
    assert not differences(state_of(model), state_of(again))
    assert said(again) == said(model)


def test_learning_by_teacher_forcing_makes_the_loss_small() -> None:
    task, run = writing_task(train=200), StepContext(device="cpu")
    learned = cp.fine_tune(tiny_writer(task), task=task, epochs=6, batch_size=16, learning_rate=1e-2, run=run)
    losses = [epoch["loss"] for epoch in run.facts["epochs"]]
    assert losses[-1] < 0.7 * losses[0]
    assert run.facts["metrics"].keys() == {"selection_bleu"}
    encoded = task.encode(task.evaluation, learned.tokenizer)
    batch = {name: torch.from_numpy(values) for name, values in encoded.batch(range(20)).items()}
    targets = task.rules.collate(encoded, np.arange(20), 0)
    with torch.no_grad():
        before, after = (task.rules.loss(model(**batch).logits, targets) for model in (tiny_writer(task), learned))
    assert after < 0.6 * before


def test_every_weight_of_both_parts_learns() -> None:
    model = tiny_writer()
    learned = cp.fine_tune(model, task=writing_task(), learning_rate=1e-3, **KNOBS)
    before, after = dict(model.named_parameters()), dict(learned.named_parameters())
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert not still
    assert learned.decoder.cls.predictions.decoder.weight is learned.decoder.bert.embeddings.word_embeddings.weight


def test_neurons_and_heads_go_from_both_parts(tmp_path: Path) -> None:
    task, model = writing_task(), tiny_writer()
    for layer in decoder_layers(model):  # of which the loss needs nothing
        torch.nn.init.zeros_(layer.output.dense.weight)
        torch.nn.init.zeros_(layer.attention.output.dense.weight)
    fewer = cp.prune_ffn(model, task=task, fraction=0.5, multiple_of=4, run=RUN)
    assert [neuron_count(layer) for layer in all_layers(fewer)] == [24, 24, 0, 0]
    reads_back(fewer, tmp_path / "neurons")
    fewer = cp.prune_heads(model, task=task, fraction=0.5, run=RUN)
    assert [head_count(layer) for layer in all_layers(fewer)] == [4, 4, 0, 0]
    reads_back(fewer, tmp_path / "heads")


def test_layers_of_either_part_are_dropped(tmp_path: Path) -> None:
    model = tiny_writer()
    shallow = cp.drop_layers(cp.drop_layers(model, keep=[1]), layers=1, by="bottom", part="decoder")
    assert (len(encoder_layers(shallow)), len(decoder_layers(shallow))) == (1, 1)
    for kept, old in zip(all_layers(shallow), (encoder_layers(model)[1], decoder_layers(model)[1]), strict=True):
        assert all(torch.equal(tensor, old.state_dict()[name]) for name, tensor in kept.state_dict().items())
    reads_back(shallow, tmp_path)


@pytest.mark.parametrize(
    ("model", "arguments", "error", "said"),
    [
        (tiny_writer, {"keep": [2]}, InputError, "keep names layer 2, but the model has 0 to 1"),
        (tiny_writer, {"layers": 2}, NoEffect, "layers is 2, as many as the model has"),
        (tiny_writer, {"layers": 1, "by": "contribution"}, InputError, "measured on encoder layers alone"),
        (tiny_bert, {"keep": [0]}, InputError, "this bert has no decoder layers; remove the step"),
    ],
)
def test_layers_that_are_not_there_are_not_dropped(model: Any, arguments: dict[str, Any], error: Any, said: str) -> None:
    with pytest.raises(error, match=said):
        cp.drop_layers(model(), part="decoder", **arguments)


def test_distances_of_layers_are_those_of_the_encoder(tmp_path: Path) -> None:
    """States are compared layer by layer of the encoder, answers token by token of what is written."""
    task, student = writing_task(), tiny_writer(seed=4)
    objectives = {"logits": 1.0, "hidden": 0.1, "attention_scores": 0.1}
    taught = cp.distill(student, teacher=tiny_writer(seed=8), task=task, objectives=objectives, **KNOBS)
    assert differences(state_of(student), state_of(taught))
    reads_back(taught, tmp_path)


def test_the_encoder_s_layers_share_and_the_decoder_stays(tmp_path: Path) -> None:
    model = tiny_writer()
    shared = cp.share_layers(model, task=writing_task(), group=2, run=RUN)
    assert parameter_count(shared) < parameter_count(model)
    assert len({id(layer.output.dense.weight) for layer in encoder_layers(shared)}) == 1
    for kept, old in zip(decoder_layers(shared), decoder_layers(model), strict=True):
        assert all(torch.equal(tensor, old.state_dict()[name]) for name, tensor in kept.state_dict().items())
    reads_back(shared, tmp_path)


def test_words_that_are_not_read_go_and_all_are_written(tmp_path: Path) -> None:
    for model in (tiny_writer(), tiny_writer(vocabulary=None)):
        task = writing_task(allow_unknown=True, max_length=12)
        cut = cp.trim_vocabulary(model, task=task, max_length=12)
        assert cut.config.max_position_embeddings == 12
        assert writer_of(cut.tokenizer).get_vocab() == writer_of(model.tokenizer).get_vocab()
        reads_back(cut, tmp_path / str(len(writer_of(model.tokenizer))))


def test_low_rank_reaches_both_parts(tmp_path: Path) -> None:
    flat = cp.low_rank(tiny_writer(), task=writing_task(), rank=3, run=RUN)
    assert all(type(layer.intermediate.dense).__name__ == "LowRankLinear" for layer in all_layers(flat))
    reads_back(flat, tmp_path)


def test_quantizers_are_in_both_parts_and_read_back(tmp_path: Path) -> None:
    aware = cp.quantize_aware(tiny_writer(), task=writing_task(), learning_rate=1e-3, **KNOBS)
    names = {name for name, module in aware.named_modules() if type(module).__name__ == "QuantizedLinear"}
    assert {"bert.encoder.layer.0.output.dense", "decoder.bert.encoder.layer.1.crossattention.self.key"} <= names
    assert "decoder.cls.predictions.decoder" in names  # the largest product of a step
    reads_back(aware, tmp_path)


@pytest.mark.parametrize(
    ("method", "arguments", "said"),
    [
        ("prune_width", {"width": 8, "multiple_of": 4}, "needs a head for whole texts, but the model answers"),
        ("prune_to_latency", {"speedup": 2.0}, "compares probabilities of labels"),
        ("build_student", {"layers": 1}, "build_student starts .* but the model is a BertForSeq2SeqLM \\(bert\\)"),
        (
            "fine_tune",
            {"new_head": True, **KNOBS},
            "a decoder is made by build_decoder",
        ),
        ("prune_after_training", {"speedup": 1.5}, "a bert that writes texts cannot be timed part by part"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(method: str, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        getattr(cp, method)(tiny_writer(), task=writing_task(), **arguments)


def test_texts_longer_than_the_decoder_are_cut_where_they_are_learned() -> None:
    task, model = writing_task(), tiny_writer(max_length=6)
    encoded = task.encode(task.train, model.tokenizer)
    assert max(map(len, encoded.labels.ids)) == 6
    assert encoded.labels.truncated > 0
    cp.fine_tune(model, task=task, learning_rate=1e-3, **KNOBS)
    assert model.config.max_position_embeddings == LONGEST
