"""The guide's examples are sent, and their answers are what it shows, but for the numbers."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from compress.serving.hosting import Host
from tests.pages import PAGES, blocks
from tests.serving.folders import LABELS, make_folder
from tests.serving.servers import Client, with_server

GUIDE = "docs/guides/serve.md"


def shape(value: Any) -> Any:
    """What a value is made of; of lists the first entry."""
    if isinstance(value, dict):
        return {key: shape(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return float if isinstance(value, int | float) else type(value)


def asked() -> list[tuple[str, Any]]:
    """The path and the body of each curl."""
    lines = [shlex.split(line) for block in blocks(GUIDE, "sh") for line in block.splitlines() if line.startswith("curl ")]
    assert all(words[1] == "-s" and words[3:5] == ["-H", "Content-Type: application/json"] for words in lines)
    return [(words[2].removeprefix("localhost:8080"), json.loads(words[words.index("-d") + 1])) for words in lines]


def test_each_example_is_answered_as_shown(tmp_path: Path) -> None:
    folders = {kind: make_folder(tmp_path / kind, kind) for kind in LABELS}
    shown = [json.loads(line) for block in blocks(GUIDE, "json") for line in block.splitlines()]
    examples = asked()
    assert len(examples) == len(shown) == 8

    async def ask(client: Client, host: Host) -> None:
        for (path, body), wanted in zip(examples, shown, strict=True):
            response = await client.post(path, json=body)
            assert response.status_code == 200, (path, response.text)
            assert shape(response.json()) == shape(wanted), path

    with_server(folders, ask)


@pytest.mark.parametrize("kind", LABELS)
def test_the_table_names_what_a_kind_answers(kind: str, tmp_path: Path) -> None:
    [row] = [line for line in PAGES[GUIDE].splitlines() if line.replace("-", " ").startswith(f"| {kind.replace('-', ' ')} |")]

    async def ask(client: Client, host: Host) -> Any:
        item = {"text": "how was it", "pair": "the film was good"} if " as `pair`" in row else "the film was good"
        response = await client.post("/models/m/answers", json={"inputs": item})
        return response.json()["answers"][0]

    answer = with_server({"m": make_folder(tmp_path / "m", kind)}, ask)
    assert all(f"`{key}`" in row for key in answer)
