"""What probabilities say, against hand calculations, scikit-learn and torch; and the best temperature."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss
from torch.nn import functional

from compress.tasks.reliability import (
    COLDEST,
    HOTTEST,
    Confidence,
    best_temperature,
    confidence_in_each,
    confidence_in_labels,
    reliability,
)

RANDOM = np.random.default_rng(4)
LOGITS = (RANDOM.normal(size=(3000, 4)) * 1.5).astype(np.float32)


def drawn(logits: np.ndarray) -> np.ndarray:
    """Labels that have the probabilities which the logits say."""
    odds = np.exp(logits.astype(np.float64)).cumsum(1)
    return (odds / odds[:, -1:] < np.random.default_rng(7).random((len(logits), 1))).sum(1)


TRUE = drawn(LOGITS)


def test_the_error_is_the_mean_distance_of_the_bins() -> None:
    """0.9 and 0.88 fall into the bin from 13/15 to 14/15, of which one in two is true."""
    confidence = Confidence(np.array([0.9, 0.88, 0.5, 0.5]), np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.1, 2.0, 0.7, 0.8]))
    scores = reliability(confidence)
    assert scores["ece"] == pytest.approx((2 * (0.89 - 0.5) + 2 * 0.5) / 4)
    assert scores["nll"] == pytest.approx(0.9)
    assert scores["bins"] == [
        {"stated": 0.5, "happened": 1.0, "count": 2},
        {"stated": pytest.approx(0.89), "happened": 0.5, "count": 2},
    ]


def test_the_ends_of_a_bin_are_in_the_one_below_and_0_and_1_have_their_bins() -> None:
    stated = np.array([0.0, 1 / 15, 1 / 15 + 1e-9, 1.0])
    bins = reliability(Confidence(stated, np.zeros(4), np.zeros(4)))["bins"]
    assert [entry["count"] for entry in bins] == [2, 1, 1]


def test_labels_are_read_by_their_softmax_as_scikit_learn_and_torch_do() -> None:
    confidence = confidence_in_labels(LOGITS, TRUE)
    odds = functional.softmax(torch.from_numpy(LOGITS).double(), -1).numpy()
    assert reliability(confidence)["nll"] == pytest.approx(log_loss(TRUE, odds))
    np.testing.assert_allclose(confidence.probabilities, odds.max(1))
    np.testing.assert_array_equal(confidence.happened, odds.argmax(1) == TRUE)
    happened, stated = calibration_curve(confidence.happened, confidence.probabilities, n_bins=15)
    bins = reliability(confidence)["bins"]
    np.testing.assert_allclose([entry["stated"] for entry in bins], stated)
    np.testing.assert_allclose([entry["happened"] for entry in bins], happened)


def test_probabilities_as_targets_count_as_torch_counts_them() -> None:
    shares = RANDOM.dirichlet(np.ones(4), size=len(LOGITS))
    confidence = confidence_in_labels(LOGITS, shares)
    expected = functional.cross_entropy(torch.from_numpy(LOGITS).double(), torch.from_numpy(shares))
    assert confidence.losses.mean() == pytest.approx(expected.item())
    np.testing.assert_array_equal(confidence.happened, LOGITS.argmax(1) == shares.argmax(1))


def test_each_of_several_labels_is_read_by_its_sigmoid() -> None:
    marks = RANDOM.integers(0, 2, LOGITS.shape).astype(np.float32)
    confidence = confidence_in_each(LOGITS, marks)
    plain, true = (torch.from_numpy(values).double() for values in (LOGITS, marks))
    expected = functional.binary_cross_entropy_with_logits(plain, true)
    assert confidence.losses.mean() == pytest.approx(expected.item())
    np.testing.assert_allclose(confidence.probabilities, plain.sigmoid().flatten().numpy())
    np.testing.assert_array_equal(confidence.happened, marks.ravel())


def test_logits_as_large_as_can_be_say_what_is_finite() -> None:
    confidence = confidence_in_each(np.array([[4e3, -4e3]], dtype=np.float32), np.array([[1.0, 1.0]]))
    np.testing.assert_allclose(confidence.losses, [0.0, 4e3])
    assert np.isfinite(confidence_in_labels(np.array([[4e3, -4e3]]), np.array([1])).losses).all()


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_what_made_answers_too_sure(factor: float) -> None:
    temperature = best_temperature(lambda value: confidence_in_labels(LOGITS * factor / value, TRUE))
    assert temperature.low < factor < temperature.high
    assert temperature.high / temperature.low < 1.2
    assert temperature.value == pytest.approx(_by_torch(LOGITS * factor), rel=1e-3)


def _by_torch(logits: np.ndarray) -> float:
    """By LBFGS, of the temperature's inverse, in which the loss is convex."""
    plain, true = torch.from_numpy(logits).double(), torch.from_numpy(TRUE)
    inverse = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([inverse], line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(plain * inverse, true)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return 1 / inverse.item()


def test_the_interval_holds_the_true_temperature_as_often_as_it_says() -> None:
    inside = 0
    for start in range(0, 3000, 100):
        part = slice(start, start + 100)
        interval = best_temperature(lambda value, part=part: confidence_in_labels(LOGITS[part] * 2 / value, TRUE[part]))
        inside += interval.low <= 2 <= interval.high
    assert 26 <= inside <= 30


def test_of_answers_that_are_always_right_the_rule_of_succession_tells_the_temperature() -> None:
    right = LOGITS[:50].argmax(1)
    temperature = best_temperature(lambda value: confidence_in_labels(LOGITS[:50] / value, right))
    shares = [
        np.exp(-confidence_in_labels(LOGITS[:50] / value, right).losses).mean()
        for value in (temperature.value, temperature.high)
    ]
    assert shares == pytest.approx([51 / 52, 1 - 3 / 50])
    assert temperature.low == COLDEST


def test_answers_that_are_never_right_have_the_hottest() -> None:
    never = best_temperature(lambda value: confidence_in_labels(LOGITS / value, LOGITS.argmin(1)))
    assert never.value == pytest.approx(HOTTEST, rel=0.01)
