"""The server's own description of itself: whole, and true of what schemathesis sends it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compress.serving.application import application
from compress.serving.hosting import Host
from compress.serving.limits import Limits
from tests.serving.folders import LABELS, WIDTHS, make_folder
from tests.serving.servers import Client, command, with_server


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One folder of each kind; the embedder has prompts."""
    room = tmp_path_factory.mktemp("folders")
    made = {kind: make_folder(room / kind, kind) for kind in LABELS}
    settings = made["sentence-embedding"] / "config_sentence_transformers.json"
    settings.write_text('{"prompts": {"query": "how ", "passage": ""}}', encoding="utf-8")
    return made


def test_the_schema_names_every_route_and_status(folders: dict[str, Path]) -> None:
    async def ask(client: Client, host: Host) -> Any:
        return (await client.get("/openapi.json")).json()

    schema = with_server(folders, ask)
    assert {"/predict", "/rerank", "/embed", "/similarity", "/v1/embeddings", "/v1/models", "/info", "/health"} <= set(
        schema["paths"]
    )
    assert {f"/models/{kind}/answers" for kind in folders} <= set(schema["paths"])
    posts = [operations["post"] for operations in schema["paths"].values() if "post" in operations]
    assert all({"200", "400", "401", "408", "413", "422", "424", "429", "503"} <= set(post["responses"]) for post in posts)
    assert all("requestBody" in post for post in posts)
    prompts = schema["components"]["schemas"]["EmbedRequest"]["properties"]["prompt_name"]
    assert prompts["enum"] == ["query", "passage", None]
    for name in ("EmbedRequest", "EmbedRequest_sentence-embedding", "OpenAIEmbeddingsRequest"):
        numbers = schema["components"]["schemas"][name]["properties"]["dimensions"]["anyOf"][0]
        assert (numbers["type"], numbers["minimum"], numbers["maximum"]) == ("integer", 1, WIDTHS["sentence-embedding"])


def test_an_api_key_stands_in_the_schema(folders: dict[str, Path]) -> None:
    async def whole() -> Any:
        host = Host(folders, Limits(), threads=1)
        app, _ = application(host, "key")
        host.close()
        return app.openapi()

    schema = asyncio.run(whole())
    assert schema["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert schema["paths"]["/predict"]["post"]["security"] == [{"HTTPBearer": []}]
    assert "security" not in schema["paths"]["/health"]["get"]


@pytest.mark.slow
@pytest.mark.matrix
def test_schemathesis_finds_nothing(folders: dict[str, Path], tmp_path: Path) -> None:
    with command(*(f"{kind}={path}" for kind, path in folders.items()), "--auto-truncate", "--threads", "1") as (_, url):
        line = [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{url}/openapi.json",
            "--max-examples",
            "12",
            "--seed",
            "1",
        ]
        ended = subprocess.run([*line, "--no-color"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout[-8000:]
