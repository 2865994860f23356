"""What other tools make of the same models: the tables of every kind of task."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from compress.errors import InputError
from tools.pages import refresh_tables
from tools.peers import NOTHING, peers_block

PAGE = "# Peers\n\n<!-- peers: peers.json -->\nold\n<!-- end of peers -->\n"
TEACHER = {
    "model": "teacher",
    "who": "bert-compress",
    "name": "torch",
    "quality": {"metrics": {"f1": 0.9, "recall": 0.8}, "metrics_ci95": {"f1": [0.85, 0.95]}, "drop": {"value": 0.0}},
    "size_bytes": 90_000_000,
    "p50_ms": 12.0,
    "speedup": 1.0,
}
PEER = {
    "model": "student",
    "who": "a tool",
    "name": "onnx",
    "quality": {"metrics": {"f1": 0.88}, "metrics_ci95": {}, "drop": {"value": 0.02, "ci95": [-0.01, 0.05]}},
    "size_bytes": 22_500_000,
    "p50_ms": 3.0,
    "tool_p50_ms": 4.5,
    "speedup": 4.0,
}
FAILED = {"model": "student", "who": "a tool", "name": "onnx, int8", "error": "ValueError: no such head"}
GROUP = {
    "kind": "token classification",
    "recipe": "r",
    "data": "d",
    "metric": "f1",
    "examples": 500,
    "batch": 1,
    "length": 32,
    "threads": 1,
    "rounds": 1,
    "machine": {"cpu": "A CPU"},
    "rows": [TEACHER, PEER, FAILED],
}


def written(folder: Path, groups: Any, schema: int = 1) -> Path:
    """A result with these groups."""
    path = folder / "peers.json"
    path.write_text(json.dumps({"schema": schema, "groups": groups}))
    return path


def test_a_page_shows_a_table_for_each_group(tmp_path: Path) -> None:
    written(tmp_path, {"tokens": GROUP, "static": {**GROUP, "kind": "static embeddings", "rows": [TEACHER]}})
    page = tmp_path / "README.md"
    page.write_text(PAGE)
    assert refresh_tables(page) is True
    text = page.read_text()
    assert "old" not in text
    assert text.index("### Token classification") < text.index("### Static embeddings")
    assert (
        "| model | made by | file | f1, % (95 %) | drop, points (95 %) | MB | p50, ms | speed-up | through its tool, ms |"
        in text
    )
    assert "| teacher | bert-compress | torch | 90.0 (85.0 to 95.0) | \u2013 | 90.0 | 12.0 | 1.0\u00d7 | \u2013 |" in text
    assert "| student | a tool | onnx | 88.0 | 2.0 (\u22121.0 to 5.0) | 22.5 | 3.00 | 4.0\u00d7 | 4.50 |" in text
    assert "Medians of 1 round in turn, fresh processes, 1 x 32 tokens, 1 thread, on A CPU." in text
    assert refresh_tables(page) is False


def test_what_a_tool_cannot_make_says_why(tmp_path: Path) -> None:
    text = peers_block(written(tmp_path, {"tokens": GROUP}))
    row = next(line for line in text.splitlines() if "no such head" in line)
    assert row.startswith("| student | a tool | onnx, int8: not made, ValueError: no such head |")
    assert row.count("\u2013") == 6
    assert row.count("|") == text.splitlines()[2].count("|")


def test_without_a_tool_there_is_no_column_for_it(tmp_path: Path) -> None:
    text = peers_block(written(tmp_path, {"tokens": {**GROUP, "rows": [TEACHER, FAILED]}}))
    assert "through its tool" not in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_where_no_group_is_measured_the_page_says_so(tmp_path: Path) -> None:
    assert peers_block(written(tmp_path, {})) == NOTHING


@pytest.mark.parametrize(
    ("key", "value"),
    [("rows", []), ("rows", [FAILED]), ("rows", [{**TEACHER, "p50_ms": 0}]), ("metric", "accuracy"), ("kind", None)],
)
def test_a_damaged_group_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    group = {**copy.deepcopy(GROUP), key: value}
    with pytest.raises(InputError, match=r"run benchmarks/tasks_and_peers\.py again"):
        peers_block(written(tmp_path, {"tokens": group}))


def test_another_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="schema 1"):
        peers_block(written(tmp_path, {"tokens": GROUP}, schema=2))
