"""A model at rest: save, load, structure, model card. Weights are safetensors; nothing is ever unpickled."""

from __future__ import annotations

from compress.models.checkpoint.adapters import load_adapters, save_adapters
from compress.models.checkpoint.loading import load
from compress.models.checkpoint.saving import save

__all__ = ["load", "load_adapters", "save", "save_adapters"]
