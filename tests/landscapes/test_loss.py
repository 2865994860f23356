"""The loss of weights that no model has, and how it bends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.landscapes.directions import moved
from compress.landscapes.loss import SampleLoss, bend, check_loss, weights_of, weights_on_a_line
from compress.models.families import KNOWN, encoders
from compress.models.quantizers import quantized_linears, with_quantizers
from compress.tasks.encoding import Encoded
from compress.tasks.labelled import Task
from tests.tiny_models import differences, state_of, tiny_bert, tiny_of, toy_task


def encoded_by(model: PreTrainedModel, task: Task, count: int = 12) -> Encoded:
    """So many sentences to learn from, as a model reads them."""
    return task.encode(task.train.take(count), model.tokenizer)


def plain_loss(model: PreTrainedModel, encoded: Encoded) -> float:
    """Cross-entropy of all examples in one batch."""
    batch = {name: torch.from_numpy(values) for name, values in encoded.batch(range(len(encoded))).items()}
    with torch.no_grad():
        return functional.cross_entropy(model(**batch).logits, torch.from_numpy(np.asarray(encoded.labels))).item()


def test_the_loss_of_a_model_s_own_weights_is_the_task_s(model: PreTrainedModel, toy: Task) -> None:
    encoded, before = encoded_by(model, toy), state_of(model)
    model.train()
    loss = SampleLoss(model, encoded)
    assert loss.at(weights_of(model)) == pytest.approx(plain_loss(model.eval(), encoded), abs=1e-5)
    assert not differences(before, state_of(model))


def test_other_weights_have_the_loss_of_the_model_that_has_them(model: PreTrainedModel, toy: Task) -> None:
    other, encoded = tiny_bert(seed=4), encoded_by(model, toy)
    loss = SampleLoss(model, encoded)
    assert loss.at(weights_of(other)) == pytest.approx(plain_loss(other, encoded), abs=1e-5)
    assert loss.at({}) == pytest.approx(plain_loss(model, encoded), abs=1e-5)  # what is left out is the model's own


def test_batches_of_other_lengths_make_the_mean_over_the_examples(
    model: PreTrainedModel, toy: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.landscapes.loss.BATCH_SIZE", 5)
    encoded = encoded_by(model, toy)
    assert SampleLoss(model, encoded).at(weights_of(model)) == pytest.approx(plain_loss(model, encoded), abs=1e-5)


def test_a_quadratic_bends_as_its_matrix_says() -> None:
    matrix = torch.tensor([[2.0, 1.0], [1.0, 3.0]])
    bent = bend(
        lambda weights: 0.5 * weights["w"] @ matrix @ weights["w"] + weights["w"].sum(),
        {"w": torch.tensor([5.0, -1.0]), "unused": torch.ones(1)},
        {"w": torch.tensor([1.0, -1.0]), "unused": torch.ones(1)},
    )
    assert bent == pytest.approx(2 - 2 + 3)
    assert bend(lambda weights: weights["w"].sum() * 3, {"w": torch.ones(2)}, {"w": torch.ones(2)}) == 0


def test_the_loss_bends_along_the_classifier_as_a_softmax_regression_s_does(model: PreTrainedModel, toy: Task) -> None:
    encoded = encoded_by(model, toy)
    batch = {name: torch.from_numpy(values) for name, values in encoded.batch(range(len(encoded))).items()}
    with torch.no_grad():
        read, logits = model.bert(**batch).pooler_output, model(**batch).logits
    step = torch.randn(model.classifier.weight.shape, generator=torch.Generator().manual_seed(1))
    slopes, shares = read @ step.T, logits.softmax(1)
    expected = (shares * (slopes - (shares * slopes).sum(1, keepdim=True)) ** 2).sum(1).mean()  # the variance of the slopes
    bent = SampleLoss(model, encoded).curvature(weights_of(model), {"classifier.weight": step})
    assert bent == pytest.approx(expected.item(), rel=1e-4)


def test_the_loss_bends_along_every_weight_as_its_own_differences_tell(model: PreTrainedModel, toy: Task) -> None:
    loss, weights = SampleLoss(model, encoded_by(model, toy)), weights_of(model)
    random = torch.Generator().manual_seed(2)
    step = {name: torch.randn(tensor.shape, generator=random) * 0.05 for name, tensor in weights.items()}
    size = 0.2
    apart = [loss.at(moved(weights, (size * sign, step))) for sign in (-1, 0, 1)]
    assert loss.curvature(weights, step) == pytest.approx((apart[0] - 2 * apart[1] + apart[2]) / size**2, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", encoders())
def test_every_family_s_loss_moves_and_bends(kind: str) -> None:
    task = toy_task()
    smooth = {"hidden_act": "gelu"} if getattr(KNOWN[kind].config(), "hidden_act", "") == "relu" else {}  # a kink has no bend
    model = tiny_of(kind, task=task, **smooth)
    before, weights = state_of(model), weights_of(model)
    loss, step = SampleLoss(model, encoded_by(model, task, 6)), {name: tensor * 0.1 for name, tensor in weights.items()}
    ends = [loss.at(moved(weights, (sign * 0.05, step))) for sign in (-1, 0, 1)]
    expected = (ends[0] - 2 * ends[1] + ends[2]) / 0.05**2
    assert loss.curvature(weights, step) == pytest.approx(expected, rel=0.2, abs=1e-3)
    assert not differences(before, state_of(model))


def quantizing(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that rounds to eight bits."""
    rounded = with_quantizers(model, per_channel=True, symmetric=True)
    for linear in quantized_linears(rounded).values():
        linear.set_range(-4.0, 4.0)
    return rounded


def test_a_model_that_quantizes_stands_on_a_line_where_its_integers_say(model: PreTrainedModel, toy: Task) -> None:
    rounded, encoded = quantizing(model), encoded_by(model, toy)
    weights, name = weights_on_a_line(rounded), "bert.encoder.layer.0.attention.self.query.weight"
    own = weights_of(model)
    scale = own[name].abs().amax(1, keepdim=True) / 127
    torch.testing.assert_close(weights[name], (own[name] / scale).round() * scale)
    table = own["bert.embeddings.word_embeddings.weight"]
    steps = table.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
    torch.testing.assert_close(weights["bert.embeddings.word_embeddings.weight"], (table / steps).round() * steps)
    assert torch.equal(weights["classifier.weight"], own["classifier.weight"])  # the classifier does not round
    in_float = SampleLoss(rounded, encoded, is_float=True)
    assert in_float.at(weights) == pytest.approx(SampleLoss(model, encoded).at(weights), abs=1e-6)
    assert in_float.is_smooth
    rounding = SampleLoss(rounded, encoded)
    assert not rounding.is_smooth
    assert rounding.at({}) == pytest.approx(plain_loss(rounded, encoded), abs=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"^the loss of start on the sample is (nan|inf), around which nothing can be told"):
        check_loss(value, "start")
    check_loss(0.5, "start")
