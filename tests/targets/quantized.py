"""Models that quantize, their ranges set by what their Linears see, and a task whose labels are a model's own answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from compress.models.quantizers import QuantizedLinear, quantized_linears, quantizers_off, with_quantizers
from compress.tasks.labelled import Task
from compress.tasks.split import Split
from tests.tiny_models import tiny_bert, toy_task

TINY = 1e-3  # a range that cuts almost everything off


def wide_bert(**changes: Any) -> PreTrainedModel:
    """Wide enough for eight bits to mean something."""
    return tiny_bert(**{"hidden_size": 32, "intermediate_size": 64, "initializer_range": 0.15, **changes})


def quantized_bert(task: Task, *, symmetric: bool = False, per_channel: bool = True, broken: tuple[str, ...] = ()) -> Any:
    """A copy of the wide model that quantizes with the least and the greatest values of the calibration sentences.

    Args:
        task: Gives the sentences.
        symmetric: Ranges are as wide below 0 as above.
        per_channel: A scale for each output column.
        broken: Linears whose range holds next to nothing.
    """
    model = with_quantizers(wide_bert(), per_channel=per_channel, symmetric=symmetric)
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in quantized_linears(model)}

    def watch(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        return lambda _, inputs: seen[name].append(inputs[0].detach().flatten())

    handles = [linear.register_forward_pre_hook(watch(name)) for name, linear in quantized_linears(model).items()]
    with torch.no_grad(), quantizers_off(model):
        for text in task.calibration.texts:
            model(**model.tokenizer(text, return_tensors="pt"))
    for handle in handles:
        handle.remove()
    for name, linear in quantized_linears(model).items():
        values = torch.cat(seen[name])
        linear.set_range(*((-TINY, TINY) if name in broken else (values.min(), values.max())))
    return model


def labelled_by(model: PreTrainedModel, count: int = 64) -> Task:
    """A task whose selection labels are the float model's answers, so that it is right about all of them."""
    task = toy_task(others=count)
    with torch.no_grad(), quantizers_off(model):
        answers = [model(**model.tokenizer(text, return_tensors="pt")).logits.argmax().item() for text in task.selection.texts]
    labels = np.array(answers, dtype=np.int64)
    assert 0 < labels.sum() < count
    return replace(task, selection=Split("selection", task.selection.texts, None, labels))


def float_answers(model: PreTrainedModel, texts: tuple[str, ...]) -> np.ndarray:
    """The logits of the float weights, a sentence at a time."""
    with torch.no_grad(), quantizers_off(model):
        return np.concatenate([model(**model.tokenizer(text, return_tensors="pt")).logits.numpy() for text in texts])


def answers_with(model: PreTrainedModel, name: str, texts: tuple[str, ...]) -> np.ndarray:
    """The same with one Linear in whole numbers, which a hook works out from its range and its weight."""
    linear = dict(model.named_modules())[name]
    assert isinstance(linear, QuantizedLinear)
    low, high = float(linear.low), float(linear.high)
    weight = linear.weight.detach().double()
    scales = weight.abs().amax(1, keepdim=True) / 127
    whole_weight = (weight / scales).round()
    scale = (high - low) / 255
    zero = round(-128 - low / scale)

    def compute(_: nn.Module, inputs: tuple[torch.Tensor, ...], __: torch.Tensor) -> torch.Tensor:
        whole = ((inputs[0].double() / scale).round() + zero).clamp(-128, 127) - zero
        return (whole @ whole_weight.T * scale * scales[:, 0]).float() + linear.bias

    handle = linear.register_forward_hook(compute)
    try:
        return float_answers(model, texts)
    finally:
        handle.remove()
