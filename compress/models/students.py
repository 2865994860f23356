"""New models of another shape that take a teacher's place: the configuration of each kind, and what is copied as it is."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.models.families import FAMILIES, family_of, fitted_tokenizer
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
    family = FAMILIES[kind]
    told = teacher.config
    config = family.config(
        vocab_size=told.vocab_size,
        max_position_embeddings=told.max_position_embeddings,
        pad_token_id=told.pad_token_id,
        initializer_range=told.initializer_range,
        id2label=dict(told.id2label),
        label2id=dict(told.label2id),
        problem_type=told.problem_type,
        num_hidden_layers=shape.layers,
        hidden_size=shape.width,
        num_attention_heads=shape.heads,
        **_own_values(kind, told, shape),
    )
    config._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = family.classifier(config)
    student.tokenizer = fitted_tokenizer(copy.deepcopy(teacher.tokenizer), config)
    student.label, student.has_new_head = f"{teacher.label}-{kind}", False
    return student.eval()


def _own_values(kind: str, told: Any, shape: StudentShape) -> dict[str, Any]:
    """The values of a kind's configuration that go by a name of its own, or that it alone has."""
    if kind == "distilbert":
        dropout = told.hidden_dropout_prob if told.classifier_dropout is None else told.classifier_dropout
        return {
            "hidden_dim": shape.intermediate,
            "activation": told.hidden_act,
            "dropout": told.hidden_dropout_prob,
            "attention_dropout": told.attention_probs_dropout_prob,
            "seq_classif_dropout": dropout,
        }
    values = {"intermediate_size": shape.intermediate, "type_vocab_size": told.type_vocab_size}
    if kind == "mobilebert":  # no dropout of hidden states and ReLU, as in the paper
        return values | {
            "embedding_size": shape.embedding,
            "intra_bottleneck_size": shape.bottleneck,
            "classifier_activation": False,
            "num_feedforward_networks": shape.feed_forwards,
            "normalization_type": shape.normalization,
        }
    alike = ("hidden_act", "hidden_dropout_prob", "attention_probs_dropout_prob", "layer_norm_eps")
    values |= {name: getattr(told, name) for name in alike}
    if kind == "albert":
        return values | {
            "embedding_size": shape.embedding,
            "num_hidden_groups": shape.groups,
            "bos_token_id": None,
            "eos_token_id": None,
        }
    return values


@torch.no_grad()
def copy_layers(teacher: PreTrainedModel, student: PreTrainedModel, keep: Sequence[int]) -> None:
    """Copy teacher layers of equal sizes into the student's distinct layers, in order."""
    layers, mine = encoder_layers(teacher), distinct_layers(student)
    for index, layer in zip(keep, mine, strict=True):
        for old, new in zip(layer_parts(family_of(teacher)), layer_parts(family_of(student)), strict=True):
            layer.get_submodule(new).load_state_dict(layers[index].get_submodule(old).state_dict())


def embedding_tables(teacher: PreTrainedModel, *, with_types: bool = True) -> dict[str, torch.Tensor]:
    """The teacher's tables by name; without types, the first type's row stands in each position's, so that single sentences
    and first ones of a pair keep their values."""
    held = teacher.base_model.embeddings
    names = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    tables = {name: getattr(held, name).weight.detach().double() for name in names}
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
    base: Any = model.base_model
    pooler: nn.Linear = {
        "bert": lambda: base.pooler.dense,
        "albert": lambda: base.pooler,
        "distilbert": lambda: model.pre_classifier,
    }[model.config.model_type]()
    return pooler
