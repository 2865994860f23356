"""The open loop: what is sent when, what counts as in time, and what a folder and a server make of it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.benchmark import open_loop
from compress.benchmark.open_loop import ANSWERED, LOST, NOT_SENT, Sent, answered_in_time, send, texts_of
from compress.cli.results import rates_text
from compress.errors import CompressError, InputError
from tests.cli.calling import call
from tests.serving.folders import make_folder, make_folder_of_tasks
from tests.serving.servers import command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a model that gives scores."""
    return make_folder(tmp_path_factory.mktemp("folders") / "m", "regression")


def due(rate: float, seconds: float, seed: int) -> int:
    """How many texts come, by the same draws: a time, then a text."""
    random, now, count = np.random.default_rng(seed), 0.0, 0
    while (now := now + random.exponential(1 / rate)) < seconds:
        random.integers(5)
        count += 1
    return count


def test_texts_come_at_the_times_of_a_poisson_process() -> None:
    numbers: list[int] = []

    async def ask(number: int) -> str:
        numbers.append(number)
        return ANSWERED

    sent = asyncio.run(send(ask, rate=400, seconds=0.3, texts=5, seed=3))
    assert sent.statuses == {ANSWERED: due(400, 0.3, 3)}
    assert len(sent.milliseconds) == len(numbers)
    assert set(numbers) == set(range(5))
    assert sent.seconds >= 0.3


def test_nothing_waits_for_an_answer_and_what_cannot_be_sent_is_counted() -> None:
    async def both() -> Sent:
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(0.3, over.set)

        async def ask(_: int) -> str:
            await over.wait()
            return ANSWERED

        return await send(ask, rate=200, seconds=0.2, texts=5, seed=3, most_waiting=7)

    sent = asyncio.run(both())
    assert sent.statuses == {ANSWERED: 7, NOT_SENT: due(200, 0.2, 3) - 7}
    assert min(sent.milliseconds) >= 100  # each waited until the event, whenever it came


def test_an_answer_that_never_comes_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop, "PATIENCE_SECONDS", 0.05)

    async def ask(_: int) -> str:
        await asyncio.sleep(60)
        return ANSWERED

    with pytest.raises(CompressError, match=r"texts had no answer after 0.05 s; send fewer a second"):
        asyncio.run(send(ask, rate=100, seconds=0.1, texts=5))


def test_the_share_in_time_is_of_all_that_came() -> None:
    row = Sent(4.0, [5.0, 10.0, 30.0], Counter({ANSWERED: 3, NOT_SENT: 1, LOST: 1}), 2.0).row(10.0)
    assert row["in_time"] == 2 / 5
    assert row["answered_per_second"] == 1.5
    assert (row["p50_ms"], row["offered_per_second"]) == (10.0, 4.0)
    nothing = Sent(4.0, [], Counter(), 2.0).row(10.0)
    assert (nothing["p50_ms"], nothing["p99_ms"], nothing["in_time"]) == (None, None, None)


def test_texts_are_of_the_words_and_fit(folder: Path) -> None:
    texts = texts_of(["a", "b"], 12)
    assert {word for text in texts for word in text.split()} == {"a", "b"}
    assert max(len(text.split()) for text in texts) <= 10
    assert texts_of(["a"], 4) == texts_of(["a"], 4)


def test_a_folder_is_asked_by_each_number_of_streams_and_threads(folder: Path, tmp_path: Path) -> None:
    several = make_folder_of_tasks(tmp_path / "two")
    asked = answered_in_time([folder, f"{several}:spam"], rates=[50], streams=[1, 2], seconds=0.2)
    assert [(row["name"], row["streams"], row["threads"]) for row in asked.rows] == [
        ("m", 1, 1),
        ("m", 2, 1),
        ("two:spam", 1, 1),
        ("two:spam", 2, 1),
    ]
    assert all(row["statuses"].keys() == {ANSWERED} for row in asked.rows)
    assert json.loads(json.dumps(asked.as_dict()))["schema"] == 1
    assert "two:spam" in rates_text(asked.rows)


def test_pairs_are_asked_of_what_takes_them(tmp_path: Path) -> None:
    rows = answered_in_time([make_folder(tmp_path / "m", "reranking")], rates=[50], seconds=0.1).rows
    assert rows[0]["statuses"].keys() == {ANSWERED}


def test_a_server_is_asked_by_its_address(folder: Path) -> None:
    with command(str(folder)) as (_, url):
        for address in (url, f"{url}/models/m"):
            (row,) = answered_in_time([address], rates=[50], seconds=0.2).rows
            assert (row["name"], row["streams"], row["threads"]) == (address, None, None)
            assert row["statuses"].keys() == {ANSWERED}
        with pytest.raises(InputError, match=r"the server has no model 'other'; it has m"):
            answered_in_time([f"{url}/models/other"], rates=[50])
    with pytest.raises(InputError, match=r"no server of bert-compress serve answers there"):
        answered_in_time([url], rates=[50])
    with pytest.raises(InputError, match=r"'http://127.0.0.1:many' is no address"):
        answered_in_time(["http://127.0.0.1:many"], rates=[50])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"rates": []}, r"rates is \[\]; numbers above 0"),
        ({"rates": [0.0]}, r"rates is \[0.0\]; numbers above 0"),
        ({"rates": [1], "seconds": 0}, r"seconds is \[0\]"),
        ({"rates": [1], "in_time_ms": -1}, r"in_time_ms is \[-1\]"),
        ({"rates": [1], "streams": [0]}, r"streams is \[0\]; whole numbers from 1"),
        ({"rates": [1], "threads": [1.5]}, r"threads is \[1.5\]; whole numbers from 1"),
    ],
)
def test_numbers_that_cannot_be_are_refused(how: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(InputError, match=message):
        answered_in_time([folder], **how)


def test_the_command_prints_a_row_for_each_rate_and_refuses_what_plays_no_part(folder: Path) -> None:
    done = call("bench", str(folder), "--rates", "50,100", "--seconds", "0.1", "--json")
    assert done.exit_code == 0, done.stderr
    assert [row["offered_per_second"] for row in json.loads(done.stdout)["rows"]] == [50, 100]
    for options, said in (
        (["--rates", "50", "--price", "1"], "--rates does not go with --price"),
        (["--rates", "50", "--batch", "8"], "--rates does not go with --batch"),
        (["--rates", "50", "--device", "cuda"], "--rates does not go with --device"),
        (["--rates", "0"], "--rates is '0'; allowed: whole numbers from 1"),
        (["--streams", "2"], "--streams goes with --rates alone"),
        (["--rates", "50", "--in-time", "soon"], "--in-time is 'soon'"),
    ):
        refused = call("bench", str(folder), *options)
        assert refused.exit_code == 2
        assert said in " ".join(refused.stderr.split())
        assert refused.stdout == ""
