"""What kinds of tasks share whose examples are texts, or pairs of texts, with one row of answers each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from compress import record
from compress.tasks.encoding import Encoded, padding_of
from compress.tasks.split import Split
from compress.tasks.tokenizing import tokenized

if TYPE_CHECKING:
    import torch

MOST_LISTED = 12
SHOWN_LETTERS = 600
SENTENCES = ("the first sentence", "and a second one")
"""Of the card's example."""


def encode(split: Split, tokenizer: Any, max_length: int, kind: str) -> Encoded:
    """Turn a split into token ids, cutting examples that are longer than `max_length` tokens.

    Raises:
        InputError: The tokenizer has no token to pad with.
    """
    padding = padding_of(tokenizer)
    texts = [text.strip() for text in split.texts]
    pairs = None if split.pairs is None else [text.strip() for text in split.pairs]
    encoded = tokenized(tokenizer, texts, pairs, max_length)
    return Encoded(encoded.input_ids, encoded.token_type_ids, split.labels, encoded.truncated, padding, split.role, kind=kind)


def collate(encoded: Encoded, indices: np.ndarray) -> torch.Tensor:
    """Stack the targets of some examples, (batch, ...)."""
    import torch

    return torch.from_numpy(encoded.labels[indices])


def relative_error(baseline: np.ndarray, answers: np.ndarray, middle: Any) -> float:
    """Root mean square of the differences of answers over that of the first ones' distance from their middle."""
    spread = baseline - middle
    return float(np.sqrt(np.mean((answers - baseline) ** 2)) / max(float(np.sqrt(np.mean(spread**2))), 1e-12))


def shown(split: Split, index: int) -> dict[str, str | None]:
    """The beginnings of an example's texts."""
    return {
        "text": split.texts[index][:SHOWN_LETTERS],
        "pair": split.pairs[index][:SHOWN_LETTERS] if split.pairs else None,
    }


def sample(max_length: int) -> str:
    """Lines of an example that reads texts, each cut at its end."""
    texts = ", ".join(f'"{sentence}"' for sentence in SENTENCES)
    return f"tokenizer.enable_truncation({max_length})\ntexts = [{texts}]\nencodings = tokenizer.encode_batch(texts)"


def listed(names: Sequence[Any]) -> str:
    """Names in a sentence of a card."""
    shown = [record.markdown_text(name) for name in names]
    if len(shown) > MOST_LISTED:
        return f"{len(shown)} labels ({', '.join(shown[:MOST_LISTED])}, ...)"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
