"""Fewer pieces and fewer positions: the tables, and the tokenizer that numbers the pieces."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoTokenizer, PreTrainedModel

from compress.disk import remove
from compress.errors import InputError
from compress.log import libraries_silenced
from compress.models.factors import word_table
from compress.models.families import family_of, fitted_tokenizer
from compress.models.surgery import copy_of
from compress.models.traits import why_too_late

POSITIONS = ("position_ids", "token_type_ids")
"""Buffers of the embeddings that are as long as the table of positions."""


def refuse_vocabulary(model: PreTrainedModel) -> None:
    """Raise InputError where a model's pieces cannot be fewer."""
    family_of(model)
    kind = model.tokenizer.backend_tokenizer.model
    if type(kind).__name__ != "WordPiece":
        raise InputError(
            f"the tokenizer's pieces are those of a {type(kind).__name__} model, which cannot be cut; WordPiece alone can."
        )
    why = why_too_late(model, "cut its vocabulary", "quantize_aware")
    if why:
        raise InputError(why)


def basic_pieces(tokenizer: Any) -> list[int]:
    """The ids, rising, without which words could not be spelled any more: special and added tokens, and single characters, at
    the start of a word and within."""
    kind = tokenizer.backend_tokenizer.model
    prefix = kind.continuing_subword_prefix
    special = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    held: Mapping[str, int] = tokenizer.get_vocab()
    return sorted({*special, *(index for piece, index in held.items() if len(piece.removeprefix(prefix)) == 1)})


@torch.no_grad()
def keep_pieces(model: PreTrainedModel, keep: Sequence[int]) -> PreTrainedModel:
    """Copy the model with these rows of its word table only, and a tokenizer that numbers its pieces so.

    Args:
        model: Stays as it is, its tokenizer too.
        keep: Ids, rising; `basic_pieces` are among them. The pieces come in this order, and behind them tokens that were
            added; of two that share an id, as where vocab.txt repeats a piece, each gets a row of its own.

    Raises:
        InputError: The ids do not fit, or pieces cannot be cut.
    """
    refuse_vocabulary(model)
    missing = set(basic_pieces(model.tokenizer)) - set(keep)
    if missing or any(later <= earlier for earlier, later in pairwise(keep)) or keep[-1] >= model.config.vocab_size:
        raise InputError(
            f"the {len(keep)} pieces to keep must rise within 0 to {model.config.vocab_size - 1}, and "
            f"{len(missing)} special tokens and single characters are missing."
        )
    student = copy_of(model)
    table = word_table(student)
    pieces, added = _tokens_of(model.tokenizer, set(keep))
    named = [*pieces.values(), *added.values()]
    rows = [*named, *(row for row in keep if row not in set(named))]
    numbers = {row: number for number, row in reversed(list(enumerate(rows)))}
    table.weight = nn.Parameter(table.weight[torch.tensor(rows)].clone())
    table.num_embeddings = len(rows)
    if table.padding_idx is not None:
        table.padding_idx = numbers.get(table.padding_idx)
    student.config.vocab_size = len(rows)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "mask_token_id"):
        told = getattr(student.config, name, None)
        if isinstance(told, list):
            setattr(student.config, name, [numbers[one] for one in told if one in numbers])
        elif told is not None:
            setattr(student.config, name, numbers.get(told))
    ids = {token: number for number, token in enumerate([*pieces, *added])}
    student.tokenizer = fitted_tokenizer(renumbered(model.tokenizer, ids), student.config)
    return student


def _tokens_of(tokenizer: Any, keep: set[int]) -> tuple[dict[str, int], dict[str, int]]:
    """The ids of the vocabulary's own pieces and of the tokens that were added to it, of those that stay, each by id."""
    own = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    found: tuple[dict[str, int], dict[str, int]] = ({}, {})
    for token, row in sorted(tokenizer.get_vocab().items(), key=lambda one: (one[1], one[0])):
        if row in keep:
            found[token not in own][token] = row
    return found


def renumbered(tokenizer: Any, ids: Mapping[str, int]) -> Any:
    """A fast tokenizer of the same kind that knows these tokens only.

    Args:
        tokenizer: WordPiece; stays as it is.
        ids: New ids of the tokens that stay, added ones last, since the library numbers those behind the vocabulary.
    """
    with tempfile.TemporaryDirectory(prefix="compress-tokenizer-") as folder, libraries_silenced():
        tokenizer.save_pretrained(folder)
        path = Path(folder) / "tokenizer.json"
        _write(path, _renumbered(json.loads(path.read_text(encoding="utf-8")), ids))
        for name in ("vocab.txt", "added_tokens.json"):  # would say the old numbers
            remove(Path(folder) / name)
        settings = Path(folder) / "tokenizer_config.json"
        told = json.loads(settings.read_text(encoding="utf-8"))
        told.pop("added_tokens_decoder", None)  # stands in tokenizer.json too
        _write(settings, told)
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _renumbered(told: dict[str, Any], ids: Mapping[str, int]) -> dict[str, Any]:
    """The contents of a tokenizer.json with other ids."""
    added = [one | {"id": ids[one["content"]]} for one in told.get("added_tokens") or []]
    told["added_tokens"] = sorted(added, key=lambda one: one["id"])
    told["model"]["vocab"] = {piece: ids[piece] for piece in told["model"]["vocab"] if piece in ids}
    after = told.get("post_processor") or {}
    for special in (after.get("special_tokens") or {}).values():  # TemplateProcessing
        special["ids"] = [ids[token] for token in special["tokens"]]
    for end in ("cls", "sep"):  # BertProcessing
        if end in after:
            after[end] = [after[end][0], ids[after[end][0]]]
    if told.get("padding"):
        told["padding"]["pad_id"] = ids[told["padding"]["pad_token"]]
    return told


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


@torch.no_grad()
def keep_positions(model: PreTrainedModel, count: int) -> PreTrainedModel:
    """Copy the model with its first positions only, so that it reads so many tokens at most.

    Raises:
        InputError: It has fewer.
    """
    most = model.config.max_position_embeddings
    if not 0 < count <= most:
        raise InputError(f"{count} positions are asked for, but the model has {most}; use 1 to {most}.")
    student = copy_of(model)
    table = student.base_model.embeddings.position_embeddings
    if len(table.weight) < most:
        raise InputError(
            f"the model reads segments of {len(table.weight)} tokens, whose positions cannot be fewer any more; "
            f"give swap_attention max_length: {count}."
        )
    _set_positions(student, nn.Parameter(table.weight[:count].clone(), requires_grad=table.weight.requires_grad))
    return student


@torch.no_grad()
def extend_positions(model: PreTrainedModel, count: int) -> PreTrainedModel:
    """Copy the model with more positions, which repeat those that it has, so that it reads longer texts.

    Source: Beltagy et al. 2020, Longformer, arXiv 2004.05150, section 5.

    Raises:
        InputError: It has more.
    """
    held = model.config.max_position_embeddings
    if count < held:
        raise InputError(f"{count} positions are asked for, but the model has {held} already; use at least so many.")
    student = copy_of(model)
    table = student.base_model.embeddings.position_embeddings
    rows = table.weight.repeat(-(-count // held), 1)[:count]
    _set_positions(student, nn.Parameter(rows.clone(), requires_grad=table.weight.requires_grad))
    return student


def _set_positions(student: PreTrainedModel, rows: nn.Parameter) -> None:
    embeddings: Any = student.base_model.embeddings
    count, table = len(rows), embeddings.position_embeddings
    table.weight, table.num_embeddings = rows, count
    for name in POSITIONS:
        if hasattr(embeddings, name):
            held = getattr(embeddings, name)
            whole = torch.arange(count, device=held.device)[None] if name == "position_ids" else held.new_zeros((1, count))
            embeddings.register_buffer(name, whole, persistent=False)
    student.config.max_position_embeddings = count
    student.tokenizer.model_max_length = count
    student.tokenizer.init_kwargs["model_max_length"] = count
