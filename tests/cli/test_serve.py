"""The command serve: what it refuses, and that it loses nothing that it has accepted when it is told to end."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
from pathlib import Path

import httpx2
import numpy as np
import pytest

from compress.cli import serve as module
from compress.errors import InputError
from tests.cli.calling import call
from tests.serving.folders import WORDS, make_folder, mean_of
from tests.serving.servers import command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a model that gives scores."""
    return make_folder(tmp_path_factory.mktemp("folders") / "m", "regression")


def refused(*arguments: str) -> str:
    """What is said of a command that is refused with exit code 2."""
    done = call("serve", *arguments)
    assert done.exit_code == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def test_folders_that_cannot_be_served_are_refused(folder: Path, tmp_path: Path) -> None:
    assert "is no folder; name a folder that bert-compress exported" in refused(str(tmp_path / "none"))
    assert "holds no model.onnx" in refused(str(tmp_path))
    assert "would both be called 'm'; give them names: NAME=" in refused(str(folder), f"{tmp_path}/m")
    assert "a model would be called 'a/b'; allowed are letters" in refused(f"a/b={folder}")
    assert "a model would be called ''" in refused(f"={folder}")
    (tmp_path / "broken").mkdir()
    for name in ("model.onnx", "bert_compress.json"):
        (tmp_path / "broken" / name).write_text("{", encoding="utf-8")
    assert "cannot be read as JSON" in refused(str(tmp_path / "broken"))
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--port", "65536", "--port is '65536'; allowed: a whole number from 0 to 65,535."),
        ("--threads", "-1", "--threads is '-1'"),
        ("--max-queue", "0", "--max-queue is '0'; allowed: a whole number from 1"),
        ("--max-wait-ms", "two", "--max-wait-ms is 'two'"),
        ("--max-body-kb", "0", "--max-body-kb is '0'"),
        ("--max-client-batch", "0", "--max-client-batch is '0'"),
        ("--max-batch-tokens", "1e9", "--max-batch-tokens is '1e9'"),
        ("--api-key", " ", "the API key has to be a text of printable ASCII characters"),
        ("--host", "999.1.2.3", "--host 999.1.2.3 --port 8080 cannot be listened on"),
    ],
)
def test_options_that_cannot_be_are_refused(option: str, value: str, said: str, folder: Path) -> None:
    assert said in refused(str(folder), option, value)


def test_a_port_that_is_taken_is_refused(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = refused(str(folder), "--port", str(taken.getsockname()[1]))
    assert "cannot be listened on: Address already in use; name an address of this machine" in said


def test_what_is_not_installed_is_named_with_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEEDED", ("fastapi", "not_there_at_all"))
    assert refused(str(folder)) == "serve needs not_there_at_all; run pip install 'bert-compress[serve]'.\n"


def test_folders_have_their_own_names_or_those_that_are_given(tmp_path: Path) -> None:
    named = module.named_folders([f"{tmp_path}/a", f"b={tmp_path}/a", f"c={tmp_path}/x=y"])
    assert named == {"a": tmp_path / "a", "b": tmp_path / "a", "c": tmp_path / "x=y"}
    with pytest.raises(InputError, match="would both be called 'a'"):
        module.named_folders([f"{tmp_path}/a", f"{tmp_path}/b/a"])


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_ends_the_server(folder: Path, tmp_path: Path) -> None:
    broken = make_folder(tmp_path / "broken", "regression")
    (broken / "model.onnx").write_bytes(b"nothing")
    done = call("serve", str(broken), "--port", "0")
    assert done.exit_code == 2
    assert "model broken cannot be served" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_nothing_that_was_accepted_is_lost_when_it_is_told_to_end(number: signal.Signals, folder: Path) -> None:
    random = np.random.default_rng(3)
    texts = [" ".join(random.choice(WORDS, random.integers(1, 14))) for _ in range(600)]
    outcomes: dict[str, int] = {}

    async def one(client: httpx2.AsyncClient, text: str, process: subprocess.Popen[str], ends: bool) -> None:
        if ends:
            process.send_signal(number)
        try:
            response = await client.post("/predict", json={"inputs": text})
        except httpx2.ConnectError:  # it listens no more
            outcome = "not taken"
        else:
            outcome = str(response.status_code)
            if response.status_code == 200:
                assert response.json()[0]["score"] == pytest.approx(float(mean_of("regression", text)[0]), abs=1e-5)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1

    async def load(url: str, process: subprocess.Popen[str]) -> None:
        async with httpx2.AsyncClient(base_url=url, timeout=30) as client:
            at_once = asyncio.Semaphore(40)

            async def bounded(place: int) -> None:
                async with at_once:
                    await one(client, texts[place], process, ends=place == 300)

            await asyncio.gather(*map(bounded, range(len(texts))))

    with command(str(folder), "--threads", "1", "--max-wait-ms", "20") as (process, url):
        asyncio.run(load(url, process))
        assert process.wait(20) == 0
        assert process.stderr is not None
        said = process.stderr.read()
    assert outcomes.keys() <= {"200", "503", "not taken"}  # an answer that was lost would be an error of reading
    assert outcomes["200"] >= 260
    assert sum(outcomes.values()) == 600
    assert "requests are still to be answered" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_the_key_may_stand_in_the_environment(folder: Path) -> None:
    with command(f"named={folder}", BERT_COMPRESS_API_KEY="secret") as (_, url):
        assert httpx2.get(f"{url}/models").status_code == 401
        listed = httpx2.get(f"{url}/models", headers={"authorization": "Bearer secret"})
        assert json.loads(listed.text)["models"][0]["name"] == "named"
