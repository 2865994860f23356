"""The scripts that put this toolkit beside others: they load, and what they left behind is told rightly."""

from __future__ import annotations

import importlib
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from compress.recipe import read_recipe
from compress.record import points
from tests.pages import EVERYTHING, ROOT

SCRIPTS = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


@pytest.fixture(autouse=True)
def _beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_loads_and_shows_how_it_is_called(name: str) -> None:
    script = importlib.import_module(name)
    if hasattr(script, "main"):
        assert f"python benchmarks/{name}.py" in (script.__doc__ or "")


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_tells_its_script_machine_and_commit(path: Path) -> None:
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["schema"] == 1
    assert (ROOT / record["script"]).is_file()
    assert record["machine"]["cpu"]
    assert re.fullmatch(r"[0-9a-f]{40}\+?", record["commit"])


def test_seeds_are_averaged_and_compared_with_the_dense_model_of_the_same_seed() -> None:
    rows = [
        {"data": "d", "kind": kind, "seed": seed, "metrics": {"accuracy": accuracy}, "drop": {"value": drop}}
        for kind, seed, accuracy, drop in (
            ("dense", 1, 0.8, 0.0),
            ("dense", 2, 0.9, 0.0),
            ("longformer", 1, 0.9, -0.1),
            ("longformer", 2, 0.8, 0.1),
        )
    ]
    dense, swapped = importlib.import_module("long_tasks")._means(rows)
    assert (dense["accuracy"], dense["lowest"], dense["highest"]) == (pytest.approx(0.85), 0.8, 0.9)
    assert (swapped["gained"], swapped["gained_each"]) == (pytest.approx(0), [0.1, -0.1])


@pytest.mark.parametrize("data", ["bbc_news", "movie_reviews_long"])
def test_the_pages_tell_the_means_of_the_seeds(data: str) -> None:
    record = json.loads((ROOT / "benchmarks" / "results" / "long_tasks.json").read_text(encoding="utf-8"))
    means = [row for row in record["means"] if row["data"] == data]
    cells = [f"{points(row['accuracy'])} ({points(row['lowest'])} to {points(row['highest'])})" for row in means]
    assert f"| {' | '.join(cells)} |" in EVERYTHING


def test_a_recipe_is_run_whole_and_without_each_objective() -> None:
    variants: Any = importlib.import_module("leave_one_out").variants
    plan = read_recipe(ROOT / "recipes" / "sst2" / "tinybert.yaml")
    plans = list(variants(plan))
    assert plans[0] == ("", "whole recipe", plan)
    assert all(replace(variant, steps=plan.steps) == plan and variant != plan for _, _, variant in plans[1:])
    assert len({name for _, name, _ in plans}) == len(plans) > 3


def test_weights_of_four_bits_are_what_onnxruntime_multiplies_with() -> None:
    rng, sizes = np.random.default_rng(3), {"N": 5, "K": 40, "bits": 4, "block_size": 32}  # the second block is not full
    packed, scales = rng.integers(0, 256, (5, 2, 16), dtype=np.uint8), rng.normal(size=10).astype(np.float32)
    node = helper.make_node("MatMulNBits", ["x", "packed", "scales"], ["y"], domain="com.microsoft", **sizes)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [40, size]) for name, size in (("x", 40), ("y", 5))]
    tensors = [numpy_helper.from_array(packed, "packed"), numpy_helper.from_array(scales, "scales")]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(helper.make_graph([node], "g", ends[:1], ends[1:], tensors), opset_imports=opsets, ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (transposed,) = session.run(None, {"x": np.eye(40, dtype=np.float32)})
    weight = importlib.import_module("rampart").unpacked([packed, scales], sizes)
    np.testing.assert_allclose(weight, transposed.T, atol=1e-6)


def test_sentences_to_measure_on_are_none_that_are_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faker", SimpleNamespace(Faker=_Fake))
    sentences = importlib.import_module("pii_sentences").sentences
    learned, measured = (sentences(400, 13, held_out=held_out) for held_out in (False, True))
    assert len(set(learned)) == len(set(measured)) == 400
    assert sentences(400, 13, held_out=True) == measured
    asks, tells = "You can reach me at", "is locked"  # the first and the eighth of those with an address
    assert [any(asks in text for text in texts) for texts in (learned, measured)] == [True, False]
    assert [any(tells in text for text in texts) for texts in (learned, measured)] == [False, True]


class _Fake:
    """Stands for Faker: whatever is asked, a number that was not there before."""

    def __init__(self, locale: str) -> None:
        self.count = 0

    def seed_instance(self, seed: int) -> None:
        self.count = 0

    def bothify(self, shape: str, letters: str) -> str:
        return self.next()

    def date(self, pattern: str) -> str:
        return self.next()

    def next(self) -> str:
        self.count += 1
        return str(self.count)

    def __getattr__(self, name: str) -> Any:
        return self.next


def test_an_option_is_compared_with_plain_of_the_same_seeds_and_corrected_over_a_sets_options() -> None:
    def cell(option: str, seed: int, score: float) -> dict[str, Any]:
        judged = {part: {"selection": 0.8, "evaluation": value} for part, value in (("teacher", 0.8), ("student", score))}
        return {"set": "mrpc", "option": option, "seed": seed, **judged}

    scores = {"plain": [0.60, 0.62, 0.64], "mixup": [0.63, 0.64, 0.68, 0.9], "hidden": [0.60, 0.63, 0.63]}
    cells = [cell(option, seed, score) for option, row in scores.items() for seed, score in enumerate(row)]
    rows = {row["option"]: row for row in importlib.import_module("small_data").compared(cells)}
    # the gains of mixup are 0.03, 0.02, 0.04: mean 0.03, deviation 0.01, t of 2 degrees 4.302653, so 4.302653 * 0.01 / sqrt(3)
    assert rows["mixup"]["seeds"] == [0, 1, 2]
    assert rows["mixup"]["evaluation_gain"] == pytest.approx(0.03)
    assert rows["mixup"]["evaluation_gain_ci95"] == pytest.approx([0.03 - 0.0248414, 0.03 + 0.0248414], abs=1e-6)
    assert rows["mixup"]["p_holm"] == pytest.approx(2 * rows["mixup"]["p"])  # the smaller of two
    assert rows["plain"]["evaluation_retention"] == pytest.approx(0.62 / 0.8)
    assert rows["plain"]["p"] is None
    assert "p_holm" not in rows["plain"]


@pytest.mark.slow
def test_small_data_measures_every_option_once_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, out = importlib.import_module("small_data"), tmp_path / "result.json"
    monkeypatch.setattr(sys, "argv", ["small_data.py", "--tiny", "--seeds", "1", "--only", "mixup", "--out", str(out)])
    script.main()
    first = json.loads(out.read_text(encoding="utf-8"))
    assert [cell["option"] for cell in first["cells"]] == ["plain", "mixup"]
    monkeypatch.setattr(sys, "argv", ["small_data.py", "--tiny", "--seeds", "1", "--out", str(out)])
    script.main()
    cells = json.loads(out.read_text(encoding="utf-8"))["cells"]
    assert cells[:2] == first["cells"]
    assert sorted(cell["option"] for cell in cells) == sorted(script.OPTIONS)
    assert all(cell["optimizer_steps"] == 2 and 0 <= cell["student"]["evaluation"] <= 1 for cell in cells)
