"""Tell models apart by what is in them."""

from __future__ import annotations

import hashlib

from transformers import PreTrainedModel

from compress.models.structure import read_structure


def fingerprint(model: PreTrainedModel) -> str:
    """A hash of a model's structure, and of the names, shapes and values of its weights."""
    behind = getattr(model.config, "embedder", None)  # of an embedder, what becomes of its states
    total = hashlib.blake2b(f"{read_structure(model)}{behind or ''}".encode(), digest_size=12)
    for name, tensor in model.state_dict().items():
        total.update(f"{name}{tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()
