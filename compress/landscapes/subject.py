"""A model whose surroundings are looked at, and whether a line can be drawn from it to another."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedModel

from compress.landscapes.loss import SampleLoss, Weights, weights_of, weights_on_a_line
from compress.models.checkpoint.fingerprint import fingerprint
from compress.models.layout import parameter_count
from compress.models.quantizers import quantized_linears
from compress.models.structure import read_structure
from compress.models.surgery import copy_of
from compress.models.traits.quantizers import TRAIT as QUANTIZERS
from compress.models.word_rows import rows_of, word_rows
from compress.tasks.encoding import read_by

if TYPE_CHECKING:
    from compress.tasks.encoding import Encoded


@dataclass(frozen=True, eq=False)
class Subject:
    """A model on the sample, without the rows of its word table that no text of the sample reads.

    The loss does not depend on those, and they are more than half of a small model.

    Args:
        name: For figures and sentences.
        key: Tells one model's weights and structure, and how it reads the sample, from another's.
        model: A copy of the one that was given, with these rows alone.
        encoded: The sample as it reads it, whose ids are places in `pieces`.
        pieces: Those of its rows.
        parameters: Of the whole model.
    """

    name: str
    key: str
    model: PreTrainedModel
    encoded: Encoded
    pieces: tuple[str, ...]
    parameters: int

    @property
    def quantizes(self) -> bool:
        """Whether weights are rounded on the way to the loss."""
        return bool(quantized_linears(self.model))

    @cached_property
    def loss(self) -> SampleLoss:
        """The loss as the model computes it."""
        return SampleLoss(self.model, self.encoded)

    @cached_property
    def line_loss(self) -> SampleLoss:
        """The loss on lines and planes, where a model that quantizes computes in float."""
        return SampleLoss(self.model, self.encoded, is_float=True) if self.quantizes else self.loss

    @cached_property
    def weights(self) -> Weights:
        """Where it stands, for itself."""
        return weights_of(self.model)

    @cached_property
    def line_weights(self) -> Weights:
        """Where it stands on lines and in planes."""
        return weights_on_a_line(self.model)


def subject_of(name: str, model: PreTrainedModel, encoded: Encoded) -> Subject:
    """Take what the sample reads of a model, which stays as it is."""
    key = f"{fingerprint(model)}-{zlib.crc32(repr(encoded.input_ids).encode()):08x}"
    ids = rows_of(model, read_by(encoded))
    student = copy_of(model)
    with word_rows(student, torch.from_numpy(ids)):
        read = copy_of(student)
    pieces = tuple(model.tokenizer.convert_ids_to_tokens(ids.tolist()))
    return Subject(name, key, read, encoded.over(ids), pieces, parameter_count(model))


def why_apart(first: Subject, second: Subject) -> str | None:
    """Why no line can be drawn between two models: the end of a sentence, or None."""
    if type(first.model) is not type(second.model):
        return f"one is a {type(first.model).__name__}, the other a {type(second.model).__name__}"
    shapes = [{name: tuple(tensor.shape) for name, tensor in subject.weights.items()} for subject in (first, second)]
    if shapes[0] != shapes[1]:
        names = sorted(name for name in shapes[0].keys() | shapes[1].keys() if shapes[0].get(name) != shapes[1].get(name))
        own, other = (shown.get(names[0]) or "nothing" for shown in shapes)
        return (
            f"their weights have other shapes, {len(names)} of {len(shapes[0].keys() | shapes[1].keys())} of them "
            f"({names[0]} has {own} in the one, {other} in the other)"
        )
    structures = [read_structure(subject.model) for subject in (first, second)]
    for structure in structures:
        structure.pop(QUANTIZERS.key, None)
    if structures[0] != structures[1]:
        keys = sorted(
            key for key in structures[0].keys() | structures[1].keys() if structures[0].get(key) != structures[1].get(key)
        )
        return f"they are built otherwise ({', '.join(keys)})"
    if first.pieces != second.pieces or first.encoded.input_ids != second.encoded.input_ids:
        return "they read other pieces of the same texts"
    return None
