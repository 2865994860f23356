"""Compute only what is asked of a head for masked words: its outputs at the masked places.

The head multiplies each token's state by the whole word table, which costs more than a small encoder does, and where one token
in seven is masked, six in seven of its answers are never read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from transformers import PreTrainedModel

from compress.models.families import family_of
from compress.models.head import MASKED


@contextlib.contextmanager
def at_places(model: PreTrainedModel, places: torch.Tensor | None) -> Iterator[None]:
    """Let the head read the states of these places alone: inside, logits are (1, places, pieces), in the order of the batch.

    Args:
        model: Any; has a head for masked words where places are given.
        places: (batch, length), true for those that are read; None changes nothing.
    """
    if places is None:
        yield
        return

    def chosen(_: Any, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0][places][None], *inputs[1:])

    family = family_of(model)
    assert isinstance(model, family.classes[MASKED])
    handle = model.get_submodule(family.masked_head[0]).register_forward_pre_hook(chosen)
    try:
        yield
    finally:
        handle.remove()
