"""Load a checkpoint with its head for masked words, which a classifier has no use for."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel

from compress.errors import InputError, raise_together
from compress.models.checkpoint.loading import load, read_checkpoint
from compress.models.checkpoint.model_source import find_model
from compress.models.families import known_family
from compress.models.families.family import Family
from compress.models.head import SINGLE_LABEL_HEAD
from compress.models.memory import give_memory, shapes_of


def load_masked_lm(name: str | Path) -> PreTrainedModel:
    """Load a BERT with the head that it was pre-trained with.

    Args:
        name: A folder, `package:NAME`, or a hub name; most often the checkpoint that the teacher was fine-tuned from.

    Returns:
        A model with that head in evaluation mode, float32, with `.tokenizer`.

    Raises:
        InputError: No such model, it is no BERT, or it has no such head.
    """
    folder, body = find_model(name), load(name, head=SINGLE_LABEL_HEAD)
    family = known_family(body)
    if not isinstance(family, Family) or family.masked_words is None:
        raise InputError(f"{folder}: a {body.config.model_type} has no head for masked words here; use a BERT checkpoint.")
    kind, begin = family.masked_words
    head = {
        key.replace("gamma", "weight").replace("beta", "bias"): tensor.float()
        for key, tensor in read_checkpoint(folder)[1].items()
        if key.startswith(begin)
    }
    if not head:
        raise InputError(
            f"{folder} has no head for masked words ({begin}*); use the checkpoint that was pre-trained, not one that was "
            "fine-tuned, or leave masked_lm out."
        )
    model = shapes_of(kind, body.config)
    inner = {
        f"{family.prefix}{key}": tensor
        for key, tensor in body.base_model.state_dict().items()
        if not key.startswith("pooler.")
    }
    own = {f"{begin}decoder.bias": head.get(f"{begin}bias"), **head}
    if body.config.tie_word_embeddings:  # then the file's own copy counts for nothing, as in transformers
        own[f"{begin}decoder.weight"] = inner.get(f"{family.prefix}embeddings.word_embeddings.weight")
    expected = model.state_dict()
    state = {key: tensor for key, tensor in {**own, **inner}.items() if tensor is not None and key in expected}
    raise_together(
        [f"  {key} is missing" for key in expected if key not in state]
        + [
            f"  {key} has shape {tuple(tensor.shape)}, not {tuple(expected[key].shape)}"
            for key, tensor in state.items()
            if tensor.shape != expected[key].shape
        ],
        f"{folder}: the head for masked words does not fit config.json; fetch the model again:",
    )
    give_memory(model)
    model.load_state_dict(state)
    model.tokenizer = body.tokenizer
    return model.eval()
