"""What a target cannot write, told by a model's shape alone, before hours of training have given it its weights."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.exits import exits_of
from compress.models.head import WRITER
from compress.models.heads import head_of
from compress.models.quantizers import quantized_linears, with_quantizers
from compress.targets import TARGETS
from compress.targets.onnx.ranges import source_of_ranges
from compress.targets.onnx.several_tasks import refuse_adapters
from compress.targets.onnx.short_vectors import refuse_no_vectors


def refuse_shape(target: str, options: Mapping[str, Any], model: PreTrainedModel) -> None:
    """Raise InputError where a target could not write a model of this shape with these options.

    A target's module may have a function `refuse` for what it alone cannot write.

    Args:
        target: A key of TARGETS.
        options: Those that are given.
        model: Of any weights.
    """
    refuse_writer(target, model)
    refuse_exits(target, model)
    if options.get("vectors"):
        refuse_no_vectors(options["vectors"], model)
    module = importlib.import_module(TARGETS[target])
    if hasattr(module, "refuse"):
        module.refuse(model)
    function = getattr(module, target.replace("-", "_"))
    ranges = source_of_ranges(function, options, brings_ranges=bool(quantized_linears(model)))
    refuse_adapters(target, options, model, ranges)
    if ranges == "calibration":
        try:
            with_quantizers(model, per_channel=True, symmetric=True)
        except InputError as err:
            raise InputError(f"{target}: {err}") from err
    odd = [name for name, layer in model.named_modules() if isinstance(layer, nn.Embedding) and layer.embedding_dim % 2]
    if odd and options.get("embedding_bits") == 4:
        columns = model.get_submodule(odd[0]).embedding_dim
        raise InputError(
            f"{target}.embedding_bits is 4, but the table {odd[0]} has {columns} columns, and an odd number cannot be packed; "
            "use 8, or an even width."
        )


def refuse_writer(target: str, model: PreTrainedModel) -> None:
    """Raise InputError where a model writes texts, and a target has no files for those: its module has no true WRITES."""
    able = _able("WRITES")
    if head_of(model).writes and target not in able:
        raise InputError(f"{target} has no files for a model that writes texts ({WRITER}); allowed: {', '.join(able)}.")


def refuse_exits(target: str, model: PreTrainedModel) -> None:
    """Raise InputError where texts leave a model early, and a target has no files for those: its module has no true LEAVES."""
    able = _able("LEAVES")
    if exits_of(model) and target not in able:
        raise InputError(f"{target} has no files for a model with exits (early_exit); allowed: {', '.join(able)}.")


def _able(what: str) -> list[str]:
    """The targets whose modules say so of themselves."""
    return [name for name, module in TARGETS.items() if getattr(importlib.import_module(module), what, False)]
