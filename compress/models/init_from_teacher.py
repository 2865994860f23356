"""How a student of each kind takes over what its teacher knows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.models.families import Family, family_of
from compress.models.layout import distinct_layers, encoder_layers
from compress.models.principal import (
    Activations,
    Batches,
    basis_of,
    fit_norms,
    moment_of,
    observe,
    project_embeddings,
    project_head,
    project_layer,
    regression,
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


def _basis(lesson: InitFromTeacher, width: int) -> torch.Tensor:
    """The identity where the width stays, else principal components of all states of the teacher together."""
    assert lesson.seen is not None
    if width == lesson.teacher.config.hidden_size:
        return torch.eye(width, dtype=torch.float64)
    return basis_of(moment_of([*lesson.seen.states, *lesson.seen.attended]), width, lesson.seed)


def teach_bert(student: PreTrainedModel, lesson: InitFromTeacher) -> None:
    """BERT and DistilBERT: embeddings, layers and head."""
    if lesson.copies:
        _copy_embeddings(lesson.teacher, student)
        copy_layers(lesson.teacher, student, lesson.keep)
        _copy_head(student, lesson)
        return
    assert lesson.seen is not None
    basis = _basis(lesson, student.config.hidden_size)
    project_embeddings(lesson.teacher, student, basis)
    _project_layers(student, lesson, basis)
    project_head(lesson.teacher, student, basis, lesson.seen)
    norms = [(student.base_model.embeddings.LayerNorm, lesson.seen.states[0] @ basis)]
    fit_norms(student, lesson.batches, [*norms, *_layer_norms(student, lesson, basis)])


def _copy_embeddings(teacher: PreTrainedModel, student: PreTrainedModel) -> None:
    write_embeddings(student, embedding_tables(teacher, with_types=family_of(student).reads_types))
    student.base_model.embeddings.LayerNorm.load_state_dict(teacher.base_model.embeddings.LayerNorm.state_dict())


def _copy_head(student: PreTrainedModel, lesson: InitFromTeacher) -> None:
    if student.config.model_type == "distilbert":  # its head has another activation
        assert lesson.seen is not None
        project_head(lesson.teacher, student, _basis(lesson, student.config.hidden_size), lesson.seen)
        return
    pooler_of(student).load_state_dict(pooler_of(lesson.teacher).state_dict())
    student.classifier.load_state_dict(lesson.teacher.classifier.state_dict())


def _project_layers(student: PreTrainedModel, lesson: InitFromTeacher, basis: torch.Tensor) -> None:
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


def _table_basis(lesson: InitFromTeacher, width: int) -> torch.Tensor:
    """Principal components of what the word table holds and of what the embeddings answer, half each, so that words that the
    sentences lack count too."""
    assert lesson.seen is not None
    table = embedding_tables(lesson.teacher)["word_embeddings"]
    moments = [moment_of([table - table.mean(0)]), moment_of([lesson.seen.states[0]])]
    return basis_of(sum((moment / moment.trace() for moment in moments), torch.zeros(())), width, lesson.seed)


@torch.no_grad()
def teach_albert(student: PreTrainedModel, lesson: InitFromTeacher) -> None:
    """ALBERT: factorised embeddings, one teacher layer for each group, and the head."""
    assert lesson.seen is not None
    seen, base = lesson.seen, student.base_model
    basis, narrow = _basis(lesson, student.config.hidden_size), _table_basis(lesson, student.config.embedding_size)
    project_embeddings(lesson.teacher, student, narrow)
    fit_norms(student, lesson.batches, [(base.embeddings.LayerNorm, seen.states[0] @ narrow)])
    answered = observe(student, lesson.batches, {"embeddings": (base.embeddings.LayerNorm, False)})["embeddings"]
    weight, bias = regression(answered, seen.states[0] @ basis)
    base.encoder.embedding_hidden_mapping_in.weight.copy_(weight)
    base.encoder.embedding_hidden_mapping_in.bias.copy_(bias)
    if lesson.copies:
        copy_layers(lesson.teacher, student, lesson.keep)
        _copy_head(student, lesson)
        return
    _project_layers(student, lesson, basis)
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


@torch.no_grad()
def teach_mobilebert(student: PreTrainedModel, lesson: InitFromTeacher) -> None:
    """MobileBERT: the embeddings; no layer of a BERT fits into its bottlenecks, so they stay random, and so does the head.

    Of the three words that it reads at each place the middle one gets the teacher's table, the others start at 0. The row of
    the padding is 0, as is what lies beyond a sentence's ends, so that padding does not reach its neighbours.
    """
    assert lesson.seen is not None
    held: Any = student.base_model.embeddings
    size, tables = student.config.embedding_size, embedding_tables(lesson.teacher)
    basis, narrow = _basis(lesson, student.config.hidden_size), _table_basis(lesson, size)
    words = tables.pop("word_embeddings") @ narrow
    words[held.word_embeddings.padding_idx] = 0
    write_embeddings(student, {"word_embeddings": words, **{name: table @ basis for name, table in tables.items()}})
    held.embedding_transformation.weight.zero_()
    held.embedding_transformation.weight[:, size : 2 * size] = (basis.T @ narrow).float()
    held.embedding_transformation.bias.zero_()
    fit_norms(student, lesson.batches, [(held.LayerNorm, lesson.seen.states[0] @ basis)])


KINDS: dict[str, Callable[[PreTrainedModel, InitFromTeacher], None]] = {
    "bert": teach_bert,
    "distilbert": teach_bert,
    "mobilebert": teach_mobilebert,
    "albert": teach_albert,
}
