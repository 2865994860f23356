"""New models of another shape that take a teacher's place: the configuration of each kind, and what is copied as it is."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.models.embedder import take_pooling
from compress.models.families import encoder_family, family_of, first_position, fitted_tokenizer, longest_text
from compress.models.heads import head_of, outputs_stated
from compress.models.layout import distinct_layers, encoder_layers, layer_parts


@dataclass(frozen=True)
class StudentShape:
    """The sizes of a student, all of them told.

    Args:
        layers: That run.
        width: Of the states between layers.
        intermediate: Of a feed-forward part.
        heads: Of each layer.
        embedding: Width of the word table (MobileBERT, ALBERT).
        bottleneck: Width inside a layer (MobileBERT).
        feed_forwards: Feed-forward parts of a layer (MobileBERT).
        normalization: "no_norm" or "layer_norm" (MobileBERT).
        groups: Layers with weights of their own (ALBERT).
    """

    layers: int
    width: int
    intermediate: int
    heads: int
    embedding: int
    bottleneck: int
    feed_forwards: int
    normalization: str
    groups: int


def spread_layers(count: int, of: int) -> list[int]:
    """So many layers of a teacher's, from the first to the last as evenly as can be; 6 of 12 are DistilBERT's 0 2 4 7 9 11."""
    if count == 1:
        return [(of - 1) // 2]
    return [round(index * (of - 1) / (count - 1)) for index in range(count)]


def new_student(kind: str, teacher: PreTrainedModel, shape: StudentShape, seed: int) -> PreTrainedModel:
    """A random student with the teacher's tokenizer and labels."""
    family, teacher_config = encoder_family(kind), teacher.config
    assert family.student is not None
    config = family.config(
        vocab_size=teacher_config.vocab_size,
        max_position_embeddings=longest_text(teacher_config),
        pad_token_id=teacher_config.pad_token_id,
        initializer_range=teacher_config.initializer_range,
        **outputs_stated(teacher_config),
        num_hidden_layers=shape.layers,
        hidden_size=shape.width,
        num_attention_heads=shape.heads,
        **family.student.values(teacher_config, shape),
    )
    config._attn_implementation = "sdpa"
    take_pooling(teacher, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = family.classes[head_of(teacher).architecture](config)
    student.tokenizer = fitted_tokenizer(copy.deepcopy(teacher.tokenizer), config)
    student.label, student.has_new_head = f"{teacher.label}-{kind}", False
    return student.eval()


def values_like_bert(config: Any, shape: StudentShape) -> dict[str, Any]:
    """The values of a configuration whose names are BERT's."""
    alike = ("type_vocab_size", "hidden_act", "hidden_dropout_prob", "attention_probs_dropout_prob", "layer_norm_eps")
    return {"intermediate_size": shape.intermediate, **{name: getattr(config, name) for name in alike}}


@torch.no_grad()
def copy_layers(teacher: PreTrainedModel, student: PreTrainedModel, keep: Sequence[int]) -> None:
    """Copy teacher layers of equal sizes into the student's distinct layers, in order."""
    layers, mine = encoder_layers(teacher), distinct_layers(student)
    for index, layer in zip(keep, mine, strict=True):
        for old, new in zip(layer_parts(family_of(teacher)), layer_parts(family_of(student)), strict=True):
            layer.get_submodule(new).load_state_dict(layers[index].get_submodule(old).state_dict())


def embedding_tables(teacher: PreTrainedModel, *, with_types: bool = True) -> dict[str, torch.Tensor]:
    """The teacher's tables by name, of the positions' those of tokens; without types, the first type's row stands in each
    position's, so that single sentences and first ones of a pair keep their values."""
    embeddings = teacher.base_model.embeddings
    names = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    tables = {name: getattr(embeddings, name).weight.detach().double() for name in names}
    tables["position_embeddings"] = tables["position_embeddings"][first_position(teacher) :]
    if not with_types:
        tables["position_embeddings"] = tables["position_embeddings"] + tables.pop("token_type_embeddings")[0]
    return tables


@torch.no_grad()
def write_embeddings(student: PreTrainedModel, tables: dict[str, torch.Tensor]) -> None:
    """Write tables into the student's embeddings."""
    for name, table in tables.items():
        getattr(student.base_model.embeddings, name).weight.copy_(table)


def pooler_of(model: PreTrainedModel) -> nn.Linear:
    """The Linear between the first token's state and the classifier."""
    path = family_of(model).pooler
    assert path is not None
    pooler = model.get_submodule(path)
    assert isinstance(pooler, nn.Linear)
    return pooler
