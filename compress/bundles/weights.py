"""The files at a bundle's root: weights and configuration for those who run models in torch, tokenizer for all."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from transformers import PreTrainedModel

from compress.disk import remove
from compress.errors import first_line
from compress.log import libraries_silenced
from compress.models.checkpoint.companions import write_companions
from compress.models.checkpoint.saving import STRUCTURE, WEIGHTS, write_model
from compress.models.families import inputs_of, known_family
from compress.models.families.family import Family
from compress.models.heads import head_of, logits_of
from compress.models.quantizers import quantizers_off

OWN = "bert-compress"
"""The folder of weights that this toolkit alone can read."""
TOLERANCE = 1e-3
TRIED = (2, 6)
"""Texts and tokens of the batch on which both are compared."""


def write_weights(model: PreTrainedModel, folder: Path) -> str | None:
    """Write model.safetensors, config.json and the tokenizer's files; the weights to a folder of their own where transformers
    would read them otherwise, or not at all.

    Args:
        model: Stays as it is.
        folder: The bundle's root.

    Returns:
        Why transformers does not read the weights; None where it does.
    """
    write_model(model, folder)
    write_companions(model, folder, for_serving=True)
    why = _why_not(model, folder)
    if why is not None:
        for name in (WEIGHTS, STRUCTURE):
            remove(folder / name)
        (folder / OWN).mkdir()
        write_model(model, folder / OWN)
    return why


def _why_not(model: PreTrainedModel, folder: Path) -> str | None:
    """Why transformers does not read a folder as we do, by trying it."""
    if not isinstance(known_family(model), Family):
        return f"transformers has no class for a {model.config.model_type} of this toolkit"
    reader = getattr(transformers, model.config.architectures[0])
    try:
        with libraries_silenced():
            other = reader.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    except Exception as err:  # shapes that do not fit, among others; it has no common class
        return f"its shapes are not what config.json can say ({first_line(err)})"
    batch = {name: torch.ones(TRIED, dtype=torch.long) for name in inputs_of(model.config)}
    if "token_type_ids" in batch:
        batch["token_type_ids"].zero_()
    batch["input_ids"][1] = torch.arange(TRIED[1]) % model.config.vocab_size
    beside = head_of(model).beside
    with torch.inference_mode(), quantizers_off(model):
        own, read = model(**batch), other(**batch)
        expected, actual = (own[beside[0]], read[beside[0]]) if beside else (logits_of(own), logits_of(read))
    if torch.allclose(expected, actual, rtol=TOLERANCE, atol=TOLERANCE):
        return None
    return "transformers would read the weights otherwise than they were made"
