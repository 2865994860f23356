"""The table of what parts take: what is measured, how it is put together, and where it is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel

from compress.benchmark import block_times as module
from compress.benchmark.block_times import (
    BlockTimes,
    Points,
    Setting,
    assembled,
    block_times,
    measured_counts,
    model_times,
    shapes_of,
)
from compress.errors import CompressError
from compress.tasks.labelled import Task
from tests.tiers import mostly_matrix
from tests.tiny_models import tiny_bert, tiny_of

CPU = Setting("onnxruntime-cpu")
TAKEN = {
    "dense": 9.0,
    "base": 1.0,
    "empty": 1.4,  # two empty layers take 0.4, so that each empty part takes 0.1
    "heads 1": 2.0,
    "heads 4": 3.4,
    "neurons 16": 2.4,
    "neurons 64": 5.4,
    "last_heads 1": 1.1,
    "last_heads 4": 1.3,
    "last_neurons 16": 1.1,
    "last_neurons 64": 1.2,
}


def test_the_times_of_parts_are_differences_and_the_whole_takes_what_it_took() -> None:
    """4 heads take (3.4 - 1.4) / 2 + 0.1, 64 neurons (5.4 - 1.4) / 2 + 0.1, the last layer 0.3 + 0.2: 3.7 for two.

    Together they took 8.0, 8 / 3.7 times as long; half of them, half of the way from once to that.
    """
    times = assembled(TAKEN, [(4, 64), (4, 64)], alike=2, first=True)
    assert times.base_ms == 1.0
    assert times.dense_ms == 9.0
    assert dict(times.heads) == pytest.approx({0: 0.1, 1: 0.4, 4: 1.1})
    assert dict(times.neurons) == pytest.approx({0: 0.1, 16: 0.6, 64: 2.1})
    assert dict(times.last_heads) == pytest.approx({0: 0.0, 1: 0.1, 4: 0.3})
    assert times.parts_ms == pytest.approx(3.7)
    assert times.stretch == pytest.approx(8.0 / 3.7)
    assert times.model_ms([(4, 64), (4, 64)]) == pytest.approx(9.0)
    assert times.model_ms([(4, 64)]) == pytest.approx(1.0 + 0.5 * (1 + (8.0 / 3.7 - 1) * 0.5 / 3.7))


@pytest.mark.parametrize("stretch", [0.6, 1.0, 1.7])
def test_the_room_for_parts_is_what_they_take_alone(stretch: float) -> None:
    points = ((0, 0.1), (4, 1.1))
    times = BlockTimes(1.0, 0.0, points, points, points, points, parts_ms=2.2 * 3, stretch=stretch)
    for depth in (1, 2, 3):
        assert times.room_ms(times.model_ms([(4, 4)] * depth)) == pytest.approx(2.2 * depth)
    assert times.model_ms([(4, 4)] * 3) == pytest.approx(1.0 + 6.6 * stretch)
    assert times.room_ms(1.0) == times.room_ms(0.5) == 0.0


def test_a_model_that_reads_every_token_has_no_other_times_for_its_last_layer() -> None:
    taken = {name: ms for name, ms in TAKEN.items() if not name.startswith("last_")}
    times = assembled(taken, [(4, 64), (4, 64)], alike=2, first=False)
    assert times.last_heads == times.heads
    assert times.base_ms == pytest.approx(0.8)  # the file called base has an empty layer in it
    assert times.model_ms([(4, 64), (4, 64)]) == pytest.approx(9.0)


def test_noise_does_not_let_more_be_faster() -> None:
    times = assembled(TAKEN | {"heads 1": 3.6, "empty": 0.9}, [(4, 64)] * 2, alike=2, first=True)
    for points in (times.heads, times.neurons, times.last_heads, times.last_neurons):
        assert [count for count, _ in points] == sorted(count for count, _ in points)
        assert [ms for _, ms in points] == sorted(ms for _, ms in points)
    assert times.heads[0][1] == 0.0


def test_between_points_time_is_linear_and_below_the_fewest_it_does_not_fall() -> None:
    points = ((0, 0.5), (16, 1.0), (64, 4.0))
    times = BlockTimes(1.0, 9.0, points, points, points, points)
    milliseconds = [times.layer_ms((0, count)) - 0.5 for count in (0, 1, 16, 40, 64)]
    assert milliseconds == pytest.approx([0.5, 1.0, 1.0, 2.5, 4.0])
    every = [times.layer_ms((count, 0)) for count in range(65)]
    assert every == sorted(every)


def halved(points: Points) -> Points:
    return tuple((count, ms / 2) for count, ms in points)


def test_a_table_is_refitted_to_whole_models() -> None:
    """Attention takes twice as long as the table says, feed-forward parts half as long."""
    heads, neurons = ((0, 0.0), (1, 0.25), (4, 1.0)), ((0, 0.0), (16, 0.5), (64, 2.0))
    table = {"heads": heads, "neurons": neurons, "last_heads": halved(heads), "last_neurons": halved(neurons)}
    times = BlockTimes(1.0, 0.0, **table, parts_ms=6.0, stretch=1.5)
    doubled = {
        name: tuple((count, 2 * ms) for count, ms in points) if "heads" in name else halved(points)
        for name, points in table.items()
    }
    true = BlockTimes(1.0, 0.0, **doubled, parts_ms=6.0, stretch=1.5)
    shapes = [[(4, 16), (2, 64)], [(1, 64), (4, 64), (1, 8)]]
    refitted = times.refitted([(shape, true.model_ms(shape)) for shape in shapes])
    for shape in ([(4, 16), (4, 16)], *shapes):
        assert refitted.model_ms(shape) == pytest.approx(true.model_ms(shape), rel=0.1)
        assert abs(times.model_ms(shape) / true.model_ms(shape) - 1) > 0.1
    once = times.refitted([(shapes[0], 1.2 * times.model_ms(shapes[0]))])
    assert once.model_ms(shapes[0]) == pytest.approx(1.2 * times.model_ms(shapes[0]), rel=0.01)
    same = times.refitted([(shapes[1], times.model_ms(shapes[1]))])
    assert same.model_ms(shapes[0]) == pytest.approx(times.model_ms(shapes[0]))


def test_a_machine_that_is_too_busy_is_told_of() -> None:
    with pytest.raises(CompressError, match="too busy"):
        assembled(TAKEN | {"dense": 0.9}, [(4, 64)] * 2, alike=2, first=True)


def test_parts_that_take_far_more_alone_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    times = assembled(TAKEN | {"dense": 2.0}, [(4, 64)] * 2, alike=2, first=True)
    assert "alone, the model's parts took 3.7 times what they take together" in caplog.text
    assert times.stretch == 0.6


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        ([(12, 1536)] * 6, ([1, 3, 6, 9, 12], [32, 96, 192, 384, 768, 1536])),
        ([(12, 3072)] * 12, ([1, 3, 6, 9, 12], [48, 192, 384, 768, 1536, 3072])),
        ([(1, 20)], ([1], [16, 20])),
        ([(3, 64), (2, 100)], ([1, 2, 3], [16, 32, 64, 100])),
    ],
)
def test_few_sizes_are_measured(shapes: list[tuple[int, int]], expected: tuple[list[int], list[int]]) -> None:
    assert measured_counts(shapes) == expected
    assert measured_counts(shapes, quick=True) == (expected[0][-1:], expected[1][-1:])


class _Clock:
    """Stands in for the timing: notes what files were made of, and answers with the number of their weights in millions."""

    def __init__(self) -> None:
        self.made: list[dict[str, list[tuple[int, int]]]] = []

    def timed(self, makers: Any, task: Task, setting: Setting, progress: Any) -> dict[str, float]:
        models = {name: make() for name, make in makers.items()}
        self.made.append({name: shapes_of(model) for name, model in models.items()})
        return {name: sum(parameter.numel() for parameter in made.parameters()) / 1e3 for name, made in models.items()}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    """Weights in place of milliseconds."""
    stand_in = _Clock()
    monkeypatch.setattr(module, "_timed", stand_in.timed)
    return stand_in


def test_files_hold_layers_of_one_part_and_an_empty_one_at_the_end(clock: _Clock, toy: Task) -> None:
    block_times(tiny_bert(layers=3), toy, CPU)
    made = clock.made[0]
    assert made["dense"] == [(4, 24)] * 3
    assert made["base"] == [(0, 0)]
    assert made["empty"] == [(0, 0)] * 3
    assert made["heads 2"] == [(2, 0), (2, 0), (0, 0)]
    assert made["neurons 24"] == [(0, 24), (0, 24), (0, 0)]
    assert made["last_heads 4"] == [(4, 0)]
    assert made["last_neurons 16"] == [(0, 16)]


def test_a_quick_table_needs_seven_files(clock: _Clock, toy: Task) -> None:
    block_times(tiny_bert(), toy, Setting("onnxruntime-cpu", quick=True))
    assert sorted(clock.made[0]) == sorted(
        ["dense", "base", "empty", "heads 4", "neurons 24", "last_heads 4", "last_neurons 24"]
    )


def test_a_table_is_measured_once_for_each_shape_and_setting(clock: _Clock, toy: Task, tmp_path: Path) -> None:
    first = block_times(tiny_bert(seed=1), toy, CPU, folder=tmp_path / "times")
    again = block_times(tiny_bert(seed=2), toy, CPU, folder=tmp_path / "times")
    assert again == first
    assert len(clock.made) == 1
    others: list[tuple[PreTrainedModel, Setting]] = [
        (tiny_bert(), Setting("onnxruntime-cpu-int8")),
        (tiny_bert(), Setting("onnxruntime-cpu", batch=2)),
        (tiny_bert(), Setting("onnxruntime-cpu", length=8)),
        (tiny_bert(), Setting("onnxruntime-cpu", threads=2)),
        (tiny_bert(), Setting("onnxruntime-cpu", quick=True)),
        (tiny_bert(layers=3), CPU),
        (tiny_bert(intermediate_size=32), CPU),
        (tiny_bert(hidden_act="relu"), CPU),
        (tiny_of("distilbert"), CPU),
    ]
    for number, (model, setting) in enumerate(others, 2):
        block_times(model, toy, setting, folder=tmp_path / "times")
        assert len(clock.made) == number


@pytest.mark.parametrize("harm", ["empty", "torn", "edited", "old"])
def test_a_damaged_table_is_told_of_and_measured_anew(
    clock: _Clock, toy: Task, tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = block_times(tiny_bert(), toy, CPU, folder=tmp_path)
    (path,) = tmp_path.glob("*.json")
    table = json.loads(path.read_text())
    old = {name: value for name, value in table.items() if name != "sha256"}
    path.write_text(
        {"empty": "", "torn": path.read_text()[:-9], "edited": json.dumps(table | {"base_ms": 0.1}), "old": json.dumps(old)}[
            harm
        ]
    )
    assert block_times(tiny_bert(), toy, CPU, folder=tmp_path) == first
    assert len(clock.made) == 2
    assert f"{path} is damaged" in caplog.text
    assert block_times(tiny_bert(), toy, CPU, folder=tmp_path) == first
    assert len(clock.made) == 2


def test_another_machine_measures_again(clock: _Clock, toy: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for machine in ("here", "there"):
        monkeypatch.setattr(module, "machine_key", lambda key=machine: key)
        block_times(tiny_bert(), toy, CPU, folder=tmp_path)
    assert len(clock.made) == 2


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.parametrize(
    "target",
    mostly_matrix(
        ["onnxruntime-cpu", "onnxruntime-cpu-int8", "openvino-cpu", "openvino-cpu-int8"],
        always=["onnxruntime-cpu-int8"],
    ),
)
def test_every_target_s_files_are_written_and_run(toy: Task, target: str) -> None:
    setting = Setting(target, length=8, quick=True)
    model = tiny_bert()
    makers = {"none": lambda: module._cut(model, [(0, 0, 0)]), "some": lambda: module._cut(model, [(0, 1, 0), (1, 0, 24)])}
    times = module._timed(makers, toy, setting, lambda *_, **__: None)
    assert all(ms > 0 for ms in times.values())
    assert model_times({"one": model}, toy, setting).keys() == {"one"}
