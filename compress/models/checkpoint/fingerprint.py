"""Tell models apart by what is in them."""

from __future__ import annotations

import hashlib

from transformers import PreTrainedModel

from compress.models.structure import read_structure


def fingerprint(model: PreTrainedModel) -> str:
    """A hash of a model's structure, and of the names, shapes and values of its weights."""
    total = hashlib.blake2b(str(read_structure(model)).encode(), digest_size=12)
    for name, tensor in model.state_dict().items():
        total.update(f"{name}{tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()
