"""The shortcut through the last layer gives what the whole layer gives."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import BertConfig, BertForTokenClassification, PreTrainedModel

from compress.models.attention.kernel import attention_kernel
from compress.models.first_token import first_token_only
from compress.models.quantizers import quantized_linears, with_quantizers
from tests.tiny_models import logits_of, tiny_bert, tokens, without_dropout


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("lengths", [(9, 4, 1, 7), (6, 6), (1,), (24,)])
def test_logits_equal_those_of_the_whole_layer(model: PreTrainedModel, kernel: str, lengths: tuple[int, ...]) -> None:
    batch = tokens(lengths=lengths)
    whole = logits_of(model, **batch)
    with attention_kernel(model, kernel), first_token_only(model):
        torch.testing.assert_close(logits_of(model, **batch), whole, rtol=1e-5, atol=1e-5)


def test_padding_does_not_reach_the_answer(model: PreTrainedModel) -> None:
    batch = tokens(lengths=(9, 4))
    alone = {name: values[1:, :4] for name, values in batch.items()}
    with first_token_only(model):
        torch.testing.assert_close(logits_of(model, **batch)[1:], logits_of(model, **alone), rtol=1e-5, atol=1e-5)


def test_no_mask_means_that_every_token_counts(model: PreTrainedModel) -> None:
    ids = tokens(lengths=(6, 6))["input_ids"]
    whole = logits_of(model, input_ids=ids)
    with first_token_only(model):
        torch.testing.assert_close(logits_of(model, input_ids=ids), whole, rtol=1e-5, atol=1e-5)


def test_gradients_equal_those_of_the_whole_layer() -> None:
    whole, short = (tiny_bert(**without_dropout()).train() for _ in range(2))
    targets = torch.tensor([0, 1, 1, 0])
    torch.nn.functional.cross_entropy(whole(**tokens()).logits, targets).backward()
    with first_token_only(short):
        torch.nn.functional.cross_entropy(short(**tokens()).logits, targets).backward()
    parameters = dict(short.named_parameters())
    for name, parameter in whole.named_parameters():
        gradient = parameters[name].grad
        assert parameter.grad is not None
        if gradient is None:  # softmax drops the key's bias, so that the whole layer's gradient is 0 up to rounding
            assert name.endswith("1.attention.self.key.bias")
            gradient = torch.zeros_like(parameter)
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-5, msg=name)


def test_attention_dropout_draws_in_training_only() -> None:
    model = tiny_bert(**without_dropout(attention_probs_dropout_prob=0.5))
    with first_token_only(model):
        still = logits_of(model)
        assert torch.equal(logits_of(model), still)
        torch.manual_seed(1)
        model.train()
        first = logits_of(model)
        assert not torch.equal(logits_of(model), first)


def test_last_hidden_state_is_one_token_wide_inside_only(model: PreTrainedModel) -> None:
    with first_token_only(model):
        assert model.bert(**tokens()).last_hidden_state.shape == (4, 1, 16)
    assert model.bert(**tokens()).last_hidden_state.shape == (4, 9, 16)


def test_nested_use_changes_nothing_and_the_inner_end_leaves_the_outer_in_place(model: PreTrainedModel) -> None:
    whole = logits_of(model)
    with first_token_only(model):
        with first_token_only(model):
            torch.testing.assert_close(logits_of(model), whole, rtol=1e-5, atol=1e-5)
        assert model.bert(**tokens()).last_hidden_state.shape[1] == 1
    assert model.bert(**tokens()).last_hidden_state.shape[1] == 9


def test_an_exception_inside_restores_the_layer(model: PreTrainedModel) -> None:
    whole = logits_of(model)
    with pytest.raises(KeyError), first_token_only(model):
        raise KeyError
    assert "forward" not in vars(model.bert.encoder.layer[-1])
    assert torch.equal(logits_of(model), whole)


def test_a_head_that_reads_every_token_is_left_alone() -> None:
    config = BertConfig(
        vocab_size=17,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=24,
        max_position_embeddings=24,
    )
    tagger = BertForTokenClassification(config).eval()
    whole = logits_of(tagger)
    with first_token_only(tagger):
        assert torch.equal(logits_of(tagger), whole)


def test_a_copy_made_inside_does_not_run_on_the_original_weights(model: PreTrainedModel) -> None:
    copied = copy.deepcopy(model)
    with torch.no_grad():
        copied.bert.encoder.layer[-1].output.dense.weight.zero_()
    expected = logits_of(copied)
    assert not torch.allclose(expected, logits_of(model))
    with first_token_only(model), first_token_only(copied):
        torch.testing.assert_close(logits_of(copied), expected, rtol=1e-5, atol=1e-5)


def quantized(model: PreTrainedModel, symmetric: bool = True) -> PreTrainedModel:
    """A copy whose Linears quantize inputs from -2 to 3."""
    made = with_quantizers(model, per_channel=True, symmetric=symmetric).train(model.training)
    for linear in quantized_linears(made).values():
        linear.set_range(-2.0, 3.0)
    return made


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("lengths", [(9, 4, 1, 7), (6, 6), (1,), (24,)])
def test_a_model_that_quantizes_answers_as_with_the_whole_layer(
    model: PreTrainedModel, kernel: str, lengths: tuple[int, ...], symmetric: bool
) -> None:
    """Were other numbers quantized, such as the query times the key's weight, the answers would be steps apart."""
    quantizing, batch = quantized(model, symmetric), tokens(lengths=lengths)
    whole = logits_of(quantizing, **batch)
    with attention_kernel(quantizing, kernel), first_token_only(quantizing):
        torch.testing.assert_close(logits_of(quantizing, **batch), whole, rtol=1e-5, atol=1e-5)
        assert quantizing.bert(**batch).last_hidden_state.shape[1] == 1
    assert not torch.allclose(whole, logits_of(model, **batch), atol=1e-3)


def test_gradients_of_a_model_that_quantizes_equal_those_of_the_whole_layer() -> None:
    whole, short = (quantized(tiny_bert(**without_dropout()).train()) for _ in range(2))
    targets = torch.tensor([0, 1, 1, 0])
    torch.nn.functional.cross_entropy(whole(**tokens()).logits, targets).backward()
    with first_token_only(short):
        torch.nn.functional.cross_entropy(short(**tokens()).logits, targets).backward()
    parameters = dict(short.named_parameters())
    for name, parameter in whole.named_parameters():
        torch.testing.assert_close(parameters[name].grad, parameter.grad, rtol=1e-4, atol=1e-5, msg=name)


def test_dropped_probabilities_weigh_the_values_with_their_bias_where_a_model_quantizes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Halved probabilities stand in for dropout, so that whole and short layer draw the same."""
    quantizing = quantized(tiny_bert(**without_dropout(attention_probs_dropout_prob=0.5)).train())

    def halved(values: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
        return values / 2 if training and p else values

    monkeypatch.setattr("torch.nn.functional.dropout", halved)
    with attention_kernel(quantizing, "eager"):
        whole = logits_of(quantizing)
        with first_token_only(quantizing):
            torch.testing.assert_close(logits_of(quantizing), whole, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(logits_of(quantizing.eval()), whole, atol=1e-3)
