"""A model whose surroundings are looked at, and whether a line can be drawn from it to another."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from transformers import PreTrainedModel

from compress.landscapes.loss import SampleLoss, Weights, weights_of, weights_on_a_line
from compress.models.checkpoint.fingerprint import fingerprint
from compress.models.quantizers import quantized_linears
from compress.models.structure import read_structure
from compress.models.traits.quantizers import TRAIT as QUANTIZERS

if TYPE_CHECKING:
    from compress.tasks.encoding import Encoded


@dataclass(frozen=True, eq=False)
class Subject:
    """A model on the sample.

    Args:
        name: For figures and sentences.
        model: Stays as it is.
        encoded: The sample as it reads it.
    """

    name: str
    model: PreTrainedModel
    encoded: Encoded

    @cached_property
    def key(self) -> str:
        """Tells one model's weights and structure, and how it reads the sample, from another's."""
        return f"{fingerprint(self.model)}-{zlib.crc32(repr(self.encoded.input_ids).encode()):08x}"

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
    if first.encoded.input_ids != second.encoded.input_ids:
        return "they read other pieces of the same texts"
    return None
