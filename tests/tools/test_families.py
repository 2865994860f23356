"""What stays of each family's accuracy, and its files beside those of transformers, as tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compress.errors import InputError
from compress.record import MINUS, MISSING, TIMES
from tools.families import families_block, shapes_block
from tools.pages import refresh_tables

MACHINE = {"cpu": "A CPU"}
FAMILY = {
    "pieces": 9000,
    "whole": 0.8,
    "whole, onnxruntime-cpu-int8": 0.798,
    "half": 0.785,
    "half, onnxruntime-cpu-int8": 0.786,
}
TORCH = {
    "who": "bert-compress",
    "name": "torch",
    "relative_error": 0.0,
    "size_bytes": 4_000_000,
    "latency": [{"batch": 1, "length": 32, "p50_ms": 10.0}, {"batch": 8, "length": 128, "p50_ms": 200.0}],
}
PEER = {
    "who": "transformers",
    "name": "onnx",
    "relative_error": 0.0123,
    "size_bytes": 1_500_000,
    "latency": [{"batch": 1, "length": 32, "p50_ms": 4.0}, {"batch": 8, "length": 128, "p50_ms": 100.0}],
}


def written(folder: Path, families: Any, schema: int = 1) -> Path:
    """A result with these families."""
    path = folder / "families.json"
    content = {"schema": schema, "families": families, "machine": MACHINE, "rows": 20000, "seed": 13, "model": "random, small"}
    path.write_text(json.dumps(content))
    return path


def test_a_family_s_row_tells_its_accuracy_and_what_is_lost(tmp_path: Path) -> None:
    table = families_block(written(tmp_path, {"electra": FAMILY}))
    assert f"| electra | 80.0 | {MINUS}0.2 | {MISSING} | {MINUS}1.5 | {MINUS}1.4 | {MISSING} |" in table
    assert table.endswith("SST-2, 20,000 sentences to learn from, seed 13, on A CPU.")


def test_a_family_s_files_are_told_with_their_speed_against_torch(tmp_path: Path) -> None:
    failed = {"who": "transformers", "name": "openvino", "error": "ValueError: no such operator"}
    table = shapes_block(written(tmp_path, {"bert": {"rows": [TORCH, PEER, failed]}}))
    assert "### bert" in table
    assert "| made by | file | error | MB | 1 x 32, ms | 8 x 128, ms | 1 x 32, speed-up | 8 x 128, speed-up |" in table
    assert f"| bert-compress | torch | {MISSING} | 4.0 | 10.0 | 200 | 1.0{TIMES} | 1.0{TIMES} |" in table
    assert f"| transformers | onnx | 0.012 | 1.5 | 4.00 | 100 | 2.5{TIMES} | 2.0{TIMES} |" in table
    assert " | ".join(["openvino: not made, ValueError: no such operator", *[MISSING] * 6]) in table


@pytest.mark.parametrize("block", [families_block, shapes_block])
@pytest.mark.parametrize(
    ("families", "schema"),
    [
        ({"bert": {"whole": "much"}}, 1),
        ({"bert": {"rows": []}}, 1),
        ([], 1),
        ({"bert": FAMILY | {"rows": [TORCH]}}, 2),
        (None, 1),
    ],
)
def test_another_file_is_refused_by_name(block: Any, families: Any, schema: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"families\.json holds no families of schema 1.*run benchmarks/famil"):
        block(written(tmp_path, families, schema))


def test_a_page_shows_both(tmp_path: Path) -> None:
    written(tmp_path, {"bert": FAMILY | {"rows": [TORCH, PEER]}})
    page = tmp_path / "page.md"
    page.write_text(
        "# Families\n\n<!-- families: families.json -->\n<!-- end of families -->\n\n"
        "<!-- shapes: families.json -->\n<!-- end of shapes -->\n"
    )
    assert refresh_tables(page)
    assert "| bert | 80.0 |" in page.read_text()
    assert "| transformers | onnx |" in page.read_text()
    assert not refresh_tables(page)
