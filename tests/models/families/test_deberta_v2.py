"""DeBERTa answers as in transformers, by their kernels, and its files hold what its positions are multiplied by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from transformers import AutoModelForSequenceClassification, PreTrainedModel

import compress as cp
from compress.errors import InputError
from compress.models.attention.disentangled import DisentangledEncoder, positions_folded
from compress.models.attention.kernel import attention_kernel
from compress.models.first_token import first_token_only
from compress.models.head import MASKED, OF_TOKENS
from compress.models.layout import attention_of, encoder_layers
from compress.models.surgery import keep_heads
from compress.targets.exporting import export
from compress.training.step_context import StepContext
from tests.models.checkpoint.changing import set_json
from tests.tiny_models import LONGEST, in_transformers, logits_of, tiny_of, tokens, toy_task

CPU = StepContext(device="cpu")
LENGTHS = [(9, 4, 1, 7), (6, 6), (1,), (LONGEST,)]


@pytest.fixture
def model() -> PreTrainedModel:
    return tiny_of("deberta-v2")


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_it_answers_as_in_transformers(model: PreTrainedModel, kernel: str, lengths: tuple[int, ...]) -> None:
    batch = tokens(lengths=lengths)
    expected = logits_of(in_transformers(model), **batch)
    with attention_kernel(model, kernel):
        torch.testing.assert_close(logits_of(model, **batch), expected)
        with first_token_only(model), positions_folded(model):
            torch.testing.assert_close(logits_of(model, **batch), expected)


@pytest.mark.parametrize("changes", [{"position_buckets": -1}, {"max_relative_positions": 6}, {"norm_rel_ebd": "none"}])
def test_it_answers_so_however_its_positions_are_told(changes: dict[str, int | str]) -> None:
    model = tiny_of("deberta-v2", **changes)
    for lengths in LENGTHS:
        batch = tokens(lengths=lengths)
        torch.testing.assert_close(logits_of(model, **batch), logits_of(in_transformers(model), **batch))


def test_the_states_of_tokens_are_those_of_transformers(model: PreTrainedModel) -> None:
    batch = {name: values for name, values in tokens().items() if name != "token_type_ids"}
    with torch.no_grad():
        own = model(**batch, output_hidden_states=True).hidden_states
        other = in_transformers(model)(**batch, output_hidden_states=True).hidden_states
    assert len(own) == 3
    real = batch["attention_mask"].bool()
    for state, wanted in zip(own, other, strict=True):
        torch.testing.assert_close(state[real], wanted[real])


def test_gradients_are_those_of_transformers(model: PreTrainedModel) -> None:
    plain = in_transformers(model)
    for each in (model, plain):
        each(**tokens()).logits.square().sum().backward()
    expected = {name: parameter.grad for name, parameter in plain.named_parameters()}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-4, rtol=1e-3)


def test_a_saved_model_is_read_by_transformers(model: PreTrainedModel, tmp_path: Path) -> None:
    folder = cp.save(model, tmp_path / "saved")
    read = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    torch.testing.assert_close(logits_of(read), logits_of(model))
    assert torch.equal(logits_of(cp.load(folder)), logits_of(model))


@torch.no_grad()
@pytest.mark.parametrize("keep", [[[1, 3], [0, 1, 2, 3]], [[2], [0, 3]], [[], [1]], [[3], []]])
def test_heads_that_stay_answer_as_before(model: PreTrainedModel, keep: list[list[int]], tmp_path: Path) -> None:
    silent = keep_heads(model, [[0, 1, 2, 3]] * 2)
    for layer, heads in zip(encoder_layers(silent), keep, strict=True):
        for head in set(range(4)) - set(heads):
            layer.get_submodule("attention.output.dense").weight[:, 4 * head : 4 * head + 4] = 0
    cut = keep_heads(model, keep)
    torch.testing.assert_close(logits_of(cut), logits_of(silent))
    assert torch.equal(logits_of(cp.load(cp.save(cut, tmp_path / "cut"))), logits_of(cut))


def test_products_with_positions_are_folded_for_a_while(model: PreTrainedModel) -> None:
    encoder = model.base_model.encoder
    assert isinstance(encoder, DisentangledEncoder)
    with positions_folded(model):
        assert encoder.folded is not None
        assert len(encoder.folded) == 2 * LONGEST - 1
        assert all(attention_of(layer).folded is not None for layer in encoder_layers(model))
    assert encoder.folded is None
    assert all(attention_of(layer).folded is None for layer in encoder_layers(model))


@pytest.mark.slow
def test_a_file_looks_positions_up_and_multiplies_none(model: PreTrainedModel, tmp_path: Path) -> None:
    shipped = export(model, tmp_path / "out", target="onnxruntime-cpu", task=toy_task())
    graph = onnx.load(shipped.path / "model.onnx").graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    looked_up = [node for node in graph.node if node.op_type == "Gather" and shapes.get(node.input[0]) == (16, 16)]
    assert len(looked_up) == 4  # 2 layers, keys and queries, of 16 buckets
    assert not any(node.op_type in ("GatherElements", "Log") for node in graph.node)


@pytest.mark.slow
def test_a_file_of_half_floats_has_scores_where_products_would_overflow(tmp_path: Path) -> None:
    """A query times a key is beyond 65,504, the score, divided by the root of three times the head's size, is not."""
    model = tiny_of("deberta-v2", layers=1, num_attention_heads=1, initializer_range=0.05)
    with torch.no_grad():
        attention = attention_of(encoder_layers(model)[0])
        for projection in (attention.query_proj, attention.key_proj):
            projection.weight.zero_()
            projection.bias.fill_(75.0)  # 16 * 75 * 75 = 90,000, over the root of 48: 13,000
    shipped = export(model, tmp_path / "out", target="onnxruntime-cuda-fp16", task=toy_task())
    given = {name: values.numpy() for name, values in tokens().items() if name != "token_type_ids"}
    # onnxruntime computes half floats in single ones on a CPU, where nothing overflows
    logits = ReferenceEvaluator(str(shipped.path / "model.onnx")).run(["logits"], given)[0]
    np.testing.assert_allclose(logits, logits_of(model), atol=0.02)


def test_it_is_refused_where_scores_are_asked_for_or_far_attention_or_width(model: PreTrainedModel) -> None:
    with pytest.raises(InputError, match="a deberta-v2 adds products with positions to all scores"):
        cp.swap_attention(model, kind="longformer", window=8, task=toy_task(), run=CPU)
    teacher = tiny_of("deberta-v2", seed=8)
    with pytest.raises(InputError, match="scores of a deberta-v2 depend on positions"):
        cp.distill(model, teacher=teacher, task=toy_task(), objectives={"attention_scores": 1.0}, run=CPU)
    with pytest.raises(InputError, match="positions of a deberta-v2 are rows of the width"):
        cp.prune_width(model, width=12, task=toy_task(), run=CPU)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("relative_attention", False),
        ("share_att_key", False),
        ("position_biased_input", True),
        ("type_vocab_size", 2),
        ("conv_kernel_size", 3),
        ("pos_att_type", ["c2p"]),
        ("pos_att_type", None),
    ],
)
def test_a_configuration_that_it_would_not_follow_is_refused(
    model: PreTrainedModel, key: str, value: object, tmp_path: Path
) -> None:
    folder = cp.save(model, tmp_path / "saved")
    set_json(folder / "config.json", **{key: value})
    with pytest.raises(InputError, match=key):
        cp.load(folder)


def test_a_head_for_masked_words_of_another_form_is_refused_and_a_classifier_with_its_key_is_not(tmp_path: Path) -> None:
    folder = cp.save(tiny_of("deberta-v2"), tmp_path / "saved")
    set_json(folder / "config.json", legacy=False)
    assert cp.load(folder).config.legacy is False
    tiny_of("deberta-v2").base_model.save_pretrained(folder)
    set_json(folder / "config.json", legacy=False)
    with pytest.raises(InputError, match="legacy is False; set it to true"):
        cp.load(folder, head=OF_TOKENS[MASKED], labels=())
