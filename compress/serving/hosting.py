"""The models of a server: loaded while it answers already that it is alive, and each with its queue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from compress.errors import CompressError, InputError
from compress.readers import reader_of
from compress.readers.cutting import TextTooLong
from compress.readers.folder import Folder, read_folder
from compress.readers.reader import Cut, Embedding, Item, Piece, Reader
from compress.runtimes.runtime import LOGITS, Session
from compress.runtimes.tokenizer_file import padded
from compress.serving.batching import Batcher
from compress.serving.limits import Limits
from compress.serving.metrics import Metrics
from compress.serving.refusals import Refused, too_large, unavailable

logger = logging.getLogger(__name__)

SHORT = 4096
"""Characters of a request whose texts are cut into tokens at once; longer ones are in a thread, so that others go on."""
TOKENIZING_THREADS = 2
WARM = Item("warm", "up")


@dataclass(frozen=True)
class Read:
    """What a model says of items: their pieces, and what is kept of each one's outputs."""

    items: Sequence[Item]
    pieces: Sequence[Sequence[Piece]]
    reduced: Sequence[Sequence[Any]]

    @property
    def tokens(self) -> int:
        """That were read."""
        return sum(len(piece) for own in self.pieces for piece in own)


class HostedModel:
    """One model of a server.

    Args:
        name: In paths and metrics.
        folder: A shipped folder.
        reader: Of its kind.
        limits: Of the server.
        metrics: Of the server.
    """

    def __init__(self, name: str, folder: Folder, reader: Reader, limits: Limits, metrics: Metrics) -> None:
        self.name, self.folder, self.reader, self.limits = name, folder, reader, limits
        self.state: Literal["loading", "ready"] = "loading"
        self.routes: list[str] = []
        self.width: int | None = None
        """Of its vectors, where it gives some and is loaded."""
        self._metrics = metrics.of(name)
        self._metrics.is_ready(False)
        self._session: Session | None = None
        self._batcher: Batcher | None = None
        self._work: asyncio.Task[None] | None = None

    async def load(self, threads: int, opened: dict[Path, Session]) -> None:
        """Open the file, and let it read something.

        Args:
            threads: Of the runtime.
            opened: By folder what is open already; a file of several tasks is held once. This one is added.

        Raises:
            CompressError: It cannot be opened, or run.
        """
        await asyncio.to_thread(self._open, threads, opened)
        reader = self.reader
        self._batcher = Batcher(
            self._run, self.limits, self._metrics, most_at_once=reader.most_at_once, tokens_at_once=reader.tokens_at_once
        )
        self._work = asyncio.create_task(self._batcher.work())
        self.state = "ready"
        self._metrics.is_ready(True)
        logger.info("%s: ready, for %s", self.name, self.folder.kind)

    def _open(self, threads: int, opened: dict[Path, Session]) -> None:
        self._session = opened[self.folder.path] = self.folder.open(threads, opened.get(self.folder.path))
        pieces = self.reader.pieces(WARM, Cut())
        reduced = self._run(pieces)
        self.reader.answer(WARM, pieces, reduced)
        if isinstance(self.reader, Embedding):
            self.width = len(self.reader.vector(reduced[0], normalize=False))

    def _run(self, pieces: Sequence[Piece]) -> list[Any]:
        """What is kept of each piece's outputs; called in the model's thread."""
        assert self._session is not None
        outputs = self._session.run(padded(pieces, self.folder.padding))[LOGITS]
        if not np.isfinite(outputs.sum()):
            raise CompressError("the model's answer is not finite; its weights or its quantization are broken. Make it again.")
        return [self.reader.reduce(piece, own) for piece, own in zip(pieces, outputs, strict=True)]

    async def read(self, items: Sequence[Item], cut: Cut, tokenizing: ThreadPoolExecutor) -> Read:
        """Let the model read items.

        Raises:
            Refused: They are too many or too long, too much waits already, the model is not loaded, or it fails.
        """
        if self._batcher is None:
            raise unavailable(f"model {self.name} is being loaded; send the request again later.")
        if len(items) > self.limits.max_client_batch:
            raise too_large(f"batch size {len(items)} > maximum allowed batch size {self.limits.max_client_batch}")
        if sum(len(item.text) + len(item.pair or "") for item in items) > SHORT:
            pieces = await asyncio.get_running_loop().run_in_executor(tokenizing, self._pieces, items, cut)
        else:
            pieces = self._pieces(items, cut)
        futures = self._batcher.submit([piece for own in pieces for piece in own])
        try:
            results = iter(await asyncio.gather(*futures))
        except Exception as err:
            for future in futures:
                future.cancel()
            raise Refused(424, "Backend", f"the model could not read the text: {err}") from err
        return Read(items, pieces, [[next(results) for _ in own] for own in pieces])

    def _pieces(self, items: Sequence[Item], cut: Cut) -> list[list[Piece]]:
        pieces: list[list[Piece]] = []
        total = 0
        for item in items:
            try:
                pieces.append(self.reader.pieces(item, cut))
            except TextTooLong as err:
                raise too_large(f"Input validation error: {err}") from err
            total += len(pieces[-1])
            if total > self.limits.max_queue:
                raise too_large(f"the texts need more than {self.limits.max_queue} places of the queue, which has no more.")
        return pieces

    async def answers(self, read: Read, tokenizing: ThreadPoolExecutor) -> list[Any]:
        """The answer to each item; of long texts they are made in a thread, so that others go on."""
        own = list(zip(read.items, read.pieces, read.reduced, strict=True))
        if sum(map(len, read.pieces)) <= len(own):
            return [self.reader.answer(*parts) for parts in own]
        loop = asyncio.get_running_loop()
        return [await loop.run_in_executor(tokenizing, self.reader.answer, *parts) for parts in own]

    def close(self) -> None:
        """Compute no more."""
        if self._work is not None:
            self._work.cancel()


class Host:
    """All models of a server.

    Args:
        folders: By name.
        limits: How much is taken at once.
        threads: Of each model's runtime; 0 is one per core.

    Raises:
        InputError: A folder is none that can be served.
    """

    def __init__(self, folders: Mapping[str, Path], limits: Limits, threads: int = 0) -> None:
        self.limits, self.metrics, self.threads = limits, Metrics(), threads
        self.is_draining = False
        self.tokenizing = ThreadPoolExecutor(TOKENIZING_THREADS, thread_name_prefix="tokenizing")
        self.models: dict[str, HostedModel] = {}
        for name, path in folders.items():
            folder = read_folder(path)
            self.models[name] = HostedModel(name, folder, reader_of(folder), limits, self.metrics)

    @property
    def is_ready(self) -> bool:
        """Whether every model answers."""
        return not self.is_draining and all(model.state == "ready" for model in self.models.values())

    async def load(self) -> None:
        """Load the models one after the other.

        Raises:
            CompressError: One cannot be loaded.
        """
        opened: dict[Path, Session] = {}
        for model in self.models.values():
            try:
                await model.load(self.threads, opened)
            except CompressError as err:
                raise InputError(f"model {model.name} cannot be served: {err}") from err

    def close(self) -> None:
        """Compute no more."""
        for model in self.models.values():
            model.close()
        self.tokenizing.shutdown(wait=False, cancel_futures=True)
