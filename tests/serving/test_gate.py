"""What stands before the routes: keys, sizes of bodies, models that are not loaded, the end; and what is told to everybody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from compress.errors import InputError
from compress.readers import reader_of
from compress.readers.folder import read_folder
from compress.serving import gate as gates
from compress.serving.application import application
from compress.serving.bodies import answer_bodies
from compress.serving.hosting import Host
from compress.serving.limits import Limits
from tests.serving.folders import make_folder
from tests.serving.servers import Client, posted, with_server

TEXT = "the film was very good"
SMALL = Limits(max_body_bytes=1000)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A classifier."""
    return {"m": make_folder(tmp_path_factory.mktemp("folders") / "m", "text-classification")}


async def chunks(count: int, size: int = 100) -> AsyncIterator[bytes]:
    """A body of unknown length."""
    for _ in range(count):
        yield b" " * size


@pytest.mark.parametrize("path", ["/predict", "/v1/embeddings", "/nowhere"])
@pytest.mark.parametrize("states_its_length", [True, False])
def test_a_body_that_is_too_large_is_refused_before_it_is_read(
    path: str, states_its_length: bool, served: dict[str, Path]
) -> None:
    async def ask(client: Client, host: Host) -> tuple[int, Any]:
        response = await client.post(path, content=b" " * 1001 if states_its_length else chunks(11))
        return response.status_code, response.json()

    status, body = with_server(served, ask, SMALL)
    assert status == 413
    said = body["error"]["message"] if path.startswith("/v1/") else body["error"]
    assert said == "the body has more than 1000 bytes; send fewer or shorter texts."


def test_reading_ends_at_the_limit_and_what_was_held_is_given_back(served: dict[str, Path]) -> None:
    taken = 0

    async def ask(client: Client, host: Host) -> None:
        _, gate = application(host)
        scope: dict[str, Any] = {"type": "http", "path": "/predict", "method": "POST", "headers": []}
        sent: list[Any] = []

        async def endless() -> dict[str, Any]:
            nonlocal taken
            taken += 1
            return {"type": "http.request", "body": b" " * 100, "more_body": True}

        async def send(message: Any) -> None:
            sent.append(message)

        await gate(scope, endless, send)
        assert sent[0]["status"] == 413
        assert (gate._held_bytes, gate.in_flight, gate.is_idle.is_set()) == (0, 0, True)

    with_server(served, ask, SMALL)
    assert taken == 11


def test_all_bodies_together_are_bounded(served: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "BODIES_AT_ONCE", 2)

    async def ask(client: Client, host: Host) -> list[int]:
        go_on = asyncio.Event()

        async def slow() -> AsyncIterator[bytes]:
            yield b" " * 900
            await go_on.wait()

        waiting = [asyncio.create_task(client.post("/predict", content=slow())) for _ in range(2)]
        await asyncio.sleep(0.05)
        refused = await client.post("/predict", content=b" " * 900)
        go_on.set()
        return [refused.status_code, *(response.status_code for response in await asyncio.gather(*waiting))]

    assert with_server(served, ask, SMALL) == [429, 422, 422]


def test_a_body_that_does_not_arrive_is_given_up(served: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "BODY_SECONDS", 0.05)

    async def ask(client: Client, host: Host) -> tuple[int, str]:
        async def never() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.sleep(10)

        response = await client.post("/predict", content=never())
        return response.status_code, response.json()["error_type"]

    assert with_server(served, ask) == (408, "Timeout")


@pytest.mark.parametrize("given", [None, "Bearer wrong", "right", "bearer"])
def test_a_key_is_asked_for_where_there_is_one(given: str | None, served: dict[str, Path]) -> None:
    async def ask(client: Client, host: Host) -> None:
        headers = {} if given is None else {"authorization": given}
        for path in ("/predict", "/models", "/nowhere"):
            response = await client.post(path, json={"inputs": TEXT}, headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            assert "Authorization: Bearer KEY" in response.json()["error"]
        right = await client.post("/predict", json={"inputs": TEXT}, headers={"authorization": "Bearer right"})
        assert right.status_code == 200
        assert {(await client.get(path)).status_code for path in ("/health", "/ready", "/metrics")} == {200}

    with_server(served, ask, api_key="right")


def test_a_model_that_is_being_loaded_is_told_so(served: dict[str, Path]) -> None:
    async def ask(client: Client, host: Host) -> None:
        for path in ("/predict", "/models/m/answers"):
            response = await client.post(path, json={"inputs": TEXT})
            assert (response.status_code, response.json()["error_type"]) == (503, "Unhealthy")
            assert response.headers["retry-after"] == "1"
        ready, health = await client.get("/ready"), await client.get("/health")
        assert (ready.status_code, ready.json()) == (503, {"status": "loading", "models": {"m": "loading"}})
        assert (health.status_code, health.json()["status"]) == (200, "loading")
        await host.load()
        assert (await client.get("/ready")).json() == {"status": "ok", "models": {"m": "ready"}}
        assert (await client.post("/predict", json={"inputs": TEXT})).status_code == 200

    with_server(served, ask, is_loaded=False)


def test_at_the_end_nothing_more_is_taken(served: dict[str, Path]) -> None:
    async def ask(client: Client, host: Host) -> None:
        host.is_draining = True
        response = await client.post("/predict", json={"inputs": TEXT})
        assert (response.status_code, response.json()["error_type"]) == (503, "Unhealthy")
        assert response.headers["connection"] == "close"
        assert (await client.get("/ready")).status_code == 503
        assert (await client.get("/health")).json()["status"] == "draining"

    with_server(served, ask)


def test_a_full_queue_is_told_with_429(served: dict[str, Path]) -> None:
    limits = Limits(max_queue=3, max_wait_seconds=0.2)

    async def ask(client: Client, host: Host) -> list[int]:
        responses = await asyncio.gather(*(client.post("/predict", json={"inputs": [[TEXT], [TEXT]]}) for _ in range(2)))
        refused = max(responses, key=lambda response: response.status_code)
        assert refused.headers["retry-after"] == "1"
        assert refused.json() == {
            "error": "2 texts wait already, of 3 at most; send the request again later.",
            "error_type": "Overloaded",
        }
        return sorted(response.status_code for response in responses)

    assert with_server(served, ask, limits) == [200, 429]
    status, body = posted(served, "/predict", {"inputs": [[TEXT]] * 4}, limits)
    assert (status, body["error"]) == (413, "the texts need more than 3 places of the queue, which has no more.")


def test_the_server_says_that_it_is_alive_while_a_model_computes(
    served: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    computing, may_end = threading.Event(), threading.Event()

    async def ask(client: Client, host: Host) -> None:
        model = host.models["m"]
        run = model._run

        def slow(pieces: Any) -> list[Any]:
            computing.set()
            assert may_end.wait(20)
            return run(pieces)

        assert model._batcher is not None
        monkeypatch.setattr(model._batcher, "_run", slow)
        asked = asyncio.create_task(client.post("/predict", json={"inputs": TEXT}))
        await asyncio.to_thread(computing.wait, 20)
        for path in ("/health", "/ready", "/metrics"):
            assert (await client.get(path)).status_code == 200
        assert not asked.done()
        may_end.set()
        assert (await asked).status_code == 200

    with_server(served, ask)


def test_a_million_mistakes_are_not_written_down(served: dict[str, Path]) -> None:
    for inputs in ([1] * 100_000, [[1]] * 100_000, [["a", 1]] * 100_000):
        status, body = posted(served, "/predict", {"inputs": inputs})
        assert status == 422
        assert "more)" not in body["error"] or "(and 1 more)" in body["error"]
    request, _ = answer_bodies(reader_of(read_folder(served["m"])), "m")
    with pytest.raises(ValidationError) as refused:
        request.model_validate({"inputs": [1] * 1000})
    assert refused.value.error_count() <= 4


def test_prometheus_reads_what_was_done(served: dict[str, Path]) -> None:
    async def ask(client: Client, host: Host) -> None:
        await client.post("/predict", json={"inputs": [[TEXT], ["a"]]})
        for _ in range(2):
            await client.post("/predict", json={"inputs": ""})
        await client.get("/any/path/that/is/not/there")
        response = await client.get("/metrics")
        assert response.headers["content-type"].startswith("text/plain")
        lines = dict(line.rsplit(" ", 1) for line in response.text.splitlines() if not line.startswith("#"))
        assert float(lines['bert_compress_requests_total{route="/predict",status="200"}']) == 1
        assert float(lines['bert_compress_requests_total{route="/predict",status="400"}']) == 2
        assert float(lines['bert_compress_requests_total{route="unknown",status="404"}']) == 1
        assert float(lines['bert_compress_model_ready{model="m"}']) == 1
        assert float(lines['bert_compress_tokens_total{model="m"}']) == 7 + 3
        assert float(lines['bert_compress_padding_tokens_total{model="m"}']) == 4
        assert float(lines["bert_compress_requests_in_flight"]) == 0

    with_server(served, ask)


def test_a_file_that_cannot_be_run_is_told_when_it_is_loaded(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "text-classification")
    (folder / "model.onnx").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"model m cannot be served: .*model\.onnx cannot be loaded by onnxruntime"):
        with_server({"m": folder}, None)  # type: ignore[arg-type]
