"""Read a model's tokenizer, and check that it is the one of these files and of this model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertTokenizer, PretrainedConfig

from compress.errors import InputError, first_line, shown
from compress.log import libraries_silenced
from compress.models.checkpoint.json_file import read_object, why_absent
from compress.models.checkpoint.pair import read_writer, reader_values
from compress.models.families import KNOWN, fitted_tokenizer

WHOLE, PIECES, SENTENCES = "tokenizer.json", "vocab.txt", "spiece.model"
SETTINGS, CONFIG = "tokenizer_config.json", "config.json"
TRIAL = ("a", "\ufdd0 \u4e00")  # the second holds what few vocabularies have, so that an unknown piece is needed


def read_tokenizer(folder: Path, config: PretrainedConfig) -> Any:
    """Load the tokenizer of a folder, and let it give what the model reads.

    Raises:
        InputError: There is none, its files are damaged or do not fit each other, or it does not fit the model.
    """
    tokenizer = open_tokenizer(folder)
    if not getattr(tokenizer, "is_fast", False):
        raise InputError(f"{folder}: the tokenizer has no tokenizer.json; save it as a fast tokenizer.")
    _check_ids(folder, fitted_tokenizer(tokenizer, config), config)
    return tokenizer


def open_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a folder; where a WordPiece vocabulary is all that tells of it, that is what it is made of.

    Raises:
        InputError: There is none, or its files are damaged or do not fit each other.
    """
    files = [name for name in (WHOLE, PIECES, SENTENCES) if why_absent(folder / name) is None]
    if not files:  # transformers would make an empty one
        reasons = [
            f"; {name} {why_absent(folder / name)}"
            for name in (WHOLE, PIECES)
            if (folder / name).is_symlink() or (folder / name).exists()
        ]
        raise InputError(
            f"{folder} has no tokenizer that can be loaded (no file{''.join(reasons)}); add tokenizer.json or vocab.txt."
        )
    kind = _told_class(folder)
    model = {WHOLE: lambda: _model_of(folder / WHOLE), PIECES: lambda: "WordPiece"}.get(files[0], lambda: None)()
    tokenizer = _opened(folder, files[0], kind, is_word_piece=model == "WordPiece" and kind is None)
    own = type(getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)).__name__
    if files[0] == WHOLE and own != model:
        raise InputError(
            f"{folder}: {WHOLE} holds a {model} model, but {_said(tokenizer, kind)}, which made a {own} model of it; write "
            f'"tokenizer_class": "PreTrainedTokenizerFast" and the special tokens into {SETTINGS}, or restore it.'
        )
    _check_pieces(folder, tokenizer, files[0], kind)
    writer = read_writer(folder)
    if writer is not None:
        tokenizer.writer = writer
    return tokenizer


def _model_of(path: Path) -> str:
    """The kind of model that a tokenizer.json holds."""
    return type(_refused(path.parent, path.name, lambda: Tokenizer.from_file(str(path))).model).__name__


def _said(tokenizer: Any, kind: str | None) -> str:
    return f"tokenizer_class is {shown(kind)}" if kind else f"the tokenizer is a {type(tokenizer).__name__}"


def _refused(folder: Path, file: str, make: Callable[[], Any]) -> Any:
    """What `make` answers; what it raises is told as a fault of the file."""
    try:
        with libraries_silenced():
            return make()
    except BaseException as err:
        if not isinstance(err, Exception) and type(err).__name__ != "PanicException":  # as tokenizers' own code ends
            raise
        raise InputError(
            f"{folder} has no tokenizer that can be loaded ({first_line(err)}); restore {file}, or the file that "
            f"belongs to the tokenizer_class of {SETTINGS}."
        ) from err


def _told_class(folder: Path) -> str | None:
    """The class that the folder says the tokenizer is of."""
    for name in (SETTINGS, CONFIG):
        kind = read_object(folder / name).get("tokenizer_class") if why_absent(folder / name) is None else None
        if kind is not None and not isinstance(kind, str):
            raise InputError(
                f"{folder / name}: tokenizer_class is {shown(kind)}; the name of a class is needed: restore the file."
            )
        if kind:
            return kind
    return None


def _family_config(folder: Path) -> PretrainedConfig:
    """What tells transformers the family; it would read all that config.json claims."""
    kind = reader_values(read_object(folder / CONFIG)).get("model_type") if why_absent(folder / CONFIG) is None else None
    return (KNOWN[kind].config if isinstance(kind, str) and kind in KNOWN else PretrainedConfig)()


def _opened(folder: Path, file: str, kind: str | None, *, is_word_piece: bool) -> Any:
    config = _family_config(folder)
    config.tokenizer_class = kind
    options = {"local_files_only": True, "trust_remote_code": False}
    if is_word_piece:
        return _refused(folder, file, lambda: BertTokenizer.from_pretrained(str(folder), **options))
    return _refused(folder, file, lambda: AutoTokenizer.from_pretrained(str(folder), config=config, **options))


def _check_pieces(folder: Path, tokenizer: Any, file: str, kind: str | None) -> None:
    """Refuse a tokenizer that did not read the pieces of its file: transformers makes an empty one where the class looks for
    another file, and then every word is unknown."""
    vocabulary = set(tokenizer.get_vocab())
    lines = _lines(folder / PIECES) if file == PIECES else set()
    if vocabulary - set(tokenizer.all_special_tokens) and 2 * len(lines & vocabulary) >= len(lines):
        return
    cure = {
        WHOLE: "restore tokenizer.json, or add vocab.txt",
        PIECES: f'write "tokenizer_class": "BertTokenizer" into {SETTINGS} if {PIECES} is a WordPiece vocabulary, or add '
        "tokenizer.json",
        SENTENCES: f'write "tokenizer_class": "AlbertTokenizer" into {SETTINGS} if {SENTENCES} is what ALBERT reads, or add '
        "tokenizer.json",
    }
    raise InputError(
        f"{folder}: {_said(tokenizer, kind)}, which finds no pieces in {file}, so that every word would be unknown; "
        f"{cure[file]}."
    )


def _lines(path: Path) -> set[str]:
    try:
        return set(path.read_text(encoding="utf-8").split("\n")) - {""}
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"{path} cannot be read ({first_line(err)}); restore the original file.") from err


def _check_ids(folder: Path, tokenizer: Any, config: PretrainedConfig) -> None:
    """Refuse a tokenizer that gives what the model has no row for, or that fails at a text."""
    vocabulary, rows = tokenizer.get_vocab(), config.vocab_size
    if len(tokenizer) > rows:
        raise InputError(
            f"{folder}: the tokenizer knows {len(tokenizer)} tokens, but the model has {rows} embeddings; "
            "use the tokenizer that the model was trained with."
        )
    last = max(vocabulary, key=vocabulary.__getitem__)
    if vocabulary[last] >= rows:
        raise InputError(
            f"{folder}: the tokenizer gives {shown(last)} the id {vocabulary[last]}, but the model has {rows} embeddings; use "
            "the tokenizer that the model was trained with."
        )
    try:
        encoded = tokenizer(*TRIAL)
    except Exception as err:
        raise InputError(
            f"{folder}: the tokenizer fails at a text ({first_line(err)}); use the tokenizer that the model was trained with."
        ) from err
    types = encoded.get("token_type_ids", [])
    for name, numbers, count in (("id", encoded["input_ids"], rows), ("type", types, getattr(config, "type_vocab_size", 2))):
        if numbers and max(numbers) >= count:
            raise InputError(
                f"{folder}: the tokenizer gives a pair of texts a token of {name} {max(numbers)}, but the model has "
                f"{count}; restore "
                f"the post_processor of {WHOLE}, or use the tokenizer that the model was trained with."
            )
