"""Tell models apart by what is in them."""

from __future__ import annotations

import hashlib

from transformers import PreTrainedModel


def fingerprint(model: PreTrainedModel) -> str:
    """A hash of the names, shapes and values of a model's weights."""
    total = hashlib.blake2b(digest_size=12)
    for name, tensor in model.state_dict().items():
        total.update(f"{name}{tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()
