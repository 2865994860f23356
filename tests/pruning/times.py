"""A table in place of an hour's measurement: what each head and each neuron takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from transformers import PreTrainedModel

from compress.benchmark.block_times import BlockTimes, LayerShape, shapes_of

HEAD_MS, NEURON_MS, NORM_MS, BASE_MS = 0.5, 0.1, 0.05, 1.0


def table_of(model: PreTrainedModel, *_: Any, **__: Any) -> BlockTimes:
    """A time in proportion to heads and neurons; the last layer takes a tenth."""
    shapes = shapes_of(model)
    heads, neurons = max(shape[0] for shape in shapes), max(shape[1] for shape in shapes)
    tables = []
    for most, each in ((heads, HEAD_MS), (neurons, NEURON_MS)):
        tables.append(((0, NORM_MS), (1, NORM_MS + each), (most, NORM_MS + each * most)))
    last = [tuple((count, (ms - NORM_MS) / 10) for count, ms in table) for table in tables]
    times = BlockTimes(BASE_MS, 0.0, tables[0], tables[1], last[0], last[1])
    return BlockTimes(BASE_MS, times.model_ms(shapes), tables[0], tables[1], last[0], last[1])


def milliseconds_of(models: Mapping[str, PreTrainedModel], *_: Any, **__: Any) -> dict[str, float]:
    """What models take by the table of the first."""
    times = table_of(next(iter(models.values())))
    return {name: times.model_ms(shapes_of(model)) for name, model in models.items()}


def stand_in_for_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be timed."""
    monkeypatch.setattr("compress.pruning.deployed.block_times", table_of)
    monkeypatch.setattr("compress.methods.prune_to_latency.model_times", milliseconds_of)


def ms_of(model: PreTrainedModel, dense: PreTrainedModel) -> float:
    """What a pruned model takes by the table of the one that it was."""
    shapes: list[LayerShape] = shapes_of(model)
    return table_of(dense).model_ms(shapes)
