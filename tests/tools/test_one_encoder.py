"""One file of ten tasks beside ten files, as a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compress.errors import InputError
from tools.one_encoder import one_encoder_block

TASK = {"texts": 200, "max_abs_difference": 2e-5, "other_labels": 1, "accuracy_alone": 0.8}
MEASURED = {
    "together_bytes": 27_000_000,
    "alone_bytes": [22_500_000, 22_600_000],
    "of_one": 1.2,
    "memory_bytes": {"one": 60_000_000, "together": 66_000_000, "alone": 110_000_000},
    "tasks": {"sst2": TASK, "mrpc": {**TASK, "max_abs_difference": 1e-6, "other_labels": 0}},
}


def written(folder: Path, files: Any, schema: int = 1) -> Path:
    content = {
        "schema": schema,
        "files": files,
        "model": "MiniLM",
        "rows": 1500,
        "seed": 13,
        "how": {"train": {"adapters": {"size": 48}}},
        "machine": {"cpu": "A CPU"},
        "data": "GLUE",
    }
    path = folder / "encoder.json"
    path.write_text(json.dumps(content))
    return path


def test_a_target_s_row_tells_what_all_tasks_take_together(tmp_path: Path) -> None:
    table = one_encoder_block(written(tmp_path, {"int8": MEASURED}))
    assert "| int8 | 22.5 MB | 27.0 MB | 1.20 | 45.1 MB | 60.0 MB | 66.0 MB | 110.0 MB | 2e\u221205 | 1 of 400 |" in table
    assert table.endswith("MiniLM with adapters of size 48, 1,500 rows of each of sst2, mrpc, seed 13, on A CPU. GLUE.")


@pytest.mark.parametrize(("files", "schema"), [({"int8": {"of_one": "small"}}, 1), ([], 1), ({"int8": MEASURED}, 2)])
def test_what_is_no_result_is_refused(files: Any, schema: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no files of schema 1; run benchmarks/one_encoder\.py again"):
        one_encoder_block(written(tmp_path, files, schema))
