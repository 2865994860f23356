"""Quantizers with the ranges of their inputs; see `compress.models.quantizers`."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.quantizers import (
    QMAX,
    QuantizedEmbedding,
    QuantizedLinear,
    quantized_linears,
    replace_with_quantizers,
)
from compress.models.traits.trait import Trait

LARGEST = torch.finfo(torch.float32).max


def _read(model: PreTrainedModel) -> dict[str, Any] | None:
    """`per_channel`, `symmetric`, and `inputs`, the range of each Linear's input."""
    linears = quantized_linears(model)
    if not linears:
        return None
    first = next(iter(linears.values()))
    return {
        "per_channel": first.per_channel,
        "symmetric": first.symmetric,
        "inputs": {name: [linear.low.item(), linear.high.item()] for name, linear in linears.items()},
    }


def _left_out(model: PreTrainedModel) -> set[str]:
    return {f"{name}.{end}" for name in quantized_linears(model) for end in ("low", "high")}


def _refuse(model: PreTrainedModel) -> None:
    """Raise InputError where a model quantizes in a way that structure.json does not tell, since it would answer otherwise."""
    for name, module in model.named_modules():
        if not isinstance(module, QuantizedLinear | QuantizedEmbedding):
            continue
        storable = {"qmax": module.qmax == QMAX, "on": module.on, "divisor": getattr(module, "divisor", None) is None}
        lost = [attribute for attribute, is_storable in storable.items() if not is_storable]
        if lost:
            raise InputError(
                f"{name}.{lost[0]} is not kept in a saved model, which has no divisors and quantizes to {QMAX}; save the "
                "float model and export it, which quantizes a copy."
            )


def _finish(model: PreTrainedModel, entry: Any) -> None:
    """Give the quantizers of a model that had no memory when they were made the ranges that were told."""
    for name, linear in quantized_linears(model).items():
        linear.set_range(*entry["inputs"][name])


def _apply(model: PreTrainedModel, entry: Any, _: int | None) -> None:
    entry = entry if isinstance(entry, dict) else {}
    per_channel, symmetric, ranges = (entry.get(key) for key in ("per_channel", "symmetric", "inputs"))
    if not (isinstance(per_channel, bool) and isinstance(symmetric, bool) and isinstance(ranges, dict)):
        raise InputError(
            "structure.json: quantizers must give per_channel and symmetric as true or false, and inputs; restore the file."
        )
    replace_with_quantizers(model, per_channel=per_channel, symmetric=symmetric)
    linears = quantized_linears(model)
    if ranges.keys() != linears.keys():
        apart = sorted(ranges.keys() ^ linears.keys())
        raise InputError(
            f"structure.json: quantizers.inputs and the model's Linears differ in {', '.join(apart[:3])}; restore the file."
        )
    for name, linear in linears.items():
        if not _is_range(ranges[name]):
            raise InputError(
                f"structure.json: the range of {name} is {ranges[name]!r}; two finite numbers are needed, the first at most 0 "
                "and the second at least 0: restore the file."
            )
        linear.set_range(*ranges[name])


def _is_range(bounds: Any) -> bool:
    numbers = isinstance(bounds, list) and len(bounds) == 2 and all(type(end) in (int, float) for end in bounds)
    return numbers and -LARGEST <= bounds[0] <= 0 <= bounds[1] <= LARGEST


TRAIT = Trait(
    key="quantizers",
    read=_read,
    apply=_apply,
    finish=_finish,
    left_out=_left_out,
    refuse=_refuse,
    made_by=("quantize_aware", "the model quantizes"),
)
