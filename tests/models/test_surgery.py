"""A cut copy is a model of its own."""

from __future__ import annotations

import pytest
import torch
from transformers import BertForSequenceClassification

from compress.errors import InputError
from compress.models.attention.kernel import attention_kernel
from compress.models.quantizers import with_quantizers
from compress.models.surgery import copy_of, keep_heads, keep_layers, keep_neurons
from tests.tiny_models import differences, logits_of, state_of, tiny_bert


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
        name.replace("layer.2.", "layer.1."): tensor for name, tensor in model.state_dict().items() if ".layer.1." not in name
    }
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


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ([[0]], "1 lists of heads are given, but the model has 2 layers"),
        ([[0], [1, 4]], r"layer 1: the heads \[1, 4\] must rise within 0 to 3"),
        ([[0], [1, 1]], "layer 1: the heads"),
        ([[2, 0], [1]], "layer 0: the heads"),
        ([[-1], [1]], "layer 0: the heads"),
    ],
)
def test_heads_that_do_not_fit_are_refused(keep: list[list[int]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        keep_heads(tiny_bert(), keep)


def test_a_model_that_quantizes_is_not_cut() -> None:
    with pytest.raises(InputError, match="no neurons can go: the model quantizes; prune it before quantize_aware"):
        keep_neurons(with_quantizers(tiny_bert(), per_channel=True, symmetric=True), [[0], [0]])


def test_a_cut_model_is_cut_again() -> None:
    model = tiny_bert()
    twice = keep_heads(keep_heads(model, [[0, 2, 3], [1, 2]]), [[0, 2], [1]])
    assert not differences(state_of(twice), state_of(keep_heads(model, [[0, 3], [2]])))
    neurons = keep_neurons(keep_neurons(model, [list(range(0, 24, 2)), [5, 7]]), [[1, 11], [0]])
    assert not differences(state_of(neurons), state_of(keep_neurons(model, [[2, 22], [5]])))
    assert not storages(twice) & storages(model)
