"""Words are hidden as BERT's pre-training hides them."""

from __future__ import annotations

import pytest
import torch

from compress.training.masking import Masking

FIXED = torch.tensor([0, 1, 2])


def test_tokens_are_hidden_in_the_shares_of_the_paper_and_special_ones_never() -> None:
    """Of 40,000 tokens: 15 %, of these 80 % masked, 10 % another, 10 % left; four standard deviations are below 0.03."""
    torch.manual_seed(3)
    ids = torch.randint(10, 1000, (200, 200))
    ids[:, 0], ids[:, -1] = 1, 0
    shown, hidden = Masking(0.15, mask=5, fixed=FIXED, count=1000).applied(ids)
    assert not hidden[:, [0, -1]].any()
    assert torch.equal(shown[~hidden], ids[~hidden])
    assert hidden[:, 1:-1].float().mean().item() == pytest.approx(0.15, abs=0.01)
    masked, left = (shown[hidden] == 5).float().mean().item(), (shown[hidden] == ids[hidden]).float().mean().item()
    assert masked == pytest.approx(0.8, abs=0.03)
    assert left == pytest.approx(0.1, abs=0.03)


def test_at_least_one_token_is_hidden() -> None:
    ids = torch.tensor([[1, 7, 2, 0], [1, 9, 8, 2]])
    for seed in range(20):
        torch.manual_seed(seed)
        _, hidden = Masking(1e-9, mask=5, fixed=FIXED, count=10).applied(ids)
        assert hidden.sum() == 1
        assert ids[hidden].item() in (7, 8, 9)


def test_the_same_state_of_the_generator_hides_the_same() -> None:
    ids = torch.randint(3, 50, (4, 9))
    masked = []
    for _ in range(2):
        torch.manual_seed(4)
        masked.append(Masking(0.5, mask=5, fixed=FIXED, count=50).applied(ids)[0])
    assert torch.equal(*masked)
