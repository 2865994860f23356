"""Short training runs on the labels."""

from __future__ import annotations

from typing import Any

from compress.objectives.labels import labels
from compress.training.settings import Settings
from compress.training.training_loss import TrainingLoss

LABELS_LOSS = TrainingLoss({"labels": (1.0, labels)})


def settings(**changes: Any) -> Settings:
    """Two epochs of batches of eight, with a plain schedule."""
    values: dict[str, Any] = {
        "epochs": 2.0,
        "learning_rate": 1e-3,
        "batch_size": 8,
        "accumulate": 1,
        "schedule": "linear",
        "warmup": 0.1,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "dropout": None,
        "layer_decay": 1.0,
        "average": 0.0,
        "patience": None,
    }
    return Settings(**{**values, **changes})
