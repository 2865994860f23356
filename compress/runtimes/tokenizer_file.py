"""The tokenizer of an exported folder, read without torch and without transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress.errors import InputError

TOKENIZER = "tokenizer.json"


def read_tokenizer(path: Path) -> Any:
    """Read a tokenizer that neither cuts texts nor pads them, whatever its file says.

    Raises:
        InputError: The file is not there, or is damaged.
    """
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_truncation()
        tokenizer.no_padding()
    except Exception as err:  # tokenizers raises Exception itself
        raise unreadable(path, err) from err
    return tokenizer


def unreadable(path: Path, err: Exception, what: str = "a tokenizer") -> InputError:
    """What is said of a file that is no tokenizer, or not of the kind that is needed."""
    return InputError(f"{path} cannot be read as {what} ({err}); restore the file, or export the model again.")


def padded(encodings: Sequence[Any], padding: int = 0) -> dict[str, np.ndarray]:
    """A batch of encodings, padded on the right to the longest of them, int64 arrays of (texts, length).

    Args:
        encodings: Of the `tokenizers` library, or what has `ids` and `type_ids` as these; at least one.
        padding: The id of the token that fills up.
    """
    shape = (len(encodings), max(1, *(len(encoding) for encoding in encodings)))
    ids, mask, types = (np.full(shape, filler, dtype=np.int64) for filler in (padding, 0, 0))
    for row, encoding in enumerate(encodings):
        count = len(encoding)
        ids[row, :count], mask[row, :count], types[row, :count] = encoding.ids, 1, encoding.type_ids
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
