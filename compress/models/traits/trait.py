"""One thing about a model that config.json cannot say: how it is read off the live model, and given to a new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel


@dataclass(frozen=True, kw_only=True)
class Trait:
    """A trait is one file of this folder, with a `TRAIT`, and a line in TRAITS.

    Args:
        key: Under which structure.json tells it.
        read: What it is in a model, for JSON; None or empty where the model lacks it.
        apply: Gives it to a freshly built model, in place, before weights are loaded: the model, what structure.json tells,
            and the numbers that the model's weights are (None: any). Raises InputError where what is told cannot be.
        finish: Does what is left once the weights of a model that had shapes alone have memory.
        left_out: Names of the tensors of the model's state that it tells, so that the weights' file leaves them out.
        refuse: Raises InputError where a model has more of it than structure.json tells.
        made_by: The method that gives it to a model, and the words for that, where other methods must come before: "the model
            quantizes".
    """

    key: str
    read: Callable[[PreTrainedModel], Any]
    apply: Callable[[PreTrainedModel, Any, int | None], None]
    finish: Callable[[PreTrainedModel, Any], None] = lambda *_: None
    left_out: Callable[[PreTrainedModel], set[str]] = lambda _: set()
    refuse: Callable[[PreTrainedModel], None] = lambda _: None
    made_by: tuple[str, str] | None = None
