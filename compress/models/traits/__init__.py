"""What config.json cannot say about a model: one file, one trait; structure.json holds what they tell."""

from __future__ import annotations

import importlib
from typing import Any

from compress.models.traits.trait import Trait
from compress.plugins import with_plugins

TRAITS = with_plugins(
    "traits",
    {
        "layers": "compress.models.traits.layers",
        "attention": "compress.models.traits.attention",
        "ranks": "compress.models.traits.ranks",
        "embedding": "compress.models.traits.embedding",
        "spelling": "compress.models.traits.spelling",
        "adapters": "compress.models.traits.adapters",
        "lora": "compress.models.traits.lora",
        "layer_mix": "compress.models.traits.layer_mix",
        "quantizers": "compress.models.traits.quantizers",
        "shared": "compress.models.traits.shared",
        "exits": "compress.models.traits.exits",
    },
)
"""In the order in which they are given to a new model."""
WIDTH = "factorize_embedding"


def traits() -> list[Trait]:
    """All of them, in order."""
    return [importlib.import_module(module).TRAIT for module in TRAITS.values()]


def why_too_late(model: Any, do: str, *methods: str) -> str | None:
    """Which of these methods made the model before, and what to do: the end of a message, or None.

    Args:
        model: Any.
        do: What had to come first: "prune it".
        methods: Such that give a trait to a model.
    """
    for trait in traits():
        if trait.made_by and trait.made_by[0] in methods and trait.read(model):
            return f"{trait.made_by[1]}; {do} before {trait.made_by[0]}."
    return None


def why_not_cut(model: Any, *, width: bool = False, do: str = "prune it") -> str | None:
    """Why rows and columns of a model's weights cannot be cut any more: the end of a message, or None.

    Args:
        model: Any.
        width: Whether the word table would be cut as well.
        do: See `why_too_late`.
    """
    made = [trait.made_by[0] for trait in traits() if trait.made_by]
    return why_too_late(model, do, *(method for method in made if width or method != WIDTH))
