"""A checkpoint's head for masked words is loaded with what it was trained on, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM

import compress as cp
from compress.errors import InputError
from compress.models.checkpoint.masked_lm import load_masked_lm
from tests.tiny_models import PIECES, tiny_bert, tiny_tokenizer, tokens

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint as transformers saves it: the table of words serves as the decoder too, and is stored once."""
    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=24,
        initializer_range=0.2,
    )
    torch.manual_seed(1)
    model = BertForMaskedLM(config)
    torch.nn.init.normal_(model.cls.predictions.bias)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def test_it_answers_as_transformers_own(folder: Path) -> None:
    model, theirs = load_masked_lm(folder), BertForMaskedLM.from_pretrained(folder).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(**tokens()).logits, theirs(**tokens()).logits)
    assert model.tokenizer.get_vocab() == tiny_tokenizer().get_vocab()
    assert not model.training


def test_old_names_of_norms_are_known(folder: Path) -> None:
    before = load_masked_lm(folder)
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in load_file(folder / WEIGHTS).items()
    }
    save_file(old, folder / WEIGHTS, metadata={"format": "pt"})
    with torch.no_grad():
        torch.testing.assert_close(load_masked_lm(folder)(**tokens()).logits, before(**tokens()).logits)


def test_a_classifier_has_no_such_head(tmp_path: Path) -> None:
    saved = cp.save(tiny_bert(), tmp_path / "model")
    with pytest.raises(InputError, match=r"has no head for masked words \(cls\.predictions\.\*\); use the checkpoint"):
        load_masked_lm(saved)


def test_a_head_that_does_not_fit_is_refused(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    del tensors["cls.predictions.transform.dense.bias"]
    tensors["cls.predictions.bias"] = torch.zeros(3)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    said = r"transform\.dense\.bias is missing[\s\S]*predictions\.bias has shape \(3,\), not \(17,\)"
    with pytest.raises(InputError, match=said):
        load_masked_lm(folder)
