"""Predictions: lines worked out by hand, and what a whole training will lose by a short one."""

from __future__ import annotations

import pytest

from compress.search.goals import Outcome
from compress.search.prediction import DROP_LEFT, Candidate, Prior, line, predict

PRIOR = Prior(10.0, 100.0, 4.0, 1.0, 10.0, 1e-4)


def student(name: str, macs: float, **changes: float) -> Candidate:
    return Candidate(name, "drop_layers", (), {}, macs, changes.get("parameters", 2e6), epochs=8, work=1e4)


def test_a_line_is_as_believed_moved_by_one_point_and_fitted_by_two() -> None:
    assert line([], 4.0, start=1.0, slope=2.0) == 9.0
    assert line([(2.0, 10.0)], 4.0, start=1.0, slope=2.0) == pytest.approx(9.0 * 10 / 5)
    assert line([(1.0, 5.0), (3.0, 9.0)], 4.0, start=0.0, slope=7.0) == pytest.approx(3 + 2 * 4)


def test_a_line_never_falls_nor_starts_below_zero() -> None:
    falling = line([(1.0, 9.0), (3.0, 5.0)], 2.0, start=0.0, slope=1.0)
    assert falling == pytest.approx(2.0 * (9 + 5 / 3) / 2)


def test_before_anything_is_measured_the_teacher_and_the_gain_of_files_tell() -> None:
    predicted = predict(student("half", 50.0), 8, [], [], PRIOR)
    assert predicted.p50_ms == pytest.approx(10 * 50 / 100 / 4)
    assert predicted.speedup == pytest.approx(8.0)
    assert predicted.size_bytes == pytest.approx(2e6)
    assert predicted.seconds == pytest.approx(10 + 8 * 1e4 * 1e-4)
    assert predicted.drop is None


def test_a_measured_shape_tells_its_own_latency_and_a_whole_training_half_of_the_drop() -> None:
    half = student("half", 50.0)
    short = Outcome("half", 2, seconds=12.0, drop=0.06, p50_ms=3.0, p95_ms=6.0, speedup=5.0, size_bytes=1_000_000)
    predicted = predict(half, 8, [short], [half], PRIOR)
    assert (predicted.p50_ms, predicted.p95_ms, predicted.speedup) == (3.0, 6.0, 5.0)
    assert predicted.drop == pytest.approx(0.06 * DROP_LEFT)


def test_what_whole_trainings_kept_of_the_drop_is_learned() -> None:
    both = [student("half", 50.0), student("third", 33.0)]
    outcomes = [
        Outcome("half", 2, seconds=1.0, drop=0.1, p50_ms=2.0),
        Outcome("half", 8, seconds=1.0, drop=0.02, p50_ms=2.0),
        Outcome("third", 2, seconds=1.0, drop=0.2, p50_ms=1.0),
    ]
    assert predict(both[1], 8, outcomes, both, PRIOR).drop == pytest.approx(0.2 * 0.2)


def test_a_smaller_one_of_the_same_method_is_believed_to_lose_no_less() -> None:
    both = [student("half", 50.0), student("third", 33.0)]
    outcomes = [Outcome("half", 2, seconds=1.0, drop=0.1, p50_ms=2.0)]
    assert predict(both[1], 2, outcomes, both, PRIOR).drop == pytest.approx(0.1)


@pytest.mark.parametrize(("epochs", "rungs"), [(0, (0,)), (1, (1,)), (3, (1, 3)), (12, (3, 12))])
def test_a_short_training_comes_before_the_whole(epochs: int, rungs: tuple[int, ...]) -> None:
    assert Candidate("a", "b", (), {}, 1.0, 1.0, epochs=epochs).rungs == rungs
