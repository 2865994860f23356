"""Folders of a model that reads and writes: those of transformers' EncoderDecoderModel, of two BERTs.

In memory the encoder's configuration is the model's and has `decoder` and `search` besides; in a folder config.json holds both
configurations, generation_config.json how texts are written, and decoder_tokenizer.json the tokenizer of what is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import EncoderDecoderConfig, EncoderDecoderModel, PretrainedConfig, PreTrainedModel

from compress.errors import InputError, first_line, shown
from compress.models.checkpoint.json_file import why_absent
from compress.models.encoder_decoder import search_with
from compress.models.families.family import DECODER, EncoderFree, Family
from compress.models.writer_tokenizer import ends_of, wrapped, writer_of
from compress.runtimes.text_writer import WRITES
from compress.runtimes.writer_files import SETTINGS, read_search, settings_of_search

ENCODER = "encoder"
TIED = ("decoder.cls.predictions.decoder.weight", "decoder.cls.predictions.decoder.bias")
"""Stand in a file or not; they are the word table and the bias."""
OF_A_DECODER = {"is_decoder": True, "add_cross_attention": True}


def is_pair(values: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of an encoder and a decoder."""
    return all(isinstance(values.get(part), dict) for part in (ENCODER, DECODER))


def reader_values(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a config.json says of what reads: of an encoder and a decoder the encoder's part."""
    part: Mapping[str, Any] = values[ENCODER] if is_pair(values) else values
    return part


def unpaired(folder: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The encoder's values with the decoder's among them, where config.json holds both; else the values without such a key.

    Raises:
        InputError: The two are of different kinds or widths, or the decoder is none.
    """
    if not is_pair(values):
        return {key: value for key, value in values.items() if key != DECODER}
    path, encoder, decoder = folder / "config.json", values[ENCODER], dict(values[DECODER])
    kinds = [part.get("model_type") for part in (encoder, decoder)]
    widths = [part.get("hidden_size") for part in (encoder, decoder)]
    if kinds[0] != kinds[1] or widths[0] != widths[1]:
        raise InputError(
            f"{path}: the encoder is a {shown(kinds[0])} of width {shown(widths[0])}, the decoder a {shown(kinds[1])} of "
            f"width {shown(widths[1])}; both have to be BERTs of one width. Start from an encoder, and let build_decoder "
            "follow."
        )
    lacking = [key for key in OF_A_DECODER if decoder.pop(key, None) is not True]
    if lacking:
        raise InputError(f"{path}: decoder.{lacking[0]} is not true, so that it is no decoder; restore the original file.")
    return {**encoder, "architectures": [EncoderDecoderModel.__name__], DECODER: decoder}


def parts_of(
    folder: Path, weights: Mapping[str, torch.Tensor], family: Family | EncoderFree, decoder: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """Weights of a file by the names that they have in memory.

    Args:
        folder: For messages.
        weights: By the names in the file.
        family: Of both.
        decoder: What config.json holds of the decoder.

    Raises:
        InputError: There are others among them.
    """
    tied = TIED if decoder.get("tie_word_embeddings", True) else ()
    begin = f"{ENCODER}."
    foreign = [name for name in weights if not name.startswith((begin, f"{DECODER}."))]
    if foreign:
        raise InputError(
            f"{folder} holds {shown(foreign[0])}, which is neither the encoder's nor the decoder's; save the model again."
        )
    prefix = family.classifier.base_model_prefix
    return {
        f"{prefix}.{name.removeprefix(begin)}" if name.startswith(begin) else name: tensor
        for name, tensor in weights.items()
        if name not in tied
    }


def names_in_file(model: PreTrainedModel, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a model that writes by the names that they have in a file."""
    begin = f"{model.base_model_prefix}."
    return {
        f"{ENCODER}.{name.removeprefix(begin)}" if name.startswith(begin) else name: tensor for name, tensor in weights.items()
    }


def paired_values(model: PreTrainedModel, values: dict[str, Any]) -> dict[str, Any]:
    """What config.json holds of a model that writes.

    Args:
        model: With its tokenizer.
        values: The encoder's, as they would stand there alone.
    """
    decoder = json.loads(model.config.decoder.to_json_string(use_diff=False))
    encoder = {name: value for name, value in values.items() if name not in (DECODER, "search")}
    search = settings_of_search(search_with(model))
    return {
        "model_type": EncoderDecoderConfig.model_type,
        "architectures": [EncoderDecoderModel.__name__],
        "is_encoder_decoder": True,
        ENCODER: {**encoder, "architectures": [type(model.base_model).__name__]},
        DECODER: {**decoder, **OF_A_DECODER, "architectures": [type(model.decoder).__name__]},
        **{name: search[name] for name in ("decoder_start_token_id", "eos_token_id", "pad_token_id")},
        **{name: values[name] for name in ("dtype", "transformers_version") if name in values},
    }


def write_pair_files(model: PreTrainedModel, folder: Path) -> None:
    """Write generation_config.json, and the tokenizer of what is written."""
    settings = settings_of_search(search_with(model))
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    backend = Tokenizer.from_str(writer_of(model.tokenizer).backend_tokenizer.to_str())
    backend.no_truncation()
    backend.no_padding()
    backend.save(str(folder / WRITES))


def read_writer(folder: Path) -> Any:
    """Read the tokenizer of what is written; None where a folder has none of its own.

    Raises:
        InputError: It is damaged.
    """
    path = folder / WRITES
    why = why_absent(path)
    if why == "is missing":
        return None
    try:
        return wrapped(Tokenizer.from_file(str(path)), 1 << 20)
    except Exception as err:  # tokenizers raises Exception itself
        raise InputError(f"{path} cannot be read as a tokenizer ({first_line(err)}); restore the file.") from err


def settle_writer(model: Any, folder: Path, values: Mapping[str, Any], config: PretrainedConfig) -> None:
    """Let a loaded model write as its folder says, with a tokenizer that has a row in the decoder's table for each token.

    Args:
        model: With its tokenizer.
        folder: That it was loaded from.
        values: What config.json holds.
        config: The decoder's.

    Raises:
        InputError: The tokenizer does not fit the decoder, or the numbers of a search cannot be.
    """
    writer = writer_of(model.tokenizer)
    if len(writer) > config.vocab_size:
        raise InputError(
            f"{folder}: the tokenizer of what is written knows {len(writer)} tokens, but the decoder has {config.vocab_size} "
            "embeddings; restore the tokenizer that the model was trained with."
        )
    if writer is not model.tokenizer:
        writer.model_max_length = config.max_position_embeddings
    if not is_pair(values):
        return
    ends = dict(zip(("decoder_start_token_id", "eos_token_id", "pad_token_id"), ends_of(writer), strict=True))
    known = {name: values[name] for name in ends if values.get(name) is not None}
    search = read_search(folder, {**ends, **known, "max_length": config.max_position_embeddings + 1, "num_beams": 1})
    settings = asdict(search)
    model.config.search = {**settings, "longest": min(search.longest, config.max_position_embeddings)}
