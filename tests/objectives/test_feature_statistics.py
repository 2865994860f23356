"""Difference of means and variances."""

from __future__ import annotations

import numpy as np

from compress.objectives.feature_statistics import feature_statistics
from tests.objectives.rows import batch, close, outputs, token_mean


def test_a_thousand_times_the_squared_difference_of_means_and_the_difference_of_variances() -> None:
    student, teacher = outputs(1, ("hidden", 1), ("hidden", 2)), outputs(2, ("hidden", 2), ("hidden", 4))

    def error(own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        return 1000 * (own.mean(-1) - wanted.mean(-1)) ** 2 + np.abs(own.var(-1) - wanted.var(-1))

    errors = [token_mean(error, student, teacher, ("hidden", own), ("hidden", wanted)) for own, wanted in ((1, 2), (2, 4))]
    assert feature_statistics(student, teacher, batch(), pairs=((1, 2), (2, 4))).item() == close(np.mean(errors))
