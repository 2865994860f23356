"""Write texts for texts, such as their translations, with an exported folder. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from compress.errors import InputError, shown
from compress.facts import read_facts
from compress.runtimes.graph_files import DECODER, ENCODER, graph_files
from compress.runtimes.table import load_runtime, settings_of
from compress.runtimes.tokenizer_file import TOKENIZER, padded, read_tokenizer
from compress.runtimes.writer_files import MOST_BEAMS, WriterFiles, check_ends, read_search
from compress.runtimes.writing import Search, write

READS, WRITES = TOKENIZER, "decoder_tokenizer.json"
TEXTS_AT_ONCE = 16


def text_of(tokenizer: Any, ids: Sequence[int], search: Search) -> str:
    """The text that ids stand for, up to its end.

    Args:
        tokenizer: Of the `tokenizers` library.
        ids: One text's.
        search: Tells which token ends it.
    """
    kept = list(ids)
    if search.end in kept:
        kept = kept[: kept.index(search.end)]
    text: str = tokenizer.decode(kept, skip_special_tokens=True)
    return text.strip()


class TextWriter:
    """Writes texts for texts, as an exported model for sequence-to-sequence does.

    Args:
        folder: That the model was exported to.
        runtime: "onnxruntime", or another that reads such files; see `bert-compress list runtimes`.
        threads: Of the runtime; 0 is one per core.
        beams: Texts that are followed at once; None takes what the folder says (`num_beams` of generation_config.json).
        max_length: Tokens of a text that are read; None takes what the folder was exported for.

    Raises:
        InputError: The folder holds no such model, or what it tells of itself or a tokenizer of it is damaged.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        runtime: str = "onnxruntime",
        threads: int = 0,
        beams: int | None = None,
        max_length: int | None = None,
    ) -> None:
        folder = Path(folder)
        if not all((folder / name).is_file() for name in (ENCODER, DECODER)):
            raise InputError(f"{folder} has no {ENCODER} and {DECODER}; export a model for sequence-to-sequence.")
        if beams is not None and not 1 <= beams <= MOST_BEAMS:
            raise InputError(f"beams is {beams}; allowed: 1 to {MOST_BEAMS}.")
        facts, opened = read_facts(folder), load_runtime(runtime)
        opened.need()
        self.search = read_search(folder)
        if beams is not None:
            self.search = replace(self.search, beams=beams)
        settings = settings_of(opened, facts)
        encoder, decoder = (opened.graph(path, threads=threads, **settings) for path in graph_files(folder / ENCODER))
        self._files = WriterFiles(encoder, decoder, folder / ENCODER)
        check_ends(self._files)
        self._reads, self._writes = (read_tokenizer(folder / name) for name in (READS, WRITES))
        self._reads.enable_truncation(max_length or facts.max_length or 512)

    def write(self, texts: Sequence[str]) -> list[str]:
        """A text for each of these.

        Raises:
            InputError: They are no list, or one of them is empty or no text.
        """
        if isinstance(texts, str) or not isinstance(texts, Sequence):
            raise InputError(f"texts is {shown(texts)}; give a list of texts.")
        for number, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                raise InputError(f"texts[{number}] is {shown(text)}; give texts that are not empty.")
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        written = [""] * len(texts)
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = order[start : start + TEXTS_AT_ONCE]
            encodings = self._reads.encode_batch([texts[number].strip() for number in part])
            for number, ids in zip(part, write(self._files, padded(encodings), self.search).tolist(), strict=True):
                written[number] = text_of(self._writes, ids, self.search)
        return written
