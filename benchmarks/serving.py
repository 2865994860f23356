"""How fast does the server answer what comes at its own times, is every answer that of its text, and is one lost?

    python benchmarks/serving.py FOLDER --seconds 120 --threads 1 --out serving.json

FOLDER is an exported folder of any kind that takes a single text. The file's own figure in batches is taken first, in this
process, over the same texts, sorted by length, 32 at a time. Then the server is started, and texts are sent at the times of a
Poisson process (open loop: nothing waits for an answer) at 0.5, 0.9 and 3 times that figure, each for so many seconds; every
answer is compared with what the file says of that text alone. The memory of the server is read twice a second. At the end
the server gets SIGTERM while it is loaded; what it had begun to answer must arrive. What this process could not send in time
is counted as not sent: give it processors of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from compress.benchmark.machine import commit, machine, versions
from compress.readers import reader_of
from compress.readers.folder import Folder, read_folder
from compress.readers.reader import Cut, Item, Reader
from compress.record import write_whole
from compress.runtimes.runtime import LOGITS, Session
from compress.runtimes.tokenizer_file import TOKENIZER, padded, read_tokenizer
from compress.statistics import percentile

LOADS, SEED, TEXTS, BATCH = (0.5, 0.9, 3.0), 13, 400, 32
LONGEST_WORDS, MOST_CONNECTIONS, PATIENCE_SECONDS = 60, 1000, 120.0


def main() -> None:
    """Measure, print a line for each load, and write the result."""
    arguments = _arguments()
    folder = read_folder(Path(arguments.folder))
    reader, session = reader_of(folder), folder.open(arguments.threads)
    texts = texts_for(folder)
    expected = [read_alone(reader, session, text, folder.padding) for text in texts]
    batched = batched_rate(reader, session, texts, folder.padding, arguments.seconds / 4)
    print(f"in batches of {BATCH}: {batched:,.0f} texts/s", flush=True)
    rows, ended = asyncio.run(served(arguments, texts, expected, batched))
    result = {
        "schema": 1,
        "script": "benchmarks/serving.py",
        "commit": commit(),
        "machine": machine(),
        "versions": versions(),
        "seed": SEED,
        "threads": arguments.threads,
        "folder": {"kind": folder.kind, "target": folder.facts.target, "max_length": folder.max_length},
        "batched_texts_per_second": batched,
        "loads": rows,
        "terminated": ended,
    }
    if arguments.out:
        write_whole(Path(arguments.out), json.dumps(result, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--seconds", type=float, default=120.0, help="of each load")
    parser.add_argument("--threads", type=int, default=1, help="of the runtime")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="by which a number of an answer may differ")
    parser.add_argument("--out", help="a JSON file for the result")
    return parser.parse_args()


def texts_for(folder: Folder) -> list[str]:
    """Texts of words of the vocabulary, of many lengths, short ones more often."""
    vocabulary = read_tokenizer(folder.path / TOKENIZER).get_vocab()
    words = sorted(word for word in vocabulary if word.isalpha() and word.isascii())
    random = np.random.default_rng(SEED)
    most = min(LONGEST_WORDS, folder.max_length - 2)
    lengths = np.clip(random.geometric(3 / most, TEXTS), 1, most)
    return [" ".join(random.choice(words, length)) for length in lengths]


def read_alone(reader: Reader, session: Session, text: str, padding: int) -> Any:
    """What the file says of one text, as the server writes it."""
    item = Item(text)
    pieces = reader.pieces(item, Cut())
    reduced = [reader.reduce(piece, session.run(padded([piece], padding))[LOGITS][0]) for piece in pieces]
    return json.loads(json.dumps(reader.answer(item, pieces, reduced)))


def batched_rate(reader: Reader, session: Session, texts: list[str], padding: int, seconds: float) -> float:
    """Texts a second that the file answers in batches of texts of like length, the median of rounds over all of them."""
    pieces = sorted((piece for text in texts for piece in reader.pieces(Item(text), Cut())), key=len)
    batches = [padded(pieces[start : start + BATCH], padding) for start in range(0, len(pieces), BATCH)]
    rates: list[float] = []
    end = time.perf_counter() + seconds
    while len(rates) < 3 or time.perf_counter() < end:
        begun = time.perf_counter()
        for batch in batches:
            session.run(batch)
        rates.append(len(texts) / (time.perf_counter() - begun))
    return float(np.median(rates[1:]))


def differs(answer: Any, expected: Any, tolerance: float) -> bool:
    """Whether an answer is another one, numbers by more than the tolerance."""
    if isinstance(expected, dict):
        return answer.keys() != expected.keys() or any(differs(answer[key], expected[key], tolerance) for key in expected)
    if isinstance(expected, list):
        return len(answer) != len(expected) or any(map(differs, answer, expected, [tolerance] * len(expected)))
    if isinstance(expected, float):
        return not isinstance(answer, float | int) or abs(answer - expected) > tolerance
    return bool(answer != expected)


class Client:
    """Sends texts over connections that are kept, as many as are needed at once."""

    def __init__(self, port: int, path: str) -> None:
        self._port, self._path = port, path
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, text: str) -> tuple[int, bytes]:
        """The status and the body of the response; 0 where the server listens no more."""
        body = json.dumps({"inputs": text}).encode()
        head = f"POST {self._path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        try:
            reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(head.encode() + body)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if line)
            content = await reader.readexactly(int(headers["content-length"]))
            if headers.get("connection") == "close":
                writer.close()
            else:
                self._idle.append((reader, writer))
            return int(lines[0].split()[1]), content
        except ConnectionRefusedError:
            return 0, b""

    def close(self) -> None:
        """Close what is idle."""
        for _, writer in self._idle:
            writer.close()


class Load:
    """What becomes of texts that are sent at one rate."""

    def __init__(self, client: Client, texts: list[str], expected: list[Any], tolerance: float) -> None:
        self.client, self.texts, self.expected, self.tolerance = client, texts, expected, tolerance
        self.milliseconds: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.wrong = 0

    async def send(self, rate: float, seconds: float, seed: int) -> dict[str, Any]:
        """Send for so many seconds, and wait for the answers."""
        random, loop = np.random.default_rng(seed), asyncio.get_running_loop()
        begun = due = loop.time()
        waiting: set[asyncio.Task[None]] = set()
        while due < begun + seconds:
            due += float(random.exponential(1 / rate))
            await asyncio.sleep(max(0.0, due - loop.time()))
            if len(waiting) >= MOST_CONNECTIONS:
                self.statuses["not sent"] += 1
                continue
            waiting.add(task := asyncio.create_task(self._one(int(random.integers(len(self.texts))), due)))
            task.add_done_callback(waiting.discard)
        await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE_SECONDS)
        took = loop.time() - begun
        answered = len(self.milliseconds)
        return {
            "offered_per_second": rate,
            "answered_per_second": answered / took,
            "statuses": dict(self.statuses),
            "wrong": self.wrong,
            **{f"p{rank}_ms": percentile(self.milliseconds, rank) if answered else None for rank in (50, 99)},
        }

    async def _one(self, number: int, due: float) -> None:
        """Send a text; its time runs from when it was due, whether or not this process was late."""
        try:
            status, content = await self.client.ask(self.texts[number])
        except (OSError, asyncio.IncompleteReadError):
            self.statuses["lost"] += 1
            return
        self.statuses[str(status)] += 1
        if status == 200:
            self.milliseconds.append(1000 * (asyncio.get_running_loop().time() - due))
            self.wrong += differs(json.loads(content)["answers"][0], self.expected[number], self.tolerance)


async def served(
    arguments: argparse.Namespace, texts: list[str], expected: list[Any], batched: float
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What becomes of each load, and of the last one, in whose middle the server is told to end."""
    line = [sys.executable, "-m", "compress", "serve", f"measured={arguments.folder}", "--port", "0"]
    process = subprocess.Popen([*line, "--threads", str(arguments.threads), "--quiet"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        _wait_until_ready(url)
        rows = []
        for number, load in enumerate(LOADS):
            client = Client(int(url.rpartition(":")[2]), "/models/measured/answers")
            memory, reading = _memory_of(process.pid)
            row = await Load(client, texts, expected, arguments.tolerance).send(
                load * batched, arguments.seconds, SEED + number
            )
            reading.cancel()
            client.close()
            rows.append({"load": load, "of_batched": row["answered_per_second"] / batched, **row, "memory_bytes": memory})
            print(json.dumps({key: value for key, value in rows[-1].items() if key != "memory_bytes"}), flush=True)
        client = Client(int(url.rpartition(":")[2]), "/models/measured/answers")
        last = Load(client, texts, expected, arguments.tolerance)
        seconds = min(10.0, arguments.seconds)
        asyncio.get_running_loop().call_later(seconds / 2, process.send_signal, signal.SIGTERM)
        ended = await last.send(0.9 * batched, seconds, SEED)
        ended["exit_code"] = await asyncio.to_thread(process.wait, 60)
        print(json.dumps(ended), flush=True)
        return rows, ended
    finally:
        process.kill()


def _wait_until_ready(url: str) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{url}/ready", timeout=5):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.1)
    raise SystemExit(f"{url} does not become ready")


def _memory_of(number: int) -> tuple[list[int], asyncio.Task[None]]:
    """The resident memory of a process, read twice a second by the task."""
    sizes: list[int] = []

    async def read() -> None:
        process = psutil.Process(number)
        while True:
            sizes.append(process.memory_info().rss)
            await asyncio.sleep(0.5)

    return sizes, asyncio.create_task(read())


if __name__ == "__main__":
    main()
