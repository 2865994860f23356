"""Keep some of the encoder's layers."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field
from transformers import PreTrainedModel

from compress.bert.layout import encoder_layers
from compress.bert.surgery import keep_layers
from compress.errors import InputError, NoEffect

LayerIndex = Annotated[int, Field(ge=0)]


def drop_layers(
    model: PreTrainedModel,
    *,
    keep: Annotated[list[LayerIndex], Field(min_length=1, description="layers to keep, counted from 0, in rising order")],
) -> PreTrainedModel:
    """Copy the model with the layers of `keep` only; embeddings and head stay.

    Source: Sanh et al. 2019, DistilBERT, arXiv 1910.01108, section 2 (a student initialised from every second layer);
    Sajjad et al. 2020, arXiv 2004.03844. Accuracy falls until the copy is trained again, best with `distill`.

    Args:
        model: Stays as it is.
        keep: Indices of the layers to keep, counted from 0, in rising order. Fewer layers are faster in proportion.

    Returns:
        The shallower copy.

    Raises:
        InputError: An index is not in the model, or they do not rise.
        NoEffect: All layers would be kept.
    """
    count = len(encoder_layers(model))
    if not count:
        raise InputError(f"drop_layers: a {model.config.model_type} has no encoder layers; remove the step.")
    outside = [index for index in keep if not 0 <= index < count]
    if outside or not keep:
        shown = f"names layer {', '.join(map(str, outside))}" if outside else "is empty"
        raise InputError(f"drop_layers.keep {shown}, but the model has layers 0 to {count - 1}; name at least one of these.")
    if any(later <= earlier for earlier, later in pairwise(keep)):
        raise InputError(f"drop_layers.keep is {keep}; name each layer once, in rising order: {sorted(set(keep))}.")
    if len(keep) == count:
        raise NoEffect(f"drop_layers.keep names all {count} layers; leave some out, or remove the step.")
    return keep_layers(model, keep)
