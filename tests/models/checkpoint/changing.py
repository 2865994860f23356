"""Change a saved model's files, as strangers' checkpoints differ from ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Weights = dict[str, torch.Tensor]


def change_weights(folder: Path, change: Callable[[Weights], Weights]) -> None:
    """Write other weights into a folder."""
    path = folder / "model.safetensors"
    changed = change(load_file(path))
    save_file({name: tensor.clone() for name, tensor in changed.items()}, path, metadata={"format": "pt"})


def set_json(path: Path, **changes: Any) -> None:
    """Write other values into a JSON file, null as null."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def without_tokenizer(folder: Path) -> None:
    """Take the tokenizer's files away."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
