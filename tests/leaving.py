"""Make models whose texts leave early, at different exits."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from compress.models.exits import Exits, Measure, all_exits, confidence, exits_of, set_exits, watched_exits
from tests.tiny_models import tiny_of, tokens


def leaving(kind: str = "bert", *, layers: int = 3, measure: Measure = "probability", **changes: Any) -> PreTrainedModel:
    """A random model with exits behind all layers but the last, at each of which some of a few texts leave."""
    model = tiny_of(kind, layers=layers, **changes)
    exits = set_exits(model, range(layers - 1), measure)
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in exits.heads.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random))
    for number in range(layers - 1):
        sure = confidence(every_answer(model, **some_tokens()), measure)[:, number]
        here = left(model, **some_tokens()) >= number
        middle = len(sure[here]) // 2
        exits.thresholds[number] = float(sure[here].sort().values[middle - 1 : middle + 1].mean())
    return model


def some_tokens() -> dict[str, torch.Tensor]:
    """A padded batch of texts of many lengths."""
    return tokens(seed=6, lengths=(9, 4, 1, 7, 12, 3, 11, 2, 5, 8, 6, 10))


def exits_in(model: PreTrainedModel) -> Exits:
    """The exits of a model that has some."""
    exits = exits_of(model)
    assert exits is not None
    return exits


def every_answer(model: PreTrainedModel, **batch: torch.Tensor) -> torch.Tensor:
    """What all exits and the last layer answer, (batch, exits + 1, labels)."""
    with torch.no_grad(), all_exits(model):
        answers: torch.Tensor = model(**batch).logits
    return answers


def left(model: PreTrainedModel, **batch: torch.Tensor) -> torch.Tensor:
    """At which exit each text leaves."""
    with torch.no_grad(), watched_exits(model) as exits:
        model(**batch)
        assert exits is not None
        assert exits.passage is not None
        return exits.passage.left
