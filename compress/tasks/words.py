"""What words a task's texts are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch

from compress.tasks.tokenizing import portions_of

READ = 1024  # texts at a time
SEEN = 1.0  # that every piece counts for at least, as if it had occurred once


def texts_of(split: Any) -> list[str]:
    """All texts of a part, second ones of pairs and passages too."""
    return [*split.texts, *(split.pairs or ()), *(passage for own in split.passages or () for passage in own)]


def counted(tokenizer: Any, texts: Sequence[str]) -> Counter[int]:
    """How often each piece occurs, by its id, special tokens left out."""
    counts: Counter[int] = Counter()
    for start in range(0, len(texts), READ):
        read = [portion for text in texts[start : start + READ] for portion in portions_of(text)]
        encoded = tokenizer(read, add_special_tokens=False, verbose=False)
        for row in encoded["input_ids"]:
            counts.update(row)
    return counts


def occurrences(tokenizer: Any, texts: Sequence[str], pieces: int) -> torch.Tensor:
    """How often each piece occurs, special ones included, and once more, (pieces,)."""
    weights = torch.full((pieces,), SEEN, dtype=torch.float64)
    for piece, count in counted(tokenizer, texts).items():
        weights[piece] += count
    for special in (tokenizer.cls_token_id, tokenizer.sep_token_id):
        if special is not None:
            weights[special] += len(texts)
    return weights
