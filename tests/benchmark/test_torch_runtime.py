"""torch runs the model itself, as it was saved."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from compress.benchmark.torch_runtime import RUNTIME, open_torch


def batch() -> dict[str, np.ndarray]:
    ids = np.array([[2, 6, 8, 3, 0], [2, 5, 7, 8, 3]])
    return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64), "token_type_ids": np.zeros_like(ids)}


def test_it_answers_as_the_model_and_the_timed_call_does_the_same_work(bert: Any, torch_folder: Path) -> None:
    import torch

    with torch.no_grad():
        expected = bert(**{name: torch.from_numpy(values) for name, values in batch().items()}).logits.numpy()
    session = open_torch(torch_folder)
    np.testing.assert_allclose(session.run(batch())["logits"], expected, atol=1e-6)
    timed: Any = session.call_of(batch())()
    np.testing.assert_allclose(timed.numpy(), expected, atol=1e-6)
    assert not session.model.training


def test_it_opens_the_folder_and_not_a_file(tmp_path: Path) -> None:
    assert RUNTIME.place(tmp_path) == tmp_path


def test_a_missing_torch_is_told_by_the_doctor() -> None:
    assert RUNTIME.diagnosis({}.get) == ("missing", "needed for all but `list` and `check`: pip install torch")
    assert RUNTIME.diagnosis({"torch": "2.13.0"}.get) == ("2.13.0", "trains and exports")


def test_importing_it_imports_no_torch() -> None:
    code = "import sys; import compress.benchmark.torch_runtime; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
