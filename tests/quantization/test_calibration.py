"""Ranges, divisors and biases are those that the float model's own activations give, padding left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.quantizers import quantized_linears, quantizers_off, with_quantizers
from compress.quantization.calibration import Calibrated, answers, calibrated, calibration_batches
from compress.tasks.labelled import Task
from compress.tasks.split import Role
from tests.methods.ranges import forbid_forward_passes
from tests.tiny_models import differences, logits_of, sentences, state_of, tiny_bert, toy_task

ALL_TOKENS = ("attention.self.key", "attention.self.value")
METHODS = ("min_max", "percentile", "entropy", "mse")


@pytest.fixture
def toy() -> Task:
    """Sentences for two batches to calibrate on."""
    return toy_task(others=40)


def inputs_of(model: PreTrainedModel, task: Task, *, padded: bool = False) -> dict[str, torch.Tensor]:
    """What a float model's Linears read, (values, in): sentence by sentence, or in one padded batch with its padding.

    Of the last layer, it is what the first token's path reads, and all tokens for key and value.
    """
    seen: dict[str, list[torch.Tensor]] = {}
    last = f"encoder.layer.{len(model.bert.encoder.layer) - 1}."

    def see(name: str, values: torch.Tensor) -> None:
        if last in name and not name.endswith(ALL_TOKENS):
            values = values[:, :1]
        seen.setdefault(name, []).append(values.flatten(0, -2))

    handles = [
        module.register_forward_pre_hook(lambda _, inputs, name=name: see(name, inputs[0]))
        for name, module in model.named_modules()
        if type(module) is nn.Linear and name != "classifier"
    ]
    encoded = task.encode(task.calibration, model.tokenizer)
    for rows in [range(len(encoded))] if padded else [[index] for index in range(len(encoded))]:
        logits_of(model, **{name: torch.from_numpy(values) for name, values in encoded.batch(rows).items()})
    for handle in handles:
        handle.remove()
    return {name: torch.cat(values) for name, values in seen.items()}


def ranges_of(model: PreTrainedModel) -> dict[str, tuple[float, float]]:
    """Of every quantized Linear."""
    return {name: (linear.low.item(), linear.high.item()) for name, linear in quantized_linears(model).items()}


# -- ranges


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("symmetric", [True, False])
def test_min_max_ranges_are_those_of_the_sentences_one_by_one(toy: Task, symmetric: bool, layers: int) -> None:
    model = tiny_bert(layers=layers)
    ranges = ranges_of(calibrated(model, toy, Calibrated("min_max", symmetric=symmetric)))
    inputs = inputs_of(model, toy)
    assert list(ranges) == list(inputs)
    for name, values in inputs.items():
        size, low, high = values.abs().max().item(), min(values.min().item(), 0), max(values.max().item(), 0)
        assert ranges[name] == pytest.approx((-size, size) if symmetric else (low, high), rel=1e-5, abs=1e-6), name


def test_padding_would_change_the_ranges_of_this_task(model: PreTrainedModel, toy: Task) -> None:
    """So that the test above tells whether it counts."""
    alone, padded = inputs_of(model, toy), inputs_of(model, toy, padded=True)
    wider = [name for name in alone if padded[name].abs().max() > 1.01 * alone[name].abs().max()]
    assert wider


def test_a_percentile_is_that_of_the_sizes_of_all_values(model: PreTrainedModel, toy: Task) -> None:
    ranges = ranges_of(calibrated(model, toy, Calibrated("percentile", percentile=90.0)))
    for name, values in inputs_of(model, toy).items():
        sizes = values.abs().flatten().sort().values
        size = sizes[int(np.ceil(round(0.9 * len(sizes), 6))) - 1].item()
        assert size - 1e-5 <= ranges[name][1] <= size + 2 * sizes[-1].item() / 2048 + 1e-5, name


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_ranges_within_what_was_seen(model: PreTrainedModel, toy: Task, method: Any) -> None:
    widest = ranges_of(calibrated(model, toy, Calibrated("min_max", symmetric=False)))
    student = calibrated(model, toy, Calibrated(method, symmetric=False, per_channel=False))
    for name, (low, high) in ranges_of(student).items():
        assert widest[name][0] <= low <= 0 <= high <= widest[name][1]
        assert low < high
    for linear in quantized_linears(student).values():
        assert (linear.per_channel, linear.symmetric, linear.on, linear.decay) == (False, False, True, None)
    before, after = logits_of(model), logits_of(student)
    assert not torch.equal(before, after)
    torch.testing.assert_close(after, before, rtol=0, atol=0.5 * before.abs().max().item())


def test_the_model_that_comes_in_is_left_alone_and_nothing_stays_hooked(model: PreTrainedModel, toy: Task) -> None:
    before, said = state_of(model), logits_of(model)
    student = calibrated(model, toy, Calibrated("mse", smooth=0.5, correct_bias=True))
    assert not differences(state_of(model), before)
    assert torch.equal(logits_of(model), said)
    shared = {tensor.data_ptr() for tensor in model.parameters()} & {tensor.data_ptr() for tensor in student.parameters()}
    assert not shared
    assert not quantized_linears(model)
    for module in (*model.modules(), *student.modules()):
        assert not module._forward_pre_hooks
        assert "forward" not in vars(module)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in student.parameters())


def test_the_same_sentences_give_the_same_ranges(model: PreTrainedModel, toy: Task) -> None:
    first, again = (calibrated(model, toy, Calibrated("entropy", smooth=0.5)) for _ in range(2))
    assert not differences(state_of(first), state_of(again))


# -- what is refused


@pytest.mark.parametrize("role", ["evaluation", "train", "selection"])
def test_another_part_of_the_data_is_refused(model: PreTrainedModel, toy: Task, role: Role) -> None:
    wrong = replace(toy, calibration=getattr(toy, role))
    with pytest.raises(InputError, match=rf"the {role} split was given where only calibration data may be used"):
        calibrated(model, wrong, Calibrated("min_max"))


@pytest.mark.parametrize("count", [0, 1, 15])
def test_a_part_that_is_too_small_is_refused(model: PreTrainedModel, toy: Task, count: int) -> None:
    short = replace(toy, calibration=sentences("calibration", 20, 3).take(count))
    with pytest.raises(InputError, match=rf"calibration part has {count} examples; at least 16 are needed"):
        calibrated(model, short, Calibrated("min_max"))


def test_sixteen_sentences_are_enough_and_the_first_512_are_read(model: PreTrainedModel) -> None:
    for count, read in ((16, 16), (512, 512), (513, 512)):
        batches = calibration_batches(toy_task(others=count), model)
        assert sum(len(batch["input_ids"]) for batch in batches) == read
        assert all(len(batch["input_ids"]) <= 32 for batch in batches)
    task = toy_task(others=513)
    first = task.encode(task.calibration, model.tokenizer).input_ids[:512]
    rows = [
        row[mask.bool()].tolist()
        for batch in batches
        for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    assert sorted(rows) == sorted(first)


@pytest.mark.parametrize(
    "where",
    [
        "bert.embeddings.position_embeddings.weight",
        "bert.encoder.layer.0.attention.self.value.weight",
        "bert.encoder.layer.1.output.LayerNorm.bias",
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.weight",
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_name_before_any_forward_pass(
    model: PreTrainedModel, toy: Task, where: str, value: float
) -> None:
    """Those behind the last input that is watched as well."""
    with torch.no_grad():
        model.get_parameter(where)[-1] = value
    with pytest.raises(InputError, match=rf"^{where} holds values that are not finite; train the model again"):
        calibrated(forbid_forward_passes(model), toy, Calibrated("min_max"))


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.attention.self.query"),
        ("bert.encoder.layer.0.attention.self.value.weight", "bert.encoder.layer.0.attention.output.dense"),
        ("bert.encoder.layer.0.intermediate.dense.weight", "bert.encoder.layer.0.output.dense"),
        ("bert.encoder.layer.1.output.LayerNorm.weight", "bert.pooler.dense"),
    ],
)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_activations_that_are_not_finite_are_refused_with_their_linear(
    model: PreTrainedModel, toy: Task, where: str, named: str, sign: float
) -> None:
    """The weights are finite, but what they give is not."""
    with torch.no_grad():
        parameter = model.get_parameter(where)
        (parameter[2] if parameter.ndim > 1 else parameter).fill_(sign * 3e38)  # piece 2 starts every sentence
    with pytest.raises(InputError, match=rf"the input of {named} holds values that are not finite; train the model again"):
        calibrated(model, toy, Calibrated("min_max"))


def test_a_model_that_quantizes_already_is_refused(model: PreTrainedModel, toy: Task) -> None:
    with pytest.raises(InputError, match="quantized already"):
        calibrated(with_quantizers(model, per_channel=True, symmetric=True), toy, Calibrated("min_max"))


# -- smoothing


QUERY, KEY, VALUE = (f"attention.self.{name}" for name in ("query", "key", "value"))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8, 1.0])
def test_divisors_are_smoothquant_s(model: PreTrainedModel, toy: Task, alpha: float) -> None:
    """max|x| to the power of alpha over max|w| to that of 1 - alpha (equation 4), the largest weight of all that read it."""
    linears = quantized_linears(calibrated(model, toy, Calibrated("min_max", smooth=alpha)))
    inputs = inputs_of(model, toy)
    for prefix, names in (
        ("bert.encoder.layer.0", (QUERY, KEY, VALUE)),
        ("bert.encoder.layer.0", ("intermediate.dense",)),
        ("bert.encoder.layer.1", ("intermediate.dense",)),
    ):
        sizes = inputs[f"{prefix}.{names[0]}"].abs().amax(0)
        weights = torch.cat([model.get_parameter(f"{prefix}.{name}.weight").detach() for name in names]).abs().amax(0)
        for name in names:
            divisor = linears[f"{prefix}.{name}"].divisor
            torch.testing.assert_close(divisor, sizes**alpha / weights ** (1 - alpha), rtol=1e-4, atol=1e-6)


def test_query_key_and_value_share_one_divisor_and_linears_behind_no_layernorm_have_none(
    model: PreTrainedModel, toy: Task
) -> None:
    linears = quantized_linears(calibrated(model, toy, Calibrated("min_max", smooth=0.5)))
    for layer in ("bert.encoder.layer.0", "bert.encoder.layer.1"):
        query, key, value = (linears[f"{layer}.{name}"].divisor for name in (QUERY, KEY, VALUE))
        assert query is not None
        assert torch.equal(query, key)
        assert torch.equal(query, value)
        assert linears[f"{layer}.intermediate.dense"].divisor.shape == (16,)
        assert linears[f"{layer}.attention.output.dense"].divisor is None
        assert linears[f"{layer}.output.dense"].divisor is None
    assert linears["bert.pooler.dense"].divisor is None


def test_smoothing_leaves_the_float_answers_and_every_weight_as_they_are(model: PreTrainedModel, toy: Task) -> None:
    student = calibrated(model, toy, Calibrated("min_max", smooth=0.5))
    weights = {name: tensor for name, tensor in state_of(student).items() if not name.endswith((".low", ".high"))}
    assert not differences(weights, state_of(model))  # LayerNorm's among them
    with quantizers_off(student):
        torch.testing.assert_close(logits_of(student), logits_of(model), rtol=1e-6, atol=1e-6)
    inputs = inputs_of(model, toy)
    for name, linear in quantized_linears(student).items():
        if linear.divisor is not None:
            smoothed = functional.linear(inputs[name] / linear.divisor, linear.smoothed_weight(), linear.bias)
            plain = functional.linear(inputs[name], model.get_parameter(f"{name}.weight"), linear.bias)
            torch.testing.assert_close(smoothed, plain, rtol=1e-4, atol=1e-4)


def test_smoothed_ranges_are_those_of_the_divided_inputs(model: PreTrainedModel, toy: Task) -> None:
    student = calibrated(model, toy, Calibrated("min_max", smooth=0.5))
    inputs = inputs_of(model, toy)
    for name, linear in quantized_linears(student).items():
        divided = inputs[name] if linear.divisor is None else inputs[name] / linear.divisor
        assert linear.high.item() == pytest.approx(divided.abs().max().item(), rel=1e-5), name


def error_of(student: PreTrainedModel, model: PreTrainedModel, name: str, values: torch.Tensor) -> torch.Tensor:
    """What a quantized Linear says less what the float one says, (values, out)."""
    with torch.no_grad():
        return quantized_linears(student)[name](values) - model.get_submodule(name)(values)


def test_smoothing_helps_where_one_channel_is_far_larger_than_the_others(toy: Task) -> None:
    model, name = tiny_bert(layers=3), "bert.encoder.layer.1.attention.self.key"
    with torch.no_grad():
        model.bert.encoder.layer[0].output.LayerNorm.weight[3] = 40.0
    values = inputs_of(model, toy)[name]
    plain, smooth = (
        error_of(calibrated(model, toy, Calibrated("min_max", smooth=alpha)), model, name, values).square().mean()
        for alpha in (None, 0.5)
    )
    assert smooth < 0.25 * plain


# -- biases


@pytest.mark.parametrize("smooth", [None, 0.5])
@pytest.mark.parametrize("symmetric", [True, False])
def test_corrected_biases_leave_no_mean_error_on_the_calibration_data(
    model: PreTrainedModel, toy: Task, smooth: float | None, symmetric: bool
) -> None:
    how = Calibrated("percentile", percentile=99.0, symmetric=symmetric, smooth=smooth, per_channel=False)
    plain, corrected = (calibrated(model, toy, replace(how, correct_bias=correct)) for correct in (False, True))
    assert ranges_of(plain) == ranges_of(corrected)
    for name, values in inputs_of(model, toy).items():
        before, after = (error_of(network, model, name, values).mean(0).abs().max() for network in (plain, corrected))
        assert before > 1e-4, name
        assert after < min(2e-5, 0.05 * before), name
    changed = differences(state_of(plain), state_of(corrected))
    assert changed == sorted(f"{name}.bias" for name in quantized_linears(plain))


# -- answers


def test_answers_are_the_logits_of_every_example(model: PreTrainedModel, toy: Task) -> None:
    batches = calibration_batches(toy, model)
    logits = torch.cat([logits_of(model, **batch) for batch in batches])
    np.testing.assert_allclose(answers(model, batches), logits.numpy(), rtol=1e-5, atol=1e-5)
