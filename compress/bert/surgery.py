"""Cut a copy of a model; the model that comes in is left alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from compress.bert.families import family_of
from compress.bert.layout import attention_of, encoder_layers
from compress.errors import InputError


def copy_of(model: PreTrainedModel) -> PreTrainedModel:
    """A model of its own, tokenizer and label included, that shares no tensor with the original."""
    return copy.deepcopy(model)


def keep_layers(model: PreTrainedModel, keep: Sequence[int]) -> PreTrainedModel:
    """Copy the model with these encoder layers only, in this order.

    Raises:
        InputError: Layers are shared, and no configuration tells which of them stay.
    """
    student = copy_of(model)
    layers = encoder_layers(student)
    if student.config.model_type == "albert":
        return _keep_groups(student, [layers[index] for index in keep])
    kept = [copy.deepcopy(layers[index], {id(student.config): student.config}) for index in keep]  # one configuration for all
    for index, layer in enumerate(kept):
        if hasattr(attention_of(layer), "layer_idx"):
            attention_of(layer).layer_idx = index
    student.base_model.set_submodule(family_of(student).layers, nn.ModuleList(kept))
    student.config.num_hidden_layers = len(kept)
    return student


def _keep_groups(student: PreTrainedModel, kept: list[nn.Module]) -> PreTrainedModel:
    """Let an ALBERT execute these of its layers: each group the same number of times."""
    distinct = list(dict.fromkeys(kept))
    times, rest = divmod(len(kept), len(distinct))
    if student.config.inner_group_num != 1 or rest or kept != [layer for layer in distinct for _ in range(times)]:
        raise InputError(
            f"an ALBERT's groups each run equally often, but of {len(distinct)} groups {len(kept)} runs would stay; keep as "
            "many layers of each group."
        )
    holder: Any = student.base_model.encoder
    groups = [group for layer in distinct for group in holder.albert_layer_groups if layer in list(group.albert_layers)]
    holder.albert_layer_groups = nn.ModuleList(groups)
    student.config.num_hidden_layers, student.config.num_hidden_groups = len(kept), len(groups)
    return student
