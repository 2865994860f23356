"""A sweep file is checked whole before any work: its recipe, its section, and what would be chosen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from compress.errors import InputError
from compress.search.budget import Budget
from compress.search.reading import read_sweep, read_sweep_text
from compress.search.space import Choices, Range
from tests.search.sweep_files import TEXT, sweep_file

ROOT = Path(__file__).parents[2]


def test_a_sweep_file_becomes_a_recipe_and_what_may_be_chosen(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path), ["sweep.trials=7", "sweep.budget={hours: 2, disk_gb: 10}"])
    assert sweep.space == {"steps.distill.epochs": Range(1, 5), "steps.drop_layers.keep": Choices(([0], [1]))}
    assert sweep.objectives == {"quality": "maximize", "p50_ms": "minimize"}
    assert (sweep.trials, sweep.sampler, sweep.seed, sweep.storage) == (7, "tpe", 13, None)
    assert sweep.budget == Budget(hours=2.0, disk_gb=10.0)
    assert [step.method for step in sweep.plan.steps] == ["fine_tune", "drop_layers", "distill"]
    again = read_sweep_text(sweep.text())
    assert again.section() == sweep.section()
    assert again.digest() == sweep.digest()


def test_names_alone_are_objectives_each_in_its_own_direction(tmp_path: Path) -> None:
    sweep = read_sweep(sweep_file(tmp_path), ["sweep.objectives=[speedup, size_bytes]"])
    assert sweep.objectives == {"speedup": "maximize", "size_bytes": "minimize"}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sweep.trial=3", "unknown key; did you mean 'trials'?"),
        ("sweep.trials=0", "a whole number from 1 to 100,000"),
        ("sweep.sampler=tpee", "unknown sampler; did you mean 'tpe'?"),
        ("sweep.objectives={quality: minimize}", "looks for the worst; write maximize"),
        ("sweep.objectives=[p50_ms, p50_ms]", "p50_ms is there twice; keep one"),
        ("sweep.objectives={p50_ms: minimize, speedup: maximize}", "say the same; keep one"),
        ("sweep.objectives={p50: minimize}", "unknown objective; did you mean 'p50_ms'?"),
        ("sweep.objectives={}", "give one or more"),
        ("sweep.space={}", "give at least one"),
        ("sweep.space={seed: {low: 5, high: 3}}", "5 is above high, 3; swap the two"),
        ("sweep.space={seed: {low: 3, high: 3}}", "leaves nothing to choose"),
        ("sweep.space={seed: {low: 0, high: 3, log: true}}", "has no logarithm"),
        ("sweep.space={seed: {low: 1, high: 3, log: true, step: 1}}", "exclude each other"),
        ("sweep.space={seed: {low: 1, high: 3, step: 5}}", "does not fit"),
        ("sweep.space={seed: {low: 1}}", "high missing"),
        ("sweep.space={seed: {low: a, high: 3}}", '"a" is no number'),
        ("sweep.space={seed: {choices: [1, 1]}}", "1 is there twice"),
        ("sweep.space={seed: {choices: [1]}}", "leaves nothing to choose"),
        ("sweep.space={seed: {choices: [1, 2], low: 1}}", "exclude each other"),
        ("sweep.space={seed: 3}", "nothing to choose from"),
        ("sweep.space={steps.distil.epochs: {low: 1, high: 3}}", "unknown step; did you mean 'distill'?"),
        ("sweep.space={steps.distill.epoch: {low: 1, high: 3}}", "did you mean 'epochs'?"),
        ("sweep.space={steps.distill.epochs: {low: 0, high: 3}}", "0 is not allowed"),
        ("sweep.budget={hour: 3}", "unknown key; did you mean 'hours'?"),
        ("sweep.budget={hours: -1}", "a number above 0"),
        ("sweep.budget={cost: 5}", "5 has no price"),
        ("sweep.storage=3", "the address of a database"),
    ],
)
def test_what_is_wrong_is_told_with_what_is_allowed(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        read_sweep(sweep_file(tmp_path), [override])


def test_a_grid_takes_no_range_without_end(tmp_path: Path) -> None:
    space = "sweep.space={steps.distill.learning_rate: {low: 1e-5, high: 1e-4}}"
    with pytest.raises(InputError, match="infinitely many values, which grid cannot walk through"):
        read_sweep(sweep_file(tmp_path), [space, "sweep.sampler=grid"])


def test_all_mistakes_are_told_at_once_each_with_its_line() -> None:
    wrong = TEXT.replace("epochs: 2}\n    as", "epoch: 2}\n    as").replace("low: 1, high: 5", "low: 6, high: 5")
    with pytest.raises(InputError) as refused:
        read_sweep_text(wrong + "  sampler: tpee\n")
    lines = str(refused.value).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["sweep:5", "sweep:9", "sweep:11", "sweep:14"]
    assert "trials: missing" in lines[1]


def test_a_recipe_without_the_section_is_told_what_to_add() -> None:
    with pytest.raises(InputError, match=r"no section `sweep:`.*bert-compress run"):
        read_sweep_text(TEXT.partition("sweep:")[0])


def test_of_a_metric_that_is_better_small_quality_is_minimized() -> None:
    text = TEXT.replace("{data: {train", "{kind: masked-words, data: {train").replace("quality: maximize", "quality: minimize")
    mistakes = ""
    try:
        read_sweep_text(text + "  trials: 1\n")
    except InputError as err:
        mistakes = str(err)
    assert "quality" not in mistakes


def test_values_of_ranges_are_counted_from_low() -> None:
    assert Range(1, 6, step=2).points() == [1, 3, 5]
    assert Range(0.0, 0.3, step=0.1).points() == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert Range(1.0, 2.0).points() is None


@pytest.mark.parametrize("path", sorted((ROOT / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_sweeps_of_the_repository_are_read(path: Path) -> None:
    assert read_sweep(path).plan.name == path.stem
