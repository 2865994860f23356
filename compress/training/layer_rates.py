"""Rates and turns by layer: the lower a layer, the slower it learns, or the later it begins to."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from torch import nn
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.exits import exits_of
from compress.models.heads import head_of
from compress.models.layer_mix import mix_of
from compress.models.layout import behind_encoder, encoder_layers


def check_layer_decay(model: PreTrainedModel, decay: float) -> None:
    """Raise InputError where a model has no layers whose rates could differ."""
    if decay < 1 and (head_of(model).writes or not encoder_layers(model)):
        why = "writes, and learns as a whole" if head_of(model).writes else "has no layers"
        raise InputError(f"layer_decay is {decay}, but a {model.config.model_type} that {why}; remove it, or set it to 1.")


def rate_shares(model: PreTrainedModel, decay: float) -> Mapping[nn.Parameter, float]:
    """How much of the learning rate each parameter gets: what stands behind the encoder all of it, the highest layer `decay`
    of it, each one below as much of that of the one above, and the embeddings least.

    Source: Howard and Ruder 2018, ULMFiT, arXiv 1801.06146, section 3.2 (discriminative fine-tuning; 1 / 2.6 there); Clark et
    al. 2020, ELECTRA, arXiv 2003.10555, table 7 (0.8).
    """
    return {parameter: decay**depth for parameter, depth in _depths(model).items()}


def layers_that_learn(model: PreTrainedModel, step: int, steps: int) -> None:
    """Let a model's head learn alone at first, then one layer more at a time from the highest, and at last the embeddings too,
    in place; each for the same number of steps.

    Source: Howard and Ruder 2018, ULMFiT, arXiv 1801.06146, section 3.3 (gradual unfreezing; there each epoch one layer more).

    Args:
        model: Is changed.
        step: From 0.
        steps: After so many, all of it learns.
    """
    depths = _depths(model)
    stages = max(depths.values())
    deepest = stages if step >= steps else step * stages // steps
    for parameter, depth in depths.items():
        parameter.requires_grad_(depth <= deepest)


def _depths(model: PreTrainedModel) -> dict[nn.Parameter, int]:
    """How far below the head each parameter stands: 0 behind the encoder, in exits and in what mixes layers, 1 in the highest
    layer, and so on. A layer that is shared counts as the highest that it is."""
    layers = encoder_layers(model)
    depths = dict.fromkeys(model.parameters(), len(layers) + 1)
    for depth, layer in zip(range(len(layers), 0, -1), layers, strict=True):
        depths |= dict.fromkeys(layer.parameters(), depth)
    reading = [part.parameters() for part in (exits_of(model), mix_of(model)) if part is not None]
    return depths | dict.fromkeys([*map(model.get_parameter, behind_encoder(model)), *itertools.chain(*reading)], 0)
