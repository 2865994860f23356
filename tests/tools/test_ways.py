"""What the ways to fine-tune keep and cost, as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compress.errors import InputError
from compress.record import MISSING
from tools.pages import refresh_tables
from tools.ways import ways_block

WAY = {
    "metric": "accuracy",
    "mean": 0.851,
    "scores": [{"seed": 13, "score": 0.85}, {"seed": 14, "score": 0.852}],
    "interval": [0.82, 0.88],
    "epoch_seconds": 12.34,
    "other_seconds": 5.0,
    "learned": 600_000,
    "of": 20_000_000,
    "alone_bytes": 2_400_000,
}


def written(folder: Path, ways: Any, schema: int = 1) -> Path:
    """A result of one set."""
    path = folder / "ways.json"
    sets = {"mrpc": {"data": "GLUE MRPC", "ways": ways}}
    path.write_text(json.dumps({"schema": schema, "sets": sets, "model": "MiniLM", "machine": {"cpu": "A CPU"}}))
    return path


def test_a_way_s_row_tells_what_it_keeps_and_costs(tmp_path: Path) -> None:
    table = ways_block(written(tmp_path, {"adapters": WAY, "head": {**WAY, "interval": None, "alone_bytes": None}}))
    row = "| mrpc (accuracy) | adapters | 85.1 | 82.0 to 88.0 | 2 | 600,000 (3.0%) | 12.3 | 5.0 | 2,400 |"
    assert row in table
    assert f"| head | 85.1 | {MISSING} | 2 |" in table
    assert table.endswith("MiniLM; scores are means over seeds, intervals of the first, on A CPU. GLUE MRPC.")


@pytest.mark.parametrize(("ways", "schema"), [({"all": {"mean": "high"}}, 1), ([], 1), ({"all": WAY}, 2)])
def test_what_is_no_result_is_refused(ways: Any, schema: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no sets of schema 1; run benchmarks/ways_to_fine_tune\.py again"):
        ways_block(written(tmp_path, ways, schema))


def test_a_page_shows_it(tmp_path: Path) -> None:
    written(tmp_path, {"all": WAY})
    page = tmp_path / "page.md"
    page.write_text("<!-- ways: ways.json -->\n<!-- end of ways -->\n")
    assert refresh_tables(page)
    assert "| mrpc (accuracy) | all |" in page.read_text()
