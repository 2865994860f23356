"""ALBERT, whose layers share their weights in groups; and a BERT whose layers are alike in groups, written as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertForQuestionAnswering,
    AlbertForSequenceClassification,
    AlbertForTokenClassification,
    AlbertModel,
    PreTrainedModel,
)
from transformers.models.albert.modeling_albert import AlbertLayer

from compress.errors import InputError
from compress.models.embedder import embedder
from compress.models.families import family_of
from compress.models.families.family import Family, Student
from compress.models.head import MASKED, SENTENCES, SEQUENCE, SPANS, TOKENS
from compress.models.init_from_teacher import InitFromTeacher, copy_head, project_layers, state_basis, table_basis
from compress.models.layout import distinct_layers, encoder_layers
from compress.models.principal import fit_norms, observe, project_embeddings, project_head, regression
from compress.models.students import (
    StudentShape,
    copy_layers,
    embedding_tables,
    new_student,
    values_like_bert,
    write_embeddings,
)

MOST_RUNS = 1024  # of layers that share their weights, so that no number of weights bounds them


def _executed(config: Any, layer_groups: Sequence[Any]) -> list[nn.Module]:
    executions, groups = config.num_hidden_layers, config.num_hidden_groups
    chosen = [layer_groups[int(index / (executions / groups))] for index in range(executions)]  # as transformers rounds
    return [layer for group in chosen for layer in group.albert_layers]


def _kept(student: PreTrainedModel, kept: list[nn.Module]) -> PreTrainedModel:
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


def _headless(attention: Any, hidden_states: torch.Tensor) -> tuple[torch.Tensor, None]:
    return attention.LayerNorm(hidden_states + attention.output_dropout(attention.dense(hidden_states))), None


def _check(config: Any) -> str | None:
    if config.num_hidden_groups <= config.num_hidden_layers <= MOST_RUNS:
        return None
    return (
        f"num_hidden_layers is {config.num_hidden_layers}; {config.num_hidden_groups} (num_hidden_groups) to {MOST_RUNS} are "
        "possible"
    )


@torch.no_grad()
def _begin(student: PreTrainedModel, lesson: InitFromTeacher) -> None:
    """ALBERT: factorised embeddings, one teacher layer for each group, and the head."""
    assert lesson.seen is not None
    seen, base = lesson.seen, student.base_model
    basis, narrow = state_basis(lesson, student.config.hidden_size), table_basis(lesson, student.config.embedding_size)
    project_embeddings(lesson.teacher, student, narrow)
    fit_norms(student, lesson.batches, [(base.embeddings.LayerNorm, seen.states[0] @ narrow)])
    answered = observe(student, lesson.batches, {"embeddings": (base.embeddings.LayerNorm, False)})["embeddings"]
    weight, bias = regression(answered, seen.states[0] @ basis)
    base.encoder.embedding_hidden_mapping_in.weight.copy_(weight)
    base.encoder.embedding_hidden_mapping_in.bias.copy_(bias)
    if lesson.copies:
        copy_layers(lesson.teacher, student, lesson.keep)
        copy_head(student, lesson)
        return
    project_layers(student, lesson, basis)
    for index, layer in zip(lesson.keep, distinct_layers(student), strict=True):
        _take_norms(lesson.teacher, layer, family_of(student), basis, index)
    project_head(lesson.teacher, student, basis, seen)


def _take_norms(teacher: PreTrainedModel, layer: Any, family: Family, basis: torch.Tensor, index: int) -> None:
    """Gains at their root mean square and offsets through the basis: a layer that runs several times fits no single state."""
    old: Any = encoder_layers(teacher)[index]
    wide = len(basis) / basis.shape[1]
    for theirs, ours in (
        (family_of(teacher).attention_norm, family.attention_norm),
        (family_of(teacher).output_norm, family.output_norm),
    ):
        from_norm, to_norm = old.get_submodule(theirs), layer.get_submodule(ours)
        if wide == 1:
            to_norm.load_state_dict(from_norm.state_dict())
            continue
        to_norm.weight.fill_(from_norm.weight.double().square().mean().sqrt() * wide**0.5)
        to_norm.bias.copy_(basis.T @ from_norm.bias.double())


def _values(config: Any, shape: StudentShape) -> dict[str, Any]:
    return values_like_bert(config, shape) | {
        "embedding_size": shape.embedding,
        "num_hidden_groups": shape.groups,
        "bos_token_id": None,
        "eos_token_id": None,
    }


@torch.no_grad()
def as_albert(model: PreTrainedModel, groups: int) -> PreTrainedModel:
    """The ALBERT that answers as a BERT does whose layers are equal in so many groups of one size.

    Its embeddings are as wide as its states, and the Linear between them is the identity.

    Args:
        model: A BERT classifier with layers of the sizes that config.json tells; stays as it is.
        groups: How many; they divide the number of layers.
    """
    config, depth = model.config, len(encoder_layers(model))
    shape = StudentShape(
        layers=depth,
        width=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=config.num_attention_heads,
        embedding=config.hidden_size,
        bottleneck=0,
        feed_forwards=0,
        normalization="",
        groups=groups,
    )
    student = new_student("albert", model, shape, seed=0)
    base, old = student.base_model, model.base_model
    write_embeddings(student, embedding_tables(model))
    base.embeddings.LayerNorm.load_state_dict(old.embeddings.LayerNorm.state_dict())
    nn.init.eye_(base.encoder.embedding_hidden_mapping_in.weight)
    nn.init.zeros_(base.encoder.embedding_hidden_mapping_in.bias)
    copy_layers(model, student, [group * depth // groups for group in range(groups)])
    base.pooler.load_state_dict(old.pooler.dense.state_dict())
    student.classifier.load_state_dict(model.classifier.state_dict())
    student.config.classifier_dropout_prob = student.dropout.p = model.dropout.p
    student.label = model.label
    return student


FAMILY = Family(
    config=AlbertConfig,
    classes={
        SEQUENCE: AlbertForSequenceClassification,
        TOKENS: AlbertForTokenClassification,
        SPANS: AlbertForQuestionAnswering,
        MASKED: AlbertForMaskedLM,
        SENTENCES: embedder(AlbertModel),
    },
    layer=AlbertLayer,
    layers="encoder.albert_layer_groups",
    attention="attention",
    projections=("attention.query", "attention.key", "attention.value"),
    context="attention.dense",
    attention_norm="attention.LayerNorm",
    feed_forward=("ffn", "ffn_output"),
    activation="activation",
    output_norm="full_layer_layer_norm",
    read_alike=(("attention.query", "attention.key", "attention.value"), ("ffn",)),
    head=("classifier.", "albert.pooler."),
    masked_head=("predictions", "predictions.decoder"),
    pooler="albert.pooler",
    sizes=("intermediate_size", "type_vocab_size", "embedding_size", "num_hidden_groups", "inner_group_num"),
    distinct_layers=("num_hidden_groups", "inner_group_num"),
    executed=_executed,
    kept=_kept,
    headless=_headless,
    abilities=frozenset({"narrow"}),
    own_keys=("num_hidden_groups", "inner_group_num"),
    check=_check,
    prunes_by_config=False,
    student=Student(values=_values, begin=_begin, takes="groups", own_sizes=("embedding", "groups"), halves=False),
)
