"""Load a checkpoint with its head for masked words, which a classifier has no use for."""

from __future__ import annotations

from pathlib import Path

from transformers import BertConfig, BertForMaskedLM, PreTrainedModel

from compress.artifact.loading import load, read_weights
from compress.artifact.places import find_model
from compress.errors import InputError, raise_together
from compress.log import libraries_silenced

HEAD = "cls.predictions."


def load_masked_lm(name: str | Path) -> PreTrainedModel:
    """Load a BERT with the head that it was pre-trained with.

    Args:
        name: A folder, `package:NAME`, or a hub name; most often the checkpoint that the teacher was fine-tuned from.

    Returns:
        A BertForMaskedLM in evaluation mode, float32, with `.tokenizer`.

    Raises:
        InputError: No such model, it is no BERT, or it has no such head.
    """
    folder, body = find_model(name), load(name)
    if not isinstance(body.config, BertConfig):
        raise InputError(f"{folder}: a {body.config.model_type} has no head for masked words here; use a BERT checkpoint.")
    told = {key.replace("gamma", "weight").replace("beta", "bias"): tensor.float()
            for key, tensor in read_weights(folder).items() if key.startswith(HEAD)}  # fmt: skip
    if not told:
        raise InputError(
            f"{folder} has no head for masked words ({HEAD}*); use the checkpoint that was pre-trained, not one that was "
            "fine-tuned, or leave masked_lm out."
        )
    with libraries_silenced():
        model = BertForMaskedLM(body.config)
    inner = {f"bert.{key}": tensor for key, tensor in body.bert.state_dict().items() if not key.startswith("pooler.")}
    tied = {f"{HEAD}decoder.weight": inner["bert.embeddings.word_embeddings.weight"],
            f"{HEAD}decoder.bias": told.get(f"{HEAD}bias")}  # fmt: skip
    expected = model.state_dict()
    found = {key: tensor for key, tensor in {**tied, **told, **inner}.items() if tensor is not None and key in expected}
    raise_together(
        [f"  {key} is missing" for key in expected if key not in found]
        + [f"  {key} has shape {tuple(tensor.shape)}, not {tuple(expected[key].shape)}" for key, tensor in found.items()
           if tensor.shape != expected[key].shape],
        f"{folder}: the head for masked words does not fit config.json; fetch the model again:",
    )  # fmt: skip
    model.load_state_dict(found)
    model.tokenizer = body.tokenizer
    return model.eval()
