"""Checkpoints of transformers 4 whose heads were pruned, which config.json alone tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from compress.errors import InputError
from compress.models.checkpoint import load, save
from compress.models.surgery import keep_heads
from tests.models.checkpoint.test_loading import change_json
from tests.tiny_models import logits_of, tiny_bert, tiny_of


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_heads_that_transformers_4_has_pruned_are_gone(kind: str, tmp_path: Path) -> None:
    """Such a checkpoint has smaller weights, and says which heads were there in config.json alone."""
    pruned = keep_heads(tiny_of(kind, layers=3), [[0, 2], [0, 1, 2, 3], []])
    folder = save(pruned, tmp_path / "old")
    (folder / "structure.json").unlink()
    change_json(folder / "config.json", pruned_heads={"0": [3, 1], "2": [0, 1, 2, 3]})
    again = load(folder)
    batch = {"input_ids": torch.arange(5, 12)[None], "attention_mask": torch.ones((1, 7), dtype=torch.long)}
    assert torch.equal(logits_of(again, **batch), logits_of(pruned, **batch))
    saved = save(again, tmp_path / "new")
    assert "pruned_heads" not in json.loads((saved / "config.json").read_text())
    assert torch.equal(logits_of(load(saved), **batch), logits_of(pruned, **batch))


def test_pruned_heads_that_the_weights_do_not_have_are_told(tmp_path: Path) -> None:
    folder = save(tiny_bert(), tmp_path / "old")
    (folder / "structure.json").unlink()
    change_json(folder / "config.json", pruned_heads={"1": [0]})
    with pytest.raises(InputError, match=r"layer\.1\.attention\.self\.query\.weight has shape \(16, 16\), not \(12, 16\)"):
        load(folder)


def test_pruned_heads_of_a_family_that_does_not_tell_them_are_refused(tmp_path: Path) -> None:
    folder = save(tiny_of("albert"), tmp_path / "old")
    change_json(folder / "config.json", pruned_heads={"0": [0]})
    with pytest.raises(InputError, match="a albert of transformers 4 does not tell"):
        load(folder)
