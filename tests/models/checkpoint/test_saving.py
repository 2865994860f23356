"""What is written loads anywhere, and nothing is written by halves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from compress.errors import InputError
from compress.log import libraries_silenced
from compress.models.checkpoint import load, save
from compress.models.quantizers import quantized_linears, quantizers_off
from tests.models.test_structure import RANGES, UNEVEN, cut_unevenly, quantized
from tests.tiny_models import differences, logits_of, state_of


def test_a_saved_model_loads_with_the_same_weights_and_answers_bit_for_bit(model: PreTrainedModel, tmp_path: Path) -> None:
    loaded = load(save(model, tmp_path / "model"))
    assert not differences(state_of(loaded), state_of(model))
    assert torch.equal(logits_of(loaded), logits_of(model))
    assert not loaded.training
    assert loaded.label == "model"
    assert loaded.has_new_head is False
    assert loaded.config.id2label == {0: "bad", 1: "good"}
    assert loaded.tokenizer("a good film").input_ids == model.tokenizer("a good film").input_ids == [2, 5, 13, 7, 3]


def test_an_uneven_model_loads_with_the_same_answers(model: PreTrainedModel, tmp_path: Path) -> None:
    uneven = cut_unevenly(model)
    loaded = load(save(uneven, tmp_path / "model"))
    assert json.loads((tmp_path / "model" / "structure.json").read_text()) == UNEVEN
    assert torch.equal(logits_of(loaded), logits_of(uneven))


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_quantized_model_loads_with_the_same_ranges_and_answers_bit_for_bit(
    model: PreTrainedModel, tmp_path: Path, per_channel: bool, symmetric: bool
) -> None:
    quantizing = quantized(model, per_channel=per_channel, symmetric=symmetric)
    quantizing.bert.pooler.dense.set_range(-1 / 3, 0.1)
    loaded = load(save(quantizing, tmp_path / "model"))
    assert not differences(state_of(loaded), state_of(quantizing))
    assert torch.equal(logits_of(loaded), logits_of(quantizing))
    assert not any(linear.training for linear in quantized_linears(loaded).values())
    again = load(save(loaded, tmp_path / "again"))
    assert torch.equal(logits_of(again), logits_of(quantizing))


@pytest.mark.parametrize(
    ("where", "attribute", "value"),
    [
        ("encoder.layer.1.attention.self.key", "divisor", torch.full((16,), 2.0)),
        ("pooler.dense", "qmax", 63),
        ("pooler.dense", "on", False),
        ("embeddings.word_embeddings", "qmax", 7),
        ("embeddings.word_embeddings", "on", False),
    ],
)
def test_what_a_folder_cannot_tell_of_a_quantizer_is_refused(
    model: PreTrainedModel, tmp_path: Path, where: str, attribute: str, value: Any
) -> None:
    """It would be loaded without, and answer otherwise."""
    quantizing = quantized(model)
    logits = logits_of(quantizing)
    setattr(quantizing.bert.get_submodule(where), attribute, value)
    assert not torch.equal(logits_of(quantizing), logits)
    with pytest.raises(InputError, match=rf"bert\.{where}\.{attribute} is not kept in a saved model.*save the float model"):
        save(quantizing, tmp_path / "model")
    assert not os.listdir(tmp_path)


def test_a_quantized_model_s_weights_are_the_float_model_s_and_its_structure_holds_the_ranges(
    model: PreTrainedModel, tmp_path: Path
) -> None:
    save(quantized(model), tmp_path / "model")
    assert not differences(load_file(tmp_path / "model" / "model.safetensors"), state_of(model))  # no .low and no .high
    quantizers = json.loads((tmp_path / "model" / "structure.json").read_text())["quantizers"]
    assert quantizers == {"per_channel": True, "symmetric": False, "inputs": RANGES}
    with libraries_silenced():
        theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert torch.equal(logits_of(theirs.eval()), logits_of(model))
    loaded = load(tmp_path / "model")
    with quantizers_off(loaded):
        assert torch.equal(logits_of(loaded), logits_of(model))


def test_an_uneven_quantized_model_loads_with_the_same_answers(model: PreTrainedModel, tmp_path: Path) -> None:
    quantizing = quantized(cut_unevenly(model))
    assert torch.equal(logits_of(load(save(quantizing, tmp_path / "model"))), logits_of(quantizing))


def test_transformers_loads_what_was_saved(model: PreTrainedModel, tmp_path: Path) -> None:
    save(model, tmp_path / "model")
    with libraries_silenced():
        theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert type(theirs).__name__ == "BertForSequenceClassification"
    assert torch.equal(logits_of(theirs.eval()), logits_of(model))
    assert tokenizer("very dull").input_ids == model.tokenizer("very dull").input_ids


def test_the_folder_holds_these_files_and_no_pickle(model: PreTrainedModel, tmp_path: Path) -> None:
    save(model, tmp_path / "model")
    assert sorted(os.listdir(tmp_path / "model")) == [
        ".bert-compress",
        "config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "structure.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    with safe_open(tmp_path / "model" / "model.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt"}  # without it, transformers refuses the file


def test_a_save_that_fails_midway_leaves_nothing(
    model: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no tokenizer today")

    monkeypatch.setattr(type(model.tokenizer), "save_pretrained", fail)
    with pytest.raises(RuntimeError, match="no tokenizer today"):
        save(model, tmp_path / "model")
    assert not os.listdir(tmp_path)


def test_a_folder_that_is_not_empty_is_refused_and_kept(model: PreTrainedModel, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("kept")
    with pytest.raises(InputError, match="is not empty; name a new folder"):
        save(model, tmp_path)
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_saving_leaves_the_weights_as_they_are(model: PreTrainedModel, tmp_path: Path) -> None:
    before = state_of(model)
    save(model, tmp_path / "model")
    assert not differences(state_of(model), before)
