"""A model that reads and writes: step by step as at once, and as transformers computes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import EncoderDecoderModel

import compress as cp
from compress.models.encoder_decoder import TorchWriter, past_names, search_with
from compress.models.layout import all_layers, decoder_layers, distinct_layers, encoder_layers, head_count, neuron_count
from compress.models.surgery import keep_heads, keep_layers, keep_neurons
from compress.runtimes.writing import forced, write
from tests.tiny_models import differences, state_of, tiny_bert
from tests.written_texts import tiny_writer, writing_task


@pytest.fixture(scope="module")
def writer() -> Any:
    return tiny_writer()


def given(model: Any, count: int = 3) -> dict[str, np.ndarray]:
    """A batch of texts with their translations."""
    task = writing_task()
    return task.encode(task.train.take(count), model.tokenizer).batch(range(count))


def scores(model: Any, batch: dict[str, np.ndarray]) -> torch.Tensor:
    """What the model answers, of the tokens that are no padding."""
    with torch.no_grad():
        logits = model(**{name: torch.from_numpy(values) for name, values in batch.items()}).logits
    return logits[torch.from_numpy(batch["decoder_attention_mask"]).bool()]


def as_transformers(model: Any, folder: Path) -> Any:
    """The same model, saved, as transformers loads it."""
    return EncoderDecoderModel.from_pretrained(cp.save(model, folder)).eval()


def pruned(model: Any) -> Any:
    """Without some heads and neurons, and without any in the last layer of the decoder."""
    heads = [[0, 2], [1], [0, 1, 3], []]
    return keep_neurons(keep_heads(model, heads), [range(20), range(3), range(24), range(7)])


def test_the_decoder_s_layers_stand_behind_the_encoder_s(writer: Any) -> None:
    assert len(encoder_layers(writer)) == len(decoder_layers(writer)) == 2
    assert all_layers(writer) == distinct_layers(writer) == [*encoder_layers(writer), *decoder_layers(writer)]
    assert decoder_layers(tiny_bert()) == []


@pytest.mark.parametrize("changed", [lambda model: model, pruned], ids=["whole", "pruned"])
def test_steps_with_a_memory_score_what_the_whole_text_does(changed: Any, writer: Any) -> None:
    model = changed(writer)
    batch = given(model)
    mask = torch.from_numpy(batch["decoder_attention_mask"]).bool()
    expected = scores(model, batch)
    at_once = torch.from_numpy(forced(TorchWriter(model), batch))
    torch.testing.assert_close(at_once[mask], expected, atol=1e-5, rtol=0)
    steps, state = [], (torch_writer := TorchWriter(model)).read(batch)
    for place in range(batch["decoder_input_ids"].shape[1]):
        logits, state = torch_writer.step(batch["decoder_input_ids"][:, place : place + 1], state)
        steps.append(torch.from_numpy(logits))
    torch.testing.assert_close(torch.cat(steps, 1)[mask], expected, atol=1e-5, rtol=0)
    assert [state[name].shape[2] for name in past_names(model)] == [len(steps)] * len(past_names(model))


def test_what_is_written_before_does_not_know_what_comes_later(writer: Any) -> None:
    batch = given(writer, 1)
    before = forced(TorchWriter(writer), batch)
    batch["decoder_input_ids"][0, 3] += 1
    after = forced(TorchWriter(writer), batch)
    np.testing.assert_allclose(before[:, :3], after[:, :3], atol=1e-6)
    assert np.abs(before[:, 3:] - after[:, 3:]).max() > 1e-3


@pytest.mark.parametrize("beams", [1, 2, 4])
@pytest.mark.parametrize("penalty", [0.4, 1.0, 2.0])
def test_texts_are_those_that_transformers_generates(beams: int, penalty: float, writer: Any, tmp_path: Path) -> None:
    model = as_transformers(writer, tmp_path / "saved")
    batch = {name: values for name, values in given(writer, 6).items() if not name.startswith("decoder")}
    how = {"num_beams": beams, "do_sample": False, "max_length": 16, **({"length_penalty": penalty} if beams > 1 else {})}
    expected = model.generate(**{name: torch.from_numpy(values) for name, values in batch.items()}, **how)[:, 1:].numpy()
    search = replace(search_with(writer), longest=15, beams=beams, length_penalty=penalty)
    ids = write(TorchWriter(writer), batch, search)
    np.testing.assert_array_equal(ids[:, : expected.shape[1]], expected)
    assert (ids[:, expected.shape[1] :] == search.padding).all()


def test_a_saved_model_is_one_of_transformers_and_reads_back(writer: Any, tmp_path: Path) -> None:
    batch = given(writer)
    theirs = as_transformers(writer, tmp_path / "saved")
    torch.testing.assert_close(scores(theirs, batch), scores(writer, batch))
    again = cp.load(tmp_path / "saved")
    assert not differences(state_of(writer), state_of(again))
    assert search_with(again) == search_with(writer)
    assert again.tokenizer.writer.get_vocab() == writer.tokenizer.writer.get_vocab()
    assert again.tokenizer.writer.model_max_length == 20
    assert not again.has_new_head


def test_pruned_layers_of_both_parts_are_saved_and_loaded(writer: Any, tmp_path: Path) -> None:
    model = pruned(writer)
    again = cp.load(cp.save(model, tmp_path / "saved"))
    assert [head_count(layer) for layer in all_layers(again)] == [2, 1, 3, 0]
    assert [neuron_count(layer) for layer in all_layers(again)] == [20, 3, 24, 7]
    assert torch.equal(scores(again, given(writer)), scores(model, given(writer)))


def test_a_layer_of_the_decoder_that_goes_leaves_the_encoder(writer: Any, tmp_path: Path) -> None:
    smaller = keep_layers(writer, [1], "decoder")
    assert (len(encoder_layers(smaller)), len(decoder_layers(smaller)), smaller.config.decoder.num_hidden_layers) == (2, 1, 1)
    kept, old = (dict(layers[-1].named_parameters()) for layers in (decoder_layers(smaller), decoder_layers(writer)))
    assert all(torch.equal(kept[name], old[name]) for name in kept)
    assert torch.equal(scores(cp.load(cp.save(smaller, tmp_path / "saved")), given(writer)), scores(smaller, given(writer)))
    assert torch.equal(scores(as_transformers(smaller, tmp_path / "again"), given(writer)), scores(smaller, given(writer)))
