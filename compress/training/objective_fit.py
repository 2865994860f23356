"""What objectives ask of student, teacher and task: labels, groups, vectors."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel

from compress.errors import InputError
from compress.labels import listed
from compress.models.heads import head_of, label_names, output_count
from compress.models.writer_tokenizer import writer_of
from compress.objectives import OBJECTIVES
from compress.objectives.nested import nested

if TYPE_CHECKING:
    from compress.tasks.labelled import Task


def reads_labels(objectives: Mapping[str, float]) -> list[str]:
    """The objectives among these that cannot do without the data's labels."""
    known = [name for name in objectives if name in OBJECTIVES]
    return [name for name in known if getattr(importlib.import_module(OBJECTIVES[name]), "READS_LABELS", False)]


def check_groups(method: str, modules: Mapping[str, ModuleType], task: Task) -> None:
    """Refuse an objective that compares the passages of a query where there are none."""
    comparing = [name for name, module in modules.items() if getattr(module, "READS_GROUPS", False)]
    if comparing and not task.rules.head.ranks:
        raise InputError(
            f"{method}.objectives names {comparing[0]!r}, which compares the passages of a query, but in {task.kind} each "
            "example stands for itself; use logits or logit_mse."
        )


def check_labels(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    """Raise InputError where student and teacher do not answer with the same labels."""
    names = [label_names(model) for model in (student, teacher)]
    if names[0] != names[1]:
        raise InputError(f"the student's labels are {names[0]}, the teacher's {names[1]}; they must be the same, in order.")


def check_vocabularies(who_compares: str, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    """Raise InputError where student and teacher do not read the same tokens."""
    pairs = [(student.tokenizer, teacher.tokenizer), (writer_of(student.tokenizer), writer_of(teacher.tokenizer))]
    if any(own.get_vocab() != other.get_vocab() for own, other in pairs):
        raise InputError(
            f"student and teacher have different vocabularies, but {who_compares} them token by token; use a student with the "
            "teacher's tokenizer, or distil logits and labels alone."
        )


def check_vectors(method: str, modules: Mapping[str, ModuleType], nested: Sequence[int], student: PreTrainedModel) -> None:
    """Raise InputError where objectives of vectors are to teach labels, or parts of vectors that they do not have."""
    are_vectors = head_of(student).gives_vectors
    for name, module in modules.items():
        if getattr(module, "OF_VECTORS", False) and not are_vectors:
            what = "pieces of words" if head_of(student).of_pieces else listed(label_names(student))
            raise InputError(
                f"{method}.objectives names {name!r}, which compares vectors of texts, but the model answers with {what}; use "
                "logits, or a task of sentence-embedding."
            )
    if not nested:
        return
    if not are_vectors or not any(getattr(module, "NESTS", False) for module in modules.values()):
        what = "none of its objectives teaches beginnings of vectors" if are_vectors else "the model answers with labels"
        raise InputError(f"{method}.nested is {list(nested)}, but {what}; leave it out, or add similarities.")
    width = output_count(student)
    if max(nested) >= width:
        raise InputError(f"{method}.nested is {list(nested)}, but vectors have {width} numbers; name fewer.")


def with_options(function: Any, module: ModuleType, known: Mapping[str, Any], dimensions: Sequence[int] = ()) -> Any:
    """An objective with those of some options that it takes; over beginnings of vectors too, where it teaches them."""
    taken = inspect.signature(function).parameters
    function = partial(function, **{name: value for name, value in known.items() if name in taken})
    if not dimensions or not getattr(module, "NESTS", False):
        return function
    return partial(nested, term=function, dimensions=tuple(dimensions))


def are_of_one_width(student: PreTrainedModel, teacher: PreTrainedModel) -> bool:
    """Whether two models' answers have as many numbers."""
    return output_count(student) == output_count(teacher)


def check_widths(
    method: str, modules: Mapping[str, ModuleType], student: PreTrainedModel, teacher: PreTrainedModel, *, project: bool
) -> None:
    if not head_of(student).gives_vectors or are_of_one_width(student, teacher):
        return
    widths = f"vectors of {output_count(student)} numbers (student) with {output_count(teacher)} (teacher)"
    for name, module in modules.items():
        compares_answers = bool(module.NEEDS) and not hasattr(module, "PAIRS")
        if compares_answers and not getattr(module, "OF_VECTORS", False):
            raise InputError(f"{method}.objectives names {name!r}, which compares {widths}; use vectors or similarities.")
        if getattr(module, "PROJECTS_VECTORS", False) and not project:
            raise InputError(
                f"{method}.objectives names {name!r}, which compares {widths}, and project is false; set it to true."
            )
