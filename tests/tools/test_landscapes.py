"""What stands around models, and the papers' claims, as tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compress.errors import InputError
from compress.record import MISSING
from tools.landscapes import landscapes_block
from tools.pages import refresh_tables

CURVE = [{"radius": 0.5, "mean": 0.2, "standard_error": 0.01}]
RISE = {"mean": 0.2, "standard_error": 0.01, "samples": [0.19, 0.21]}
TUNED = {"name": "fine-tuned", "loss": 0.25, "rise": RISE, "trace": {**RISE, "mean": 512.0}, "curve": CURVE}
INT8 = {"name": "int8", "loss": 0.3, "rise": RISE, "trace": None, "curve": CURVE}
LINE = {"from": "fine-tuned", "to": "int8", "alphas": [0.0, 1.0], "losses": [0.25, 0.3]}
SEED = {
    "landscapes": {"pretrained": {"models": [TUNED]}, "compressed": {"models": [TUNED, INT8], "lines": [LINE]}},
    "selection_accuracy": {"fine-tuned": 0.851},
    "claims": {"wider": True, "lower": False, "flat": None},
}


def written(folder: Path, seeds: Any, schema: int = 1) -> Path:
    """A result of one machine."""
    path = folder / "landscapes.json"
    content = {
        "schema": schema,
        "seeds": seeds,
        "rows": 1500,
        "examples": 64,
        "model": "MiniLM",
        "data": "SST-2",
        "machine": {"cpu": "A CPU"},
        "how": {"landscape": {"radius": 0.5, "directions": 4, "probes": 3}},
    }
    path.write_text(json.dumps(content))
    return path


def test_each_model_has_one_row_a_seed_and_each_claim_its_verdicts(tmp_path: Path) -> None:
    table = landscapes_block(written(tmp_path, {"13": SEED, "14": {**SEED, "claims": {"wider": False}}}))
    assert table.count("| 13 | fine-tuned | 85.1 | 0.25 | 0.2 \u00b1 0.01 | 512 \u00b1 0.01 |") == 1
    assert f"| 14 | int8 | {MISSING} | 0.3 | 0.2 \u00b1 0.01 | {MISSING} |" in table
    assert "| claim | seed 13 | seed 14 |" in table
    assert "| wider | yes | no |" in table
    assert "| lower | no | not told apart |" in table
    assert "at a radius of 50% of each filter's length over 4 directions" in table
    assert table.endswith("on A CPU. SST-2.")


@pytest.mark.parametrize(
    ("seeds", "schema"),
    [({"13": {"claims": {}}}, 1), ([], 1), ({"13": SEED}, 2), ({"13": {**SEED, "landscapes": {"a": {"models": [{}]}}}}, 1)],
)
def test_what_is_no_result_is_refused(seeds: Any, schema: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no seeds of schema 1; run benchmarks/landscapes\.py again"):
        landscapes_block(written(tmp_path, seeds, schema))


def test_a_page_shows_it(tmp_path: Path) -> None:
    written(tmp_path, {"13": SEED})
    page = tmp_path / "page.md"
    page.write_text("<!-- landscapes: landscapes.json -->\n<!-- end of landscapes -->\n")
    assert refresh_tables(page)
    assert "| 13 | fine-tuned |" in page.read_text()
    assert (tmp_path / "landscapes_compressed_lines.svg").is_file()
