"""A cut copy is a model of its own."""

from __future__ import annotations

import pytest
import torch
from transformers import BertForSequenceClassification

from compress.bert.attention import attention_kernel
from compress.bert.surgery import copy_of, keep_layers
from tests.models import differences, logits_of, state_of, tiny_bert


def storages(model: torch.nn.Module) -> set[int]:
    """Where the model's tensors lie in memory."""
    return {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}


def test_a_copy_answers_alike_and_shares_no_tensor() -> None:
    model = tiny_bert()
    copied = copy_of(model)
    assert torch.equal(logits_of(copied), logits_of(model))
    assert not storages(copied) & storages(model)
    assert copied.config is not model.config
    assert copied.tokenizer.get_vocab() == model.tokenizer.get_vocab()
    assert copied.label == model.label


def test_kept_layers_share_no_tensor_and_leave_the_model_as_it_was() -> None:
    model = tiny_bert(layers=3)
    before = state_of(model)
    student = keep_layers(model, [0, 2])
    assert not storages(student) & storages(model)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
    assert not differences(state_of(model), before)
    assert model.config.num_hidden_layers == 3


def test_kept_layers_are_the_named_ones_in_the_named_order() -> None:
    model = tiny_bert(layers=4)
    student = keep_layers(model, [0, 3, 1])
    state = state_of(model)
    for new, old in enumerate([0, 3, 1]):
        kept = state_of(student.bert.encoder.layer[new])
        prefix = f"bert.encoder.layer.{old}."
        assert not differences(kept, {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)})
    assert [layer.attention.self.layer_idx for layer in student.bert.encoder.layer] == [0, 1, 2]


def test_the_cut_model_answers_as_transformers_own_model_with_these_layers() -> None:
    model = tiny_bert(layers=3)
    student = keep_layers(model, [0, 2])
    theirs = BertForSequenceClassification(student.config).eval()
    renamed = {
        name.replace("layer.2.", "layer.1."): tensor
        for name, tensor in model.state_dict().items() if ".layer.1." not in name
    }  # fmt: skip
    theirs.load_state_dict(renamed)
    assert student.config.num_hidden_layers == 2
    assert torch.equal(logits_of(student), logits_of(theirs))


def test_layers_of_a_cut_model_obey_its_configuration() -> None:
    student = keep_layers(tiny_bert(layers=3), [0, 2])
    with attention_kernel(student, "eager"):
        kernels = {layer.attention.self.config._attn_implementation for layer in student.bert.encoder.layer}
    assert kernels == {"eager"}


def test_a_repeated_layer_is_two_layers() -> None:
    student = keep_layers(tiny_bert(), [0, 0])
    first, second = (layer.output.dense.weight for layer in student.bert.encoder.layer)
    assert torch.equal(first, second)
    assert first.data_ptr() != second.data_ptr()


def test_the_kernel_comes_back_after_an_exception() -> None:
    model = tiny_bert()
    with pytest.raises(KeyError), attention_kernel(model, "eager"):
        raise KeyError
    assert model.config._attn_implementation == "sdpa"
