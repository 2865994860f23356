"""What an answer must be, before anything is concluded from it."""

from __future__ import annotations

import numpy as np

from compress.errors import CompressError, InputError


def check_shape(
    shape: tuple[int, ...],
    examples: int,
    labels: int | None = None,
    *,
    length: int | None = None,
    of_tokens: bool | None = None,
) -> None:
    """Refuse an answer that has not a row for each example, or for each of its tokens, and a column for each label.

    Args:
        shape: The answer's.
        examples: That it answers.
        labels: That config.json names; None where it names none.
        length: Tokens of each example, where that is known here.
        of_tokens: Whether each token has an answer; None where that is not known here.

    Raises:
        CompressError: It is no such table.
        InputError: It has another number of columns than there are labels.
    """
    dimensions = (2, 3) if of_tokens is None else (2 + of_tokens,)
    is_long = len(shape) == 3 and length not in (None, shape[1])
    if len(shape) not in dimensions or shape[0] != examples or not shape[-1] or is_long:
        needed = "(examples, tokens, labels)" if of_tokens else "(examples, labels)"
        raise CompressError(
            f"the model gives an answer of shape {shape} to {examples} examples; {needed} is needed. Export or save it again."
        )
    if labels is not None and shape[-1] != labels:
        raise InputError(
            f"the model gives {shape[-1]} logits for each {'token' if len(shape) == 3 else 'example'}, but its config.json "
            f"names {labels} labels; restore the config.json that was saved with it, or export it again."
        )


def check_finite(logits: np.ndarray) -> None:
    """Raise CompressError where an answer, (examples, labels), is NaN or infinite."""
    broken = int((~np.isfinite(logits)).any(axis=1).sum())
    if broken:
        raise CompressError(
            f"the model's answers to {broken} of {len(logits)} examples are not finite; its weights or its quantization "
            "are broken. Make it again."
        )
