"""What would fail at the end is refused before the first step."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from compress.cli import app
from compress.pipeline import running
from tests.pipeline.conftest import write_recipe


@pytest.mark.parametrize("export", ["onnxruntime-cpu-int8: {activations: static}", "openvino-cpu-int8: {}"])
def test_too_few_sentences_to_calibrate_on_are_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, export: str
) -> None:
    monkeypatch.setattr(running, "walk_steps", lambda *_: pytest.fail("a step ran"))
    recipe = write_recipe(tmp_path, f"[{{{export}}}]")
    text = recipe.read_text(encoding="utf-8").replace("task: {data:", "task: {calibration: 0.05, data:")
    recipe.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(app, ["run", str(recipe), "--tiny", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2, result.stderr
    assert "at least 16 are needed to find ranges" in result.stderr


def test_memory_without_segments_is_told_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "walk_steps", lambda *_: pytest.fail("a step ran"))
    recipe = write_recipe(tmp_path, "[{onnxruntime-cpu: {memory: true}}]")
    result = CliRunner().invoke(app, ["run", str(recipe), "--tiny", "--out", str(tmp_path / "out")])
    assert result.exit_code == 2, result.stderr
    assert "memory is true, but the model does not read segments" in result.stderr


@pytest.mark.parametrize("step", [
    "trim_vocabulary: {text: FILE}", "distill: {teacher: teacher, objectives: {logits: 1.0}, text: FILE}",
])  # fmt: skip
def test_texts_that_are_not_there_are_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(running, "walk_steps", lambda *_: pytest.fail("a step ran"))
    steps = f"\n  - fine_tune: {{epochs: 1}}\n    as: teacher\n  - {step.replace('FILE', str(tmp_path / 'no.txt'))}\n"
    result = CliRunner().invoke(
        app, ["run", str(write_recipe(tmp_path, steps=steps)), "--tiny", "--out", str(tmp_path / "out")]
    )
    assert result.exit_code == 2, result.stderr
    assert f"{step.partition(':')[0]}.text: data file {tmp_path / 'no.txt'} does not exist" in result.stderr
