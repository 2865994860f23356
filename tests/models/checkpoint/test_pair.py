"""Folders of a model that reads and writes: what is read, and what is refused with its cause."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertModel, EncoderDecoderModel

import compress as cp
from compress.errors import InputError
from compress.models.encoder_decoder import search_with
from compress.models.head import OF_TOKENS, TOKENS, WRITER
from compress.models.layout import decoder_layers
from tests.tiny_models import tiny_bert, tiny_tokenizer
from tests.written_texts import tiny_writer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model."""
    return cp.save(tiny_writer(), tmp_path / "saved")


def change(folder: Path, name: str, **values: Any) -> None:
    """Write other values into a JSON file; None takes one out."""
    path = folder / name
    content = json.loads(path.read_text(encoding="utf-8"))
    for key, value in values.items():
        part, _, inner = key.partition("__")
        place = content[part] if inner else content
        if value is None:
            place.pop(inner or part)
        else:
            place[inner or part] = value
    path.write_text(json.dumps(content), encoding="utf-8")


def test_the_files_are_those_that_transformers_and_tokenizers_read(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "encoder-decoder"
    assert config["architectures"] == ["EncoderDecoderModel"]
    assert config["decoder"]["is_decoder"] is config["decoder"]["add_cross_attention"] is True
    assert not {"decoder", "search"} & config["encoder"].keys()
    numbers = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))
    assert (numbers["max_length"], numbers["num_beams"], numbers["decoder_start_token_id"]) == (21, 1, 1)
    names = load_file(folder / "model.safetensors").keys()
    assert {name.partition(".")[0] for name in names} == {"encoder", "decoder"}
    assert not any(name.startswith("decoder.cls.predictions.decoder.") for name in names)  # tied


def test_a_folder_that_transformers_has_saved_is_read(folder: Path, tmp_path: Path) -> None:
    theirs = EncoderDecoderModel.from_pretrained(folder)
    theirs.save_pretrained(tmp_path / "theirs")
    for name in ("tokenizer.json", "tokenizer_config.json", "decoder_tokenizer.json"):
        (tmp_path / "theirs" / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "theirs" / "generation_config.json").unlink()
    ours = cp.load(tmp_path / "theirs", head=OF_TOKENS[WRITER], labels=("text",))
    assert search_with(ours) == search_with(cp.load(folder))
    for name, tensor in cp.load(folder).state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor)


@pytest.mark.parametrize("values", [{"eos_token_id": [2]}, {"num_beams": 3, "length_penalty": 0.5}, {"max_length": 900}])
def test_how_texts_are_written_is_told_by_the_folder(values: dict[str, Any], folder: Path) -> None:
    change(folder, "generation_config.json", **values)
    search = search_with(cp.load(folder))
    assert (search.begin, search.end, search.padding) == (1, 2, 0)
    assert (search.beams, search.length_penalty) == (values.get("num_beams", 1), values.get("length_penalty", 1.0))
    assert search.longest == 20  # no more than there are positions


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("config.json", {"decoder__is_decoder": False}, "decoder.is_decoder is not true, so that it is no decoder"),
        ("config.json", {"decoder__add_cross_attention": None}, "decoder.add_cross_attention is not true"),
        (
            "config.json",
            {"decoder__model_type": "gpt2"},
            "the decoder a 'gpt2' of width 16; both have to be BERTs",
        ),
        ("config.json", {"decoder__hidden_size": 32}, "the decoder a 'bert' of width 32"),
        ("config.json", {"encoder__is_decoder": True}, "is_decoder is True; a decoder is not supported"),
        ("config.json", {"encoder__model_type": "gpt2", "decoder__model_type": "gpt2"}, "model_type is 'gpt2'; allowed: bert"),
        ("config.json", {"decoder__num_hidden_layers": 3}, "structure.json does not describe this model"),
        ("config.json", {"decoder__vocab_size": 200}, "knows 290 tokens, but the decoder has 200|has shape"),
        ("config.json", {"decoder__hidden_act": "nothing"}, "hidden_act is 'nothing'"),
        ("generation_config.json", {"num_beams": 0}, "num_beams is 0; allowed: a whole number from 1 to 63"),
        ("generation_config.json", {"num_beams": True}, "num_beams is True; allowed"),
        ("generation_config.json", {"max_length": 1}, "max_length is 1; allowed"),
        ("generation_config.json", {"eos_token_id": [2, 3]}, r"eos_token_id is \[2, 3\]; allowed"),
        ("generation_config.json", {"pad_token_id": "0"}, "pad_token_id is '0'; allowed"),
        ("generation_config.json", {"length_penalty": "much"}, "length_penalty is 'much'; allowed: a number from -10 to 10"),
    ],
)
def test_files_that_do_not_fit_are_refused(name: str, values: dict[str, Any], said: str, folder: Path) -> None:
    change(folder, name, **values)
    with pytest.raises(InputError, match=said):
        cp.load(folder)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("decoder_tokenizer.json", "decoder_tokenizer.json cannot be read as a tokenizer"),
        ("generation_config.json", "cannot be read as JSON"),
    ],
)
def test_damaged_files_are_refused(name: str, said: str, folder: Path) -> None:
    (folder / name).write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=said):
        cp.load(folder)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (lambda weights: weights | {"enc_to_dec_proj.weight": torch.ones(2, 2)}, "'enc_to_dec_proj.weight', which is neither"),
        (
            lambda weights: {name: weights[name] for name in weights if "crossattention.self.key" not in name},
            "crossattention.self.key.weight is missing",
        ),
        (lambda weights: weights | {"decoder.more": torch.ones(2)}, "decoder.more is not expected"),
    ],
)
def test_weights_that_do_not_fit_are_refused(changed: Any, said: str, folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file(changed(load_file(path)), path)
    with pytest.raises(InputError, match=said):
        cp.load(folder)


def test_another_head_than_the_folder_has_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is 'EncoderDecoderModel': its head writes texts. A head for labels of each token"):
        cp.load(folder, head=OF_TOKENS[TOKENS], labels=("a", "b"))
    classifier = cp.save(tiny_bert(), tmp_path / "classifier")
    with pytest.raises(InputError, match="has a head for labels of a whole text, but the task needs one for Seq2SeqLM"):
        cp.load(classifier, head=OF_TOKENS[WRITER], labels=("text",))


def test_an_encoder_alone_gets_a_new_decoder_with_its_own_words(tmp_path: Path) -> None:
    base = BertModel(tiny_bert(layers=3).config)
    base.save_pretrained(tmp_path / "base")
    tiny_tokenizer().save_pretrained(tmp_path / "base")
    model = cp.load(tmp_path / "base", head=OF_TOKENS[WRITER], labels=("text",))
    assert model.has_new_head
    assert len(decoder_layers(model)) == 2
    assert model.config.decoder.vocab_size == len(model.tokenizer)
    assert search_with(model).longest == model.config.max_position_embeddings
    assert torch.equal(
        model.bert.state_dict()["encoder.layer.2.output.dense.weight"], base.encoder.layer[2].output.dense.weight
    )
    again = cp.load(tmp_path / "base", head=OF_TOKENS[WRITER], labels=("text",))
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
