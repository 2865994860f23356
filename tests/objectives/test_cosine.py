"""One minus the cosine of the last hidden states."""

from __future__ import annotations

import numpy as np

from compress.objectives.cosine import cosine
from tests.objectives.rows import batch, close, outputs, token_mean


def test_tokens_that_are_no_padding_are_compared_by_direction() -> None:
    student, teacher = outputs(1, ("hidden", 2)), outputs(2, ("hidden", 6))

    def error(own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        norms = np.linalg.norm(own, axis=-1) * np.linalg.norm(wanted, axis=-1)
        return 1 - (own * wanted).sum(-1) / norms

    loss = cosine(student, teacher, batch(), pairs=((2, 6),)).item()
    assert loss == close(token_mean(error, student, teacher, ("hidden", 2), ("hidden", 6)))
