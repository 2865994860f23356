"""The embeddings' outputs, which learn with the first layer where layers take turns."""

from __future__ import annotations

import numpy as np
import pytest

from compress.objectives.embedding import PAIRS, embedding
from tests.objectives.rows import batch, close, outputs, token_mean


def test_the_error_is_the_mean_square_over_tokens_that_are_no_padding() -> None:
    student, teacher = outputs(1, ("hidden", 0)), outputs(2, ("hidden", 0))

    def error(own: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        return ((own - wanted) ** 2).mean(-1)

    loss = embedding(student, teacher, batch(), pairs=PAIRS("uniform", 2, 6)).item()
    assert loss == close(token_mean(error, student, teacher, ("hidden", 0), ("hidden", 0)))


@pytest.mark.parametrize(("stage", "learns"), [(1, True), (2, False)])
def test_the_embeddings_learn_in_the_first_stage(stage: int, learns: bool) -> None:
    loss = embedding(outputs(1, ("hidden", 0)), outputs(2, ("hidden", 0)), batch(stage), pairs=((0, 0),)).item()
    assert (loss > 0) is learns
