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
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from compress.benchmark.machine import commit, machine, versions
from compress.benchmark.open_loop import ANSWERED, LOST, SEED, HttpClient, answer_alone, send, texts_for
from compress.readers import reader_of
from compress.readers.folder import read_folder
from compress.readers.reader import Cut, Item, Reader
from compress.record import write_whole
from compress.runtimes.runtime import Session
from compress.runtimes.tokenizer_file import padded

LOADS, BATCH, IN_TIME_MS = (0.5, 0.9, 3.0), 32, 100.0
PATH = "/models/measured/answers"


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


def read_alone(reader: Reader, session: Session, text: str, padding: int) -> Any:
    """What the file says of one text, as the server writes it."""
    return json.loads(json.dumps(answer_alone(reader, session, Item(text), padding)))


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


class Load:
    """What becomes of texts that are sent at one rate."""

    def __init__(self, client: HttpClient, texts: list[str], expected: list[Any], tolerance: float) -> None:
        self.client, self.texts, self.expected, self.tolerance = client, texts, expected, tolerance
        self.wrong = 0

    async def send(self, rate: float, seconds: float, seed: int) -> dict[str, Any]:
        """Send for so many seconds, and wait for the answers."""
        sent = await send(self._ask, rate=rate, seconds=seconds, texts=len(self.texts), seed=seed)
        return {**sent.row(IN_TIME_MS), "wrong": self.wrong}

    async def _ask(self, number: int) -> str:
        try:
            status, content = await self.client.ask("POST", PATH, {"inputs": self.texts[number]})
        except (OSError, asyncio.IncompleteReadError):
            return LOST
        if status != 200:
            return str(status)
        self.wrong += differs(json.loads(content)["answers"][0], self.expected[number], self.tolerance)
        return ANSWERED


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
            client = HttpClient("127.0.0.1", int(url.rpartition(":")[2]))
            memory, reading = _memory_of(process.pid)
            row = await Load(client, texts, expected, arguments.tolerance).send(
                load * batched, arguments.seconds, SEED + number
            )
            reading.cancel()
            await client.close()
            rows.append({"load": load, "of_batched": row["answered_per_second"] / batched, **row, "memory_bytes": memory})
            print(json.dumps({key: value for key, value in rows[-1].items() if key != "memory_bytes"}), flush=True)
        client = HttpClient("127.0.0.1", int(url.rpartition(":")[2]))
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
