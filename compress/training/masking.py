"""Hide words of a batch, anew in every step, for objectives that ask for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

TO_MASK, TO_ANOTHER = 0.8, 0.1  # the rest stays as it is


IGNORED = -100


@dataclass(frozen=True)
class Masking:
    """How words are hidden; ids are places in the pieces that the texts use.

    Args:
        fraction: Of the tokens that may be hidden.
        mask: The id of [MASK].
        fixed: Ids that are never hidden: special tokens and padding, (ids,).
        count: How many ids there are to draw another word from.
    """

    fraction: float
    mask: int
    fixed: torch.Tensor
    count: int

    def applied(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The ids with some of them hidden, and which, both (batch, length); at least one is.

        Of the hidden, 80 % become [MASK], 10 % any other piece, and 10 % stay. Draws come from torch's generator.

        Source: Devlin et al. 2019, BERT, arXiv 1810.04805, section 3.1.
        """
        may = ~torch.isin(ids, self.fixed)
        chances = torch.rand(ids.shape, device=ids.device).masked_fill(~may, 2.0)
        hidden = (chances < self.fraction) | (chances == chances.min())
        hidden &= may
        kind = torch.rand(ids.shape, device=ids.device)
        others = torch.randint(self.count, ids.shape, device=ids.device)
        shown = torch.where(kind < TO_MASK, self.mask, torch.where(kind < TO_MASK + TO_ANOTHER, others, ids))
        return torch.where(hidden, shown, ids), hidden


def masking_of(fraction: float, tokenizer: Any, token_ids: torch.Tensor) -> Masking:
    """How words are hidden from a model that reads places in `token_ids`, rising ids of pieces, [MASK] among them."""
    special = torch.tensor([*tokenizer.all_special_ids, tokenizer.mask_token_id], device=token_ids.device)
    fixed = torch.isin(token_ids, special).nonzero()[:, 0]
    return Masking(fraction, int((token_ids == tokenizer.mask_token_id).nonzero()[0, 0]), fixed, len(token_ids))


def unmasked(ids: torch.Tensor, pieces: torch.Tensor) -> torch.Tensor:
    """The ids of a text of which some are masked; `pieces` stand at those places, IGNORED elsewhere; all (batch, length)."""
    return torch.where(pieces == IGNORED, ids, pieces)
