"""How a shipped folder's outputs are read, one file a kind of task: texts to tokens, outputs to answers. Imports no torch."""

from __future__ import annotations

import importlib

from compress.errors import InputError
from compress.plugins import with_plugins
from compress.readers.folder import Folder
from compress.readers.reader import Reader

READERS = with_plugins(
    "readers",
    {
        "text-classification": "compress.readers.text_classification",
        "multi-label-classification": "compress.readers.multi_label_classification",
        "regression": "compress.readers.regression",
        "token-classification": "compress.readers.token_classification",
        "question-answering": "compress.readers.question_answering",
        "reranking": "compress.readers.reranking",
        "sentence-embedding": "compress.readers.sentence_embedding",
        "sequence-to-sequence": "compress.readers.sequence_to_sequence",
        "masked-words": "compress.readers.masked_words",
    },
)
"""By the kind of task that a folder says it is for. A file has a class READER, which is made of a `Folder`."""


def reader_of(folder: Folder) -> Reader:
    """What reads a folder's texts and outputs.

    Raises:
        InputError: Nothing reads folders of its kind, or what the folder tells of itself or its tokenizer is damaged.
    """
    if folder.kind not in READERS:
        raise InputError(
            f"{folder.path} is for {folder.kind}, which nothing reads here; read are {', '.join(READERS)}. Install the "
            "package that brings a reader for it (an entry point of bert_compress.readers)."
        )
    reader: Reader = importlib.import_module(READERS[folder.kind]).READER(folder)
    return reader
