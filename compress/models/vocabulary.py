"""Fewer pieces and fewer positions: the tables, and the tokenizer that numbers the pieces."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import AutoTokenizer, PreTrainedModel

from compress.disk import remove
from compress.errors import InputError
from compress.log import libraries_silenced
from compress.models.factors import word_table
from compress.models.families import family_of, first_position, fitted_tokenizer, longest_text
from compress.models.heads import head_of
from compress.models.pieces import KINDS, contents_of
from compress.models.surgery import copy_of
from compress.models.traits import why_too_late
from compress.models.writer_tokenizer import writer_of

Characters = Literal["all", "used"]
OLD_NUMBERS = ("vocab.txt", "added_tokens.json", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spm.model")
"""Files of a tokenizer besides tokenizer.json, which would tell the pieces as they were."""
POSITIONS = ("position_ids", "token_type_ids")
"""Buffers of the embeddings that are as long as the table of positions."""


def refuse_vocabulary(model: PreTrainedModel) -> None:
    """Raise InputError where a model's pieces cannot be fewer."""
    family_of(model)
    kind = type(model.tokenizer.backend_tokenizer.model).__name__
    if kind not in KINDS:
        raise InputError(f"the tokenizer's pieces are those of a {kind} model, which cannot be cut; {', '.join(KINDS)} can.")
    why = why_too_late(model, "cut its vocabulary", "quantize_aware", "spell_words")
    if why:
        raise InputError(why)


def needed_pieces(tokenizer: Any, used: Collection[int] = (), *, characters: Characters = "all") -> list[int]:
    """The ids, rising, of pieces that are used and of all that these need: special and added tokens, and what BPE builds
    them of.

    Args:
        tokenizer: A fast one of `KINDS`.
        used: Ids.
        characters: "all" that have a piece stay, at the start of a word and within, so that each word can be spelled; else
            those that are used.
    """
    contents, vocabulary = contents_of(tokenizer), tokenizer.get_vocab()
    kind = KINDS[contents["type"]]
    special = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    stay = kind.always(contents) | (kind.characters(contents) if characters == "all" else set())
    ids = {*used, *(vocabulary[piece] for piece in stay)}
    parts = kind.built_of(contents, set(tokenizer.convert_ids_to_tokens(sorted(ids - special))))
    return sorted({*ids, *special, *(vocabulary[piece] for piece in parts)})


@torch.no_grad()
def keep_pieces(model: PreTrainedModel, keep: Sequence[int]) -> PreTrainedModel:
    """Copy the model with these rows of its word table only, and a tokenizer that numbers its pieces so.

    Args:
        model: Stays as it is, its tokenizer too.
        keep: Ids, rising, with all that they need (`needed_pieces`). The pieces come in this order, and behind them those that
            were added; of two that share an id, as where vocab.txt repeats a piece, each gets a row of its own.

    Raises:
        InputError: The ids do not fit, or pieces cannot be cut.
    """
    refuse_vocabulary(model)
    known = set(model.tokenizer.get_vocab().values())
    missing = set(needed_pieces(model.tokenizer, known & set(keep), characters="used")) - set(keep)
    if missing or any(later <= earlier for earlier, later in pairwise(keep)) or keep[-1] >= model.config.vocab_size:
        raise InputError(
            f"the {len(keep)} pieces to keep must rise within 0 to {model.config.vocab_size - 1}, and "
            f"{len(missing)} special tokens and parts of pieces are missing."
        )
    student = copy_of(model)
    table = word_table(student)
    tokens, added = _tokens_of(model.tokenizer, set(keep))
    named = [*tokens.values(), *added.values()]
    rows = [*named, *(row for row in keep if row not in set(named))]
    numbers = {row: number for number, row in reversed(list(enumerate(rows)))}
    table.weight = nn.Parameter(table.weight[torch.tensor(rows)].clone())
    table.num_embeddings = len(rows)
    if table.padding_idx is not None:
        table.padding_idx = numbers.get(table.padding_idx)
    student.config.vocab_size = len(rows)
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "mask_token_id"):
        value = getattr(student.config, name, None)
        if isinstance(value, list):
            setattr(student.config, name, [numbers[token_id] for token_id in value if token_id in numbers])
        elif value is not None:
            setattr(student.config, name, numbers.get(value))
    ids = {token: number for number, token in enumerate([*tokens, *added])}
    student.tokenizer = fitted_tokenizer(renumbered(model.tokenizer, ids), student.config)
    if head_of(model).writes:
        student.tokenizer.writer = writer_of(model.tokenizer)
    return student


def _tokens_of(tokenizer: Any, keep: set[int]) -> tuple[dict[str, int], dict[str, int]]:
    """The ids of the vocabulary's own pieces and of the tokens that were added to it, of those that stay, each by id."""
    own = tokenizer.backend_tokenizer.get_vocab(with_added_tokens=False)
    ids: tuple[dict[str, int], dict[str, int]] = ({}, {})
    for token, row in sorted(tokenizer.get_vocab().items(), key=lambda pair: (pair[1], pair[0])):
        if row in keep:
            ids[token not in own][token] = row
    return ids


def renumbered(tokenizer: Any, ids: Mapping[str, int], new: Collection[str] = ()) -> Any:
    """A fast tokenizer of the same kind that knows these tokens only.

    Args:
        tokenizer: Of `KINDS`; stays as it is.
        ids: New ids of the tokens that stay, added ones last, since the library numbers those behind the vocabulary.
        new: Those of the ids' tokens that it has not known; of WordPiece alone.
    """
    with tempfile.TemporaryDirectory(prefix="compress-tokenizer-") as folder, libraries_silenced():
        tokenizer.save_pretrained(folder)
        path = Path(folder) / "tokenizer.json"
        contents = json.loads(path.read_text(encoding="utf-8"))
        if new:
            contents["model"]["vocab"] |= {token: ids[token] for token in new}
        _write(path, _renumbered(contents, ids))
        for name in OLD_NUMBERS:
            remove(Path(folder) / name)
        settings = Path(folder) / "tokenizer_config.json"
        contents = json.loads(settings.read_text(encoding="utf-8"))
        contents.pop("added_tokens_decoder", None)  # stands in tokenizer.json too
        _write(settings, contents)
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _renumbered(contents: dict[str, Any], ids: Mapping[str, int]) -> dict[str, Any]:
    """The contents of a tokenizer.json with other ids."""
    added = [token | {"id": ids[token["content"]]} for token in contents.get("added_tokens") or []]
    contents["added_tokens"] = sorted(added, key=lambda token: token["id"])
    KINDS[contents["model"]["type"]].cut(contents["model"], ids)
    after = contents.get("post_processor") or {}
    for step in (after, *(after.get("processors") or ())):
        for special in (step.get("special_tokens") or {}).values():  # TemplateProcessing
            special["ids"] = [ids[token] for token in special["tokens"]]
        for end in ("cls", "sep"):  # BertProcessing, RobertaProcessing
            if end in step:
                step[end] = [step[end][0], ids[step[end][0]]]
    if contents.get("padding"):
        contents["padding"]["pad_id"] = ids[contents["padding"]["pad_token"]]
    return contents


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


@torch.no_grad()
def keep_positions(model: PreTrainedModel, count: int) -> PreTrainedModel:
    """Copy the model with its first positions only, so that it reads so many tokens at most.

    Raises:
        InputError: It has fewer.
    """
    most = longest_text(model.config)
    if not 0 < count <= most:
        raise InputError(f"{count} positions are asked for, but the model has {most}; use 1 to {most}.")
    student = copy_of(model)
    table, first = student.base_model.embeddings.position_embeddings, first_position(model)
    if len(table.weight) < first + most:
        raise InputError(
            f"the model reads segments of {len(table.weight)} tokens, whose positions cannot be fewer any more; "
            f"give swap_attention max_length: {count}."
        )
    _set_positions(student, nn.Parameter(table.weight[: first + count].clone(), requires_grad=table.weight.requires_grad))
    return student


@torch.no_grad()
def extend_positions(model: PreTrainedModel, count: int) -> PreTrainedModel:
    """Copy the model with more positions, which repeat those that it has, so that it reads longer texts.

    Source: Beltagy et al. 2020, Longformer, arXiv 2004.05150, section 5.

    Raises:
        InputError: It has more.
    """
    positions = longest_text(model.config)
    if count < positions:
        raise InputError(f"{count} positions are asked for, but the model has {positions} already; use at least so many.")
    student = copy_of(model)
    table, first = student.base_model.embeddings.position_embeddings, first_position(model)
    rows = table.weight[first:].repeat(-(-count // positions), 1)[:count]
    _set_positions(student, nn.Parameter(torch.cat([table.weight[:first], rows]), requires_grad=table.weight.requires_grad))
    return student


def _set_positions(student: PreTrainedModel, rows: nn.Parameter) -> None:
    embeddings: Any = student.base_model.embeddings
    count, table = len(rows), embeddings.position_embeddings
    table.weight, table.num_embeddings = rows, count
    for name in POSITIONS:
        if hasattr(embeddings, name):
            buffer = getattr(embeddings, name)
            whole = torch.arange(count, device=buffer.device)[None] if name == "position_ids" else buffer.new_zeros((1, count))
            embeddings.register_buffer(name, whole, persistent=False)
    student.config.max_position_embeddings = count
    student.tokenizer.model_max_length = student.tokenizer.init_kwargs["model_max_length"] = longest_text(student.config)
