"""How a student of each kind takes over what its teacher knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.models.embedder import PROJECTIONS
from compress.models.families import family_of
from compress.models.heads import head_of, last_linear
from compress.models.layout import distinct_layers, encoder_layers
from compress.models.principal import (
    Activations,
    Batches,
    basis_of,
    fit_norms,
    moment_of,
    project_embeddings,
    project_head,
    project_layer,
)
from compress.models.students import copy_layers, embedding_tables, pooler_of, write_embeddings


@dataclass(frozen=True)
class InitFromTeacher:
    """What a student starts from.

    Args:
        teacher: Stays as it is.
        keep: Which of its layers the student's distinct layers come from.
        copies: Whether they are copied as they are; else they are projected.
        batches: Real sentences; empty where nothing is computed on any.
        seen: What the teacher computes on them.
        seed: For the rotation of the components.
    """

    teacher: PreTrainedModel
    keep: Sequence[int]
    copies: bool
    batches: Batches
    seen: Activations | None
    seed: int


def state_basis(lesson: InitFromTeacher, width: int) -> torch.Tensor:
    """The identity where the width stays, else principal components of all states of the teacher together."""
    assert lesson.seen is not None
    if width == lesson.teacher.config.hidden_size:
        return torch.eye(width, dtype=torch.float64)
    return basis_of(moment_of([*lesson.seen.states, *lesson.seen.attended]), width, lesson.seed)


def begin_like_bert(student: PreTrainedModel, lesson: InitFromTeacher) -> None:
    """BERT and DistilBERT: embeddings, layers and head."""
    if lesson.copies:
        _copy_embeddings(lesson.teacher, student)
        copy_layers(lesson.teacher, student, lesson.keep)
        copy_head(student, lesson)
        return
    assert lesson.seen is not None
    basis = state_basis(lesson, student.config.hidden_size)
    project_embeddings(lesson.teacher, student, basis)
    project_layers(student, lesson, basis)
    project_head(lesson.teacher, student, basis, lesson.seen)
    norms = [(student.base_model.embeddings.LayerNorm, lesson.seen.states[0] @ basis)]
    fit_norms(student, lesson.batches, [*norms, *_layer_norms(student, lesson, basis)])


def _copy_embeddings(teacher: PreTrainedModel, student: PreTrainedModel) -> None:
    write_embeddings(student, embedding_tables(teacher, with_types=family_of(student).reads_types))
    student.base_model.embeddings.LayerNorm.load_state_dict(teacher.base_model.embeddings.LayerNorm.state_dict())


def copy_head(student: PreTrainedModel, lesson: InitFromTeacher) -> None:
    """Take over the head as it is, where the student's pooler computes as the teacher's does; else through no basis."""
    if head_of(student).gives_vectors:
        student.get_submodule(PROJECTIONS).load_state_dict(lesson.teacher.get_submodule(PROJECTIONS).state_dict())
        return
    if family_of(student).pooler_is_relu:
        assert lesson.seen is not None
        project_head(lesson.teacher, student, state_basis(lesson, student.config.hidden_size), lesson.seen)
        return
    pooler_of(student).load_state_dict(pooler_of(lesson.teacher).state_dict())
    last_linear(student).load_state_dict(last_linear(lesson.teacher).state_dict())


def project_layers(student: PreTrainedModel, lesson: InitFromTeacher, basis: torch.Tensor) -> None:
    assert lesson.seen is not None
    layers, families = encoder_layers(lesson.teacher), (family_of(lesson.teacher), family_of(student))
    for index, layer in zip(lesson.keep, distinct_layers(student), strict=True):
        project_layer(layers[index], layer, families, basis, lesson.seen, index)


def _layer_norms(
    student: PreTrainedModel, lesson: InitFromTeacher, basis: torch.Tensor
) -> list[tuple[nn.Module, torch.Tensor]]:
    """Each norm with what it should answer: a layer's output is to be what the next teacher layer in line reads."""
    assert lesson.seen is not None
    family, following = family_of(student), [*lesson.keep[1:], len(lesson.seen.states) - 1]
    norms = []
    for index, after, layer in zip(lesson.keep, following, encoder_layers(student), strict=True):
        norms.append((layer.get_submodule(family.attention_norm), lesson.seen.attended[index] @ basis))
        norms.append((layer.get_submodule(family.output_norm), lesson.seen.states[after] @ basis))
    return norms


def table_basis(lesson: InitFromTeacher, width: int) -> torch.Tensor:
    """Principal components of what the word table holds and of what the embeddings answer, half each, so that words that the
    sentences lack count too."""
    assert lesson.seen is not None
    table = embedding_tables(lesson.teacher)["word_embeddings"]
    moments = [moment_of([table - table.mean(0)]), moment_of([lesson.seen.states[0]])]
    return basis_of(sum((moment / moment.trace() for moment in moments), torch.zeros(())), width, lesson.seed)
