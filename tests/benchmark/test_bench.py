"""Models beside each other without data: prices, and an earlier result in the same table."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compress.benchmark import bench, latency
from compress.benchmark.bench import latencies, rows_of_before
from compress.errors import InputError


@pytest.fixture
def folder(onnx_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that takes 2 ms, three rounds long."""
    monkeypatch.setattr(latency, "ask_worker", lambda *_: {"samples": [[2.0]], "peak_memory_bytes": 1})
    return onnx_folder()


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_a_price_tells_what_an_hour_and_a_unit_of_the_currency_answer(folder: Path) -> None:
    """2 ms for 1 are 500 in a second, 1,800,000 in an hour, and for 0.40 an hour 4,500,000."""
    (row,) = latencies([folder], rounds=3, price=0.4).rows
    assert (row["answers_per_hour"], row["answers_per_unit"]) == (1_800_000, 4_500_000)
    assert "answers_per_hour" not in latencies([folder], rounds=3).rows[0]


def test_a_result_is_read_back_on_its_machine(folder: Path, tmp_path: Path) -> None:
    timed = latencies([folder], rounds=3)
    path = written(tmp_path / "before.json", timed.as_dict())
    assert rows_of_before(path) == timed.rows
    assert timed.conditions["rounds"] == 3


def test_a_result_of_another_machine_does_not_stand_in_the_same_table(folder: Path, tmp_path: Path) -> None:
    content = latencies([folder], rounds=1).as_dict()
    content["machine"] = content["machine"] | {"cpu": "Another CPU"}
    with pytest.raises(InputError, match=r"another machine \('Another CPU'\).*do not stand in one table: time both here"):
        rows_of_before(written(tmp_path / "before.json", content))
    content["machine"] = bench.machine() | {"memory_bytes": 1, "os": "Another kernel"}
    assert rows_of_before(written(tmp_path / "before.json", content))


@pytest.mark.parametrize(
    "content",
    [{}, {"schema": 2}, {"schema": 1, "rows": []}, {"schema": 1, "rows": [{}], "machine": {}}, {"schema": 1, "rows": 3}],
)
def test_what_is_no_result_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(InputError, match="holds no result of bench --json"):
        rows_of_before(written(tmp_path / "before.json", content))
