"""Where the layers are, and what is said about models that the toolkit does not know."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertForTokenClassification, RemBertConfig, RemBertForSequenceClassification

from compress.errors import InputError
from compress.models.layout import encoder_layers, parameter_count, reads_first_token_only, same_input
from tests.tiny_models import logits_of, tiny_bert


def test_layers_stand_from_the_embeddings_up() -> None:
    model = tiny_bert(layers=3)
    assert [layer is model.bert.encoder.layer[index] for index, layer in enumerate(encoder_layers(model))] == [True] * 3


def test_another_family_is_refused_by_name() -> None:
    config = RemBertConfig(vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    with pytest.raises(InputError, match=r"model type 'rembert' is not supported; allowed: bert, distilbert, "):
        encoder_layers(RemBertForSequenceClassification(config))


def test_only_the_classifier_reads_the_first_token_alone() -> None:
    config = BertConfig(vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    assert reads_first_token_only(tiny_bert())
    assert not reads_first_token_only(BertForTokenClassification(config))


def test_linears_that_read_the_same_are_named_together() -> None:
    """Hooks tell which Linears are given one and the same tensor that a LayerNorm made."""
    model, made, read = tiny_bert(layers=2), dict[int, torch.Tensor](), dict[int, list[str]]()
    for name, module in model.bert.named_modules(prefix="bert"):
        if isinstance(module, torch.nn.LayerNorm):
            module.register_forward_hook(lambda _, __, output: made.__setitem__(id(output), output))
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(
                lambda _, inputs, name=name: read.setdefault(id(inputs[0]), []).append(name) if id(inputs[0]) in made else None
            )
    model.bert.embeddings.dropout = torch.nn.Identity()  # passes on the very tensor that it gets
    logits_of(model)
    assert same_input(model) == list(read.values())
    assert [len(names) for names in read.values()] == [3, 1, 3, 1]


def test_parameters_are_counted_by_hand() -> None:
    embeddings = 17 * 16 + 24 * 16 + 2 * 16 + 2 * 16
    layer = 4 * (16 * 16 + 16) + 2 * 16 + (16 * 24 + 24) + (24 * 16 + 16) + 2 * 16
    head = (16 * 16 + 16) + (16 * 2 + 2)
    assert parameter_count(tiny_bert(layers=2)) == embeddings + 2 * layer + head


def test_a_shared_layer_counts_once() -> None:
    model = tiny_bert(layers=2)
    layers = model.bert.encoder.layer
    layer = sum(parameter.numel() for parameter in layers[1].parameters())
    before = parameter_count(model)
    layers[1] = layers[0]
    assert parameter_count(model) == before - layer
