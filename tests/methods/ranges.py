"""Values that no method which trains may take, and a guard that sees whether a model ran before they were refused."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import PreTrainedModel

OUT_OF_RANGE: list[tuple[str, Any]] = [
    ("epochs", 0),
    ("epochs", -1.0),
    ("epochs", float("nan")),
    ("epochs", 1001),
    ("epochs", "3"),
    ("learning_rate", 0.0),
    ("learning_rate", -1e-4),
    ("learning_rate", 1.0),
    ("learning_rate", float("inf")),
    ("batch_size", 0),
    ("batch_size", -8),
    ("batch_size", 2.5),
    ("accumulate", 0),
    ("accumulate", 4097),
    ("schedule", "lineal"),
    ("warmup", -0.1),
    ("warmup", 1.0),
    ("weight_decay", -0.01),
    ("weight_decay", 1.0),
    ("clip_norm", 0.0),
    ("clip_norm", -1.0),
    ("average", -0.1),
    ("average", 1.1),
    ("patience", 0),
    ("patience", -3),
]


def forbid_forward_passes(model: PreTrainedModel) -> PreTrainedModel:
    """Fail the test when the model, or a copy of it, runs."""
    model.register_forward_pre_hook(_fail)
    return model


def _fail(*_: Any) -> None:
    pytest.fail("the model ran before the value was refused")
