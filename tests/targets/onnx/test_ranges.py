"""An option that nothing will read is refused by name before any work; the same ones are taken where they are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import compress as cp
from compress.errors import InputError
from compress.models.quantizers import with_quantizers
from compress.pipeline import RunOptions, run, running
from compress.recipe import read_recipe, read_recipe_text
from compress.targets.exporting import export
from compress.targets.onnx.ranges import source_of_ranges, unread_options
from compress.targets.onnxruntime_cpu import onnxruntime_cpu
from compress.targets.onnxruntime_cpu_int8 import onnxruntime_cpu_int8
from compress.targets.openvino_cpu_int8 import openvino_cpu_int8
from compress.targets.tensorrt_int8 import tensorrt_int8
from tests.pipeline.conftest import write_recipe
from tests.targets.quantized import quantized_bert, wide_bert
from tests.tiny_models import tiny_bert, toy_task

TARGET = "onnxruntime-cpu-int8"
CHANGED: dict[str, Any] = {
    "calibration": "entropy",
    "percentile": 99.0,
    "symmetric": True,
    "smooth": None,
    "correct_bias": True,
    "max_drop": 0.01,
}
RECIPE = "model: m\ntask: sst2\nsteps:\n  - {steps}\nexport:\n  - {target}: {{{options}}}\n"


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be exported or calibrated."""
    monkeypatch.setattr("torch.onnx.export", lambda *_, **__: pytest.fail("the exporter ran"))
    monkeypatch.setattr("compress.targets.onnx.integers.calibrated", lambda *_: pytest.fail("ranges were looked for"))


@pytest.mark.parametrize(
    ("target", "options", "brings_ranges", "source"),
    [
        (onnxruntime_cpu, {}, True, "none"),
        (onnxruntime_cpu, {}, False, "none"),
        (onnxruntime_cpu_int8, {}, False, "dynamic"),
        (onnxruntime_cpu_int8, {}, True, "model"),
        (onnxruntime_cpu_int8, {"max_drop": 0.01}, False, "calibration"),
        (onnxruntime_cpu_int8, {"activations": "static"}, False, "calibration"),
        (onnxruntime_cpu_int8, {"activations": "static"}, True, "model"),
        (onnxruntime_cpu_int8, {"activations": "dynamic", "max_drop": 0.01}, True, "dynamic"),
        (openvino_cpu_int8, {}, False, "calibration"),
        (openvino_cpu_int8, {}, True, "model"),
        (tensorrt_int8, {}, False, "calibration"),
        (tensorrt_int8, {}, True, "model"),
    ],
)
def test_ranges_come_from_one_place(target: Any, options: dict[str, Any], brings_ranges: bool, source: str) -> None:
    assert source_of_ranges(target, options, brings_ranges=brings_ranges) == source


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("name", CHANGED)
def test_an_option_of_static_ranges_is_refused_with_dynamic_ones(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"{TARGET}\.{name} is .*: activations are dynamic here; set activations: static"):
        export(wide_bert(), tmp_path / "out", target=TARGET, task=toy_task(), activations="dynamic", **{name: CHANGED[name]})
    assert not os.listdir(tmp_path)


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("name", [name for name in CHANGED if name != "max_drop"])
def test_an_option_of_static_ranges_is_refused_where_auto_is_dynamic(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"{TARGET}\.{name} is .*: activations are dynamic here"):
        export(wide_bert(), tmp_path / "out", target=TARGET, task=toy_task(), **{name: CHANGED[name]})
    assert not os.listdir(tmp_path)


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("target", [TARGET, "openvino-cpu-int8", "tensorrt-int8"])
@pytest.mark.parametrize("name", ["calibration", "percentile", "smooth", "correct_bias"])
def test_an_option_of_calibration_is_refused_for_a_model_that_brings_its_ranges(
    tmp_path: Path, target: str, name: str
) -> None:
    model = with_quantizers(tiny_bert(), per_channel=True, symmetric=True)
    with pytest.raises(InputError, match=rf"{target}\.{name} is .*: the model brings its own ranges; remove it"):
        export(model, tmp_path / "out", target=target, task=toy_task(), **{name: CHANGED[name]})
    assert not os.listdir(tmp_path)


def test_every_such_option_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        export(wide_bert(), tmp_path / "out", target=TARGET, task=toy_task(), activations="dynamic", **CHANGED)
    assert [line.split(" ")[0] for line in str(caught.value).splitlines()] == [f"{TARGET}.{name}" for name in CHANGED]


@pytest.mark.parametrize(
    ("options", "brings_ranges"),
    [
        ({"activations": "dynamic", "calibration": "mse", "percentile": 99.99, "smooth": 0.5, "max_drop": None}, False),
        ({"activations": "static", **CHANGED, "per_channel": False}, False),
        (CHANGED, False),
        ({"max_drop": 0.01}, True),
        ({"per_channel": False}, False),
        ({"no_such": 1}, False),
    ],
)
def test_options_that_are_read_or_as_by_default_are_let_through(options: dict[str, Any], brings_ranges: bool) -> None:
    assert unread_options(onnxruntime_cpu_int8, options, brings_ranges=brings_ranges) == {}


def test_where_the_model_is_not_known_only_what_plays_no_part_either_way_is_told() -> None:
    unread = {
        "static": unread_options(onnxruntime_cpu_int8, {"activations": "static", **CHANGED}, brings_ranges=None),
        "auto": unread_options(onnxruntime_cpu_int8, {"smooth": None, "per_channel": False}, brings_ranges=None),
        "with max_drop": unread_options(onnxruntime_cpu_int8, CHANGED, brings_ranges=None),
        "dynamic": unread_options(onnxruntime_cpu_int8, {"activations": "dynamic", "max_drop": 0.1}, brings_ranges=None),
    }
    assert {kind: list(names) for kind, names in unread.items()} == {
        "static": [],
        "auto": ["smooth"],
        "with max_drop": [],
        "dynamic": ["max_drop"],
    }


@pytest.mark.parametrize(
    ("steps", "target", "options", "name", "words"),
    [
        (
            "fine_tune",
            TARGET,
            "activations: dynamic, max_drop: 0.01",
            "max_drop",
            "0.01 has no effect: activations are dynamic",
        ),
        ("fine_tune", TARGET, "calibration: entropy", "calibration", "set activations: static"),
        ("quantize_aware", TARGET, "smooth: null", "smooth", "null has no effect: the model brings its own ranges"),
        ("quantize_aware", TARGET, "per_channel: false", "per_channel", "the model brings its own ranges"),
        ("quantize_aware", "openvino-cpu-int8", "correct_bias: true", "correct_bias", "the model brings its own ranges"),
    ],
)
def test_a_recipe_is_told_when_it_is_checked(steps: str, target: str, options: str, name: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_recipe_text(RECIPE.format(steps=steps, target=target, options=options))
    said = str(caught.value)
    assert said.startswith(f"recipe:6: export[0] {target}.{name}: ")
    assert words in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("steps", "target", "options"),
    [
        ("fine_tune", TARGET, "activations: static, calibration: entropy"),
        ("fine_tune", TARGET, "max_drop: 0.01, smooth: null"),
        ("quantize_aware", TARGET, "max_drop: 0.01"),
        ("fine_tune", "openvino-cpu-int8", "calibration: min_max"),
    ],
)
def test_a_recipe_whose_options_are_read_passes(steps: str, target: str, options: str) -> None:
    text = RECIPE.format(steps=steps, target=target, options=options)
    assert read_recipe_text(text).exports[0].target == target


@pytest.mark.slow
def test_a_run_from_a_model_with_ranges_refuses_options_of_calibration_before_its_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "execute_steps", lambda *_: pytest.fail("a step ran"))
    folder = cp.save(quantized_bert(toy_task()), tmp_path / "model")
    path = write_recipe(tmp_path, f"[{TARGET}: {{activations: static, calibration: entropy}}]", " []")
    text = path.read_text().replace("stands/for-nothing", str(folder)).replace("task: {", "task: {labels: [bad, good], ")
    path.write_text(text)
    with pytest.raises(InputError, match=r"calibration is 'entropy', but nothing reads it: the model brings its own ranges"):
        run(read_recipe(path), RunOptions(out=tmp_path / "out", device="cpu"))
