"""How a model answers what comes at its own times: texts of a Poisson process, which wait for no answer (an open loop).

Timing one call after another says how fast a model is, not how long a text waits behind others. Texts come here at a given
rate, and each one's time runs from when it was due, so that a queue that grows is seen. A folder is asked in this process, by
so many streams (sessions) at once; a server is asked by its address.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from compress.benchmark.machine import machine, versions
from compress.errors import CompressError, InputError, shown
from compress.facts import folder_and_task
from compress.readers import reader_of
from compress.readers.folder import Folder, read_folder
from compress.readers.reader import Cut, Item, Piece, Reader
from compress.runtimes.runtime import LOGITS, Session
from compress.runtimes.tokenizer_file import TOKENIZER, padded, read_tokenizer
from compress.statistics import percentile

SCHEMA, SEED = 1, 13
TEXTS, LONGEST_WORDS, MOST_WAITING, PATIENCE_SECONDS = 400, 60, 1000, 120.0
ANSWERED, NOT_SENT, LOST, REFUSED = "answered", "not sent", "lost", "refused"
WORDS = ("the", "film", "was", "good", "and", "a", "plot", "of", "no", "use", "but", "it", "ended", "well", "for", "all")
"""Of texts for a server, whose vocabulary is not known."""
ADDRESS = "http://"
Ask = Callable[[int], Awaitable[str]]
"""Asks for the answer to the text of a number, and tells what became of it."""
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Sent:
    """What became of texts that were sent at one rate.

    Args:
        rate: Texts a second.
        milliseconds: From when each that was answered was due to its answer.
        statuses: How many were answered, and what became of the others.
        seconds: Until the last answer.
    """

    rate: float
    milliseconds: list[float]
    statuses: Counter[str]
    seconds: float

    def row(self, in_time_ms: float) -> dict[str, Any]:
        """As JSON has it; `in_time` is the share of all texts, sent or not, that were answered within so many milliseconds."""
        waits, total = self.milliseconds, sum(self.statuses.values())
        return {
            "offered_per_second": self.rate,
            "answered_per_second": len(waits) / self.seconds,
            **{f"p{rank}_ms": percentile(waits, rank) if waits else None for rank in (50, 99)},
            "in_time_ms": in_time_ms,
            "in_time": sum(wait <= in_time_ms for wait in waits) / total if total else None,
            "statuses": dict(self.statuses),
        }


async def send(
    ask: Ask, *, rate: float, seconds: float, texts: int, seed: int = SEED, most_waiting: int = MOST_WAITING
) -> Sent:
    """Send texts at the times of a Poisson process for so many seconds, and wait for the answers.

    Args:
        ask: See `Ask`.
        rate: Texts a second, on the average.
        seconds: For how long.
        texts: There are, of which one is drawn each time.
        seed: Of times and texts.
        most_waiting: Texts that wait for an answer; what comes beyond is counted as not sent.

    Raises:
        CompressError: An answer does not come at all.
    """
    random, loop = np.random.default_rng(seed), asyncio.get_running_loop()
    milliseconds: list[float] = []
    statuses: Counter[str] = Counter()
    waiting: set[asyncio.Task[None]] = set()

    async def ask_at(number: int, due: float) -> None:
        status = await ask(number)
        statuses[status] += 1
        if status == ANSWERED:
            milliseconds.append(1000 * (loop.time() - due))

    begun = due = loop.time()
    while (due := due + float(random.exponential(1 / rate))) < begun + seconds:
        number = int(random.integers(texts))
        await asyncio.sleep(max(0.0, due - loop.time()))
        if len(waiting) >= most_waiting:
            statuses[NOT_SENT] += 1
            continue
        waiting.add(task := asyncio.create_task(ask_at(number, due)))
        task.add_done_callback(waiting.discard)
    try:
        await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE_SECONDS)
    except TimeoutError:
        raise CompressError(f"{len(waiting)} texts had no answer after {PATIENCE_SECONDS:g} s; send fewer a second.") from None
    return Sent(rate, milliseconds, statuses, max(seconds, loop.time() - begun))


class HttpClient:
    """Sends texts to a server over connections that are kept, as many as are needed at once."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, method: str, path: str, content: Any = None) -> tuple[int, bytes]:
        """The status and the body of the response; 0 where the server listens no more."""
        body = b"" if content is None else json.dumps(content).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        try:
            reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        except ConnectionRefusedError:
            return 0, b""
        writer.write(head.encode() + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        answer = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(lines[0].split()[1]), answer

    async def close(self) -> None:
        """Close what is idle."""
        for _, writer in self._idle:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def texts_for(folder: Folder) -> list[str]:
    """Texts of words of a folder's vocabulary, of many lengths, short ones more often."""
    vocabulary = read_tokenizer(folder.path / TOKENIZER).get_vocab()
    words = sorted(word for word in vocabulary if word.isalpha() and word.isascii())
    return texts_of(words or WORDS, folder.max_length)


def texts_of(words: Sequence[str], max_length: int) -> list[str]:
    """Texts of these words, of at most so many tokens if each is one."""
    random = np.random.default_rng(SEED)
    most = max(1, min(LONGEST_WORDS, max_length - 2))
    lengths = np.clip(random.geometric(min(1.0, 3 / most), TEXTS), 1, most)
    return [" ".join(random.choice(words, length)) for length in lengths]


def item_of(text: str, takes: str) -> Item:
    """A text as a kind of task takes it: of those that take pairs alone, beside itself."""
    return Item(text, text if takes == "a pair" else None)


def answer_alone(reader: Reader, session: Session, item: Item, padding: int) -> Any:
    """What a file says of one item, each of its pieces run alone."""
    pieces: list[Piece] = reader.pieces(item, Cut())
    reduced = [reader.reduce(piece, session.run(padded([piece], padding))[LOGITS][0]) for piece in pieces]
    return reader.answer(item, pieces, reduced)


@contextlib.asynccontextmanager
async def folder_asked(given: str, threads: int, streams: int) -> AsyncIterator[tuple[Ask, int]]:
    """Open a folder so many times, and ask these one text each; others wait for the first that is free."""
    folder = read_folder(given)
    reader, texts = reader_of(folder), texts_for(folder)
    free: asyncio.Queue[Session] = asyncio.Queue()
    for _ in range(streams):
        session = folder.open(threads)
        answer_alone(reader, session, item_of(texts[0], reader.takes), folder.padding)  # the first calls pay for more
        free.put_nowait(session)
    with ThreadPoolExecutor(streams, thread_name_prefix="streams") as pool:
        loop = asyncio.get_running_loop()

        async def ask(number: int) -> str:
            session = await free.get()
            try:
                item = item_of(texts[number], reader.takes)
                await loop.run_in_executor(pool, answer_alone, reader, session, item, folder.padding)
            finally:
                free.put_nowait(session)
            return ANSWERED

        yield ask, len(texts)


@contextlib.asynccontextmanager
async def address_asked(url: str) -> AsyncIterator[tuple[Ask, int]]:
    """Ask a server of `bert-compress serve`: the model of http://HOST:PORT/models/NAME, or its first one.

    Raises:
        InputError: No such server answers there, or it has no such model.
    """
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port or 80
    except ValueError as err:
        raise InputError(f"{shown(url)} is no address ({err}); give one such as http://127.0.0.1:8080/models/NAME.") from err
    client = HttpClient(host, port)
    models = await _models_of(client)
    await client.close()
    if not models:
        raise InputError(
            f"{shown(url)}: no server of bert-compress serve answers there without a key; start one, or correct the address."
        )
    name = parts.path.rstrip("/").removeprefix("/models/") or next(iter(models))
    if name not in models:
        raise InputError(f"{shown(url)}: the server has no model {shown(name)}; it has {', '.join(models)}. Name one of them.")
    takes, texts = models[name]["takes"], texts_of(WORDS, models[name]["max_length"])

    async def ask(number: int) -> str:
        item = item_of(texts[number], takes)
        inputs = item.text if item.pair is None else {"text": item.text, "pair": item.pair}
        try:
            status, _ = await client.ask("POST", f"/models/{name}/answers", {"inputs": inputs})
        except (OSError, asyncio.IncompleteReadError):
            return LOST
        return {200: ANSWERED, 429: REFUSED, 0: LOST}.get(status, f"status {status}")

    client = HttpClient(host, port)
    try:
        yield ask, len(texts)
    finally:
        await client.close()


async def _models_of(client: HttpClient) -> dict[str, dict[str, Any]]:
    """What a server says of its models, by name; empty where it is no server of ours."""
    try:
        status, content = await client.ask("GET", "/models")
        return {model["name"]: model for model in json.loads(content)["models"]} if status == 200 else {}
    except (OSError, ValueError, KeyError, TypeError, asyncio.IncompleteReadError):
        return {}


@dataclass(frozen=True)
class Answered:
    """What was found.

    Args:
        rows: {name, streams, threads, offered_per_second, answered_per_second, p50_ms, p99_ms, in_time_ms, in_time, statuses};
            of a server streams and threads are null.
        machine: Where it was measured.
        versions: Of what ran.
    """

    rows: list[dict[str, Any]]
    machine: dict[str, Any]
    versions: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"schema": SCHEMA, **asdict(self)}


def answered_in_time(
    subjects: Sequence[str | Path],
    *,
    rates: Sequence[float],
    streams: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    seconds: float = 10.0,
    in_time_ms: float = 100.0,
    progress: Progress | None = None,
) -> Answered:
    """Send texts to exported folders and to servers at given rates, whatever they answer meanwhile.

    Args:
        subjects: Exported folders, FOLDER:TASK for one of several tasks; or http://HOST:PORT/models/NAME, served by
            `bert-compress serve`.
        rates: Texts a second.
        streams: Sessions of a folder that answer at once.
        threads: Of each session.
        seconds: For which each rate is sent.
        in_time_ms: Within which an answer counts as in time.
        progress: Told before each rate.

    Raises:
        InputError: A number cannot be, or a subject is none that can be asked.
        CompressError: Answers do not come.
    """
    for name, values in (("rates", rates), ("seconds", [seconds]), ("in_time_ms", [in_time_ms])):
        if not values or not all(value > 0 for value in values):
            raise InputError(f"{name} is {shown(list(values))}; numbers above 0 are allowed: correct it.")
    for name, counts in (("streams", streams), ("threads", threads)):
        if not counts or not all(type(count) is int and count > 0 for count in counts):
            raise InputError(f"{name} is {shown(list(counts))}; whole numbers from 1 are allowed: correct the list.")
    plan: list[tuple[str, int | None, int | None]] = []
    for subject in map(str, subjects):
        at_once = [(None, None)] if subject.startswith(ADDRESS) else [(own, each) for own in streams for each in threads]
        if not subject.startswith(ADDRESS):
            read_folder(subject)
        plan += [(subject, *each) for each in at_once]
    rows: list[dict[str, Any]] = []

    async def ask_all(subject: str, own: int | None, each: int | None) -> None:
        asked = address_asked(subject) if own is None or each is None else folder_asked(subject, each, own)
        async with asked as (ask, texts):
            for rate in rates:
                if progress:
                    progress(f"send {_name_of(subject)}", len(rows), len(plan) * len(rates))
                sent = await send(ask, rate=rate, seconds=seconds, texts=texts)
                rows.append({"name": _name_of(subject), "streams": own, "threads": each, **sent.row(in_time_ms)})

    for entry in plan:
        asyncio.run(ask_all(*entry))
    return Answered(rows, machine(), versions())


def _name_of(subject: str) -> str:
    if subject.startswith(ADDRESS):
        return subject
    path, of_task = folder_and_task(subject)
    return path.resolve().name + ("" if of_task is None else f":{of_task}")
