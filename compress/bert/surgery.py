"""Cut a copy of a model; the model that comes in is left alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

from compress.bert.layout import attention_of, encoder_layers


def copy_of(model: PreTrainedModel) -> PreTrainedModel:
    """A model of its own, tokenizer and label included, that shares no tensor with the original."""
    return copy.deepcopy(model)


def keep_layers(model: PreTrainedModel, keep: Sequence[int]) -> PreTrainedModel:
    """Copy the model with these encoder layers only, in this order."""
    student = copy_of(model)
    layers = encoder_layers(student)
    kept = [copy.deepcopy(layers[index], {id(student.config): student.config}) for index in keep]  # one configuration for all
    for index, layer in enumerate(kept):
        attention_of(layer).layer_idx = index
    student.base_model.encoder.layer = nn.ModuleList(kept)
    student.config.num_hidden_layers = len(kept)
    return student
