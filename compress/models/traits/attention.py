"""Attention for long inputs in the place of a family's own; see `compress.models.attention.long_attention`."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.attention.long_attention import attention_structure, checked_attention, swap
from compress.models.layout import encoder_layers, head_count, head_size
from compress.models.traits.trait import Trait

MOST_CONSTANTS = 1 << 20  # numbers that a model may always hold besides its weights


def _apply(model: PreTrainedModel, entry: Any, most: int | None) -> None:
    attention = checked_attention(entry)
    _check_constants(model, attention, most)
    swap(model, attention)


def _check_constants(model: PreTrainedModel, attention: dict[str, Any], most: int | None) -> None:
    """Refuse attention whose constants, which no weights' file holds, would be larger than the weights."""
    needed = {
        "buckets": sum(head_count(layer) * head_size(layer) for layer in encoder_layers(model))
        * attention.get("rounds", 0)
        * attention.get("buckets", 0)
        // 2,
        "max_position_embeddings": model.config.max_position_embeddings if "segment" in attention else 0,
    }
    for name, count in needed.items():
        if most is not None and count > max(MOST_CONSTANTS, most):
            raise InputError(
                f"structure.json: attention is {attention!r}, for whose {name} {count} numbers would be held, more than the "
                f"model's weights ({most}); restore config.json and structure.json from where the model was saved."
            )


TRAIT = Trait(
    key="attention",
    read=attention_structure,
    apply=_apply,
    made_by=("swap_attention", "the model's attention is one for long inputs"),
)
