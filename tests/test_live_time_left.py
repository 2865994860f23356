"""How long an activity of a run will go on, where it comes twice."""

from __future__ import annotations

import io

import pytest

from compress.live import LiveView, stages_of
from compress.recipe.plan import Plan, Step
from tests.test_live import PLAN, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def view(clock: Clock, stream: io.StringIO) -> LiveView:
    return LiveView("demo", stages_of(PLAN), stream=stream, clock=clock)


@pytest.mark.parametrize(
    ("first", "pause", "second"),
    [
        ("search", 3600, "search"),
        ("train", 600, "train"),
        ("prune", 60, "prune"),
        ("teacher", 5, "teacher"),
    ],
)
def test_time_left_of_a_second_round_counts_from_its_own_start(
    view: LiveView, clock: Clock, first: str, pause: int, second: str
) -> None:
    with view:
        for done in range(1, 41):
            view(f"teacher: {first}", done, 40)
            clock.now += 1
        clock.now += pause  # it is trained in between
        view(f"teacher: {second}", 1, 40)
        assert view.stages[0].seconds_left(clock.now) is None  # nothing is known of its pace yet
        clock.now += 2
        view(f"teacher: {second}", 2, 40)
        assert view.stages[0].seconds_left(clock.now) == 2 * 38


def test_time_left_of_the_second_epoch_s_selection_does_not_count_the_training_in_between(
    view: LiveView, clock: Clock
) -> None:
    with view:
        view("teacher: select", 1, 4)
        clock.now += 1
        view("teacher: select", 4, 4)
        clock.now += 900
        view("teacher: train", 10, 20)
        view("teacher: select", 1, 4)
        clock.now += 1
        view("teacher: select", 2, 4)
        assert view.stages[0].seconds_left(clock.now) == 2


@pytest.mark.parametrize(("done", "total"), [(200, 300), (200, 90_000), (4, 300)])
def test_time_left_of_a_round_of_another_length_or_further_on_is_its_own(
    view: LiveView, clock: Clock, done: int, total: int
) -> None:
    """A cut that was trained half the way when the run was killed goes on where it was."""
    with view:
        view("teacher: train", 1, 300)
        clock.now += 10
        view("teacher: train", 299, 300)
        view("teacher: train", 300, 300)
        clock.now += 1000
        view("teacher: train", done, total)
        clock.now += 5
        view("teacher: train", done + 10, total)
        assert view.stages[0].seconds_left(clock.now) == pytest.approx(5 * (total - done - 10) / 10)


def test_time_left_of_a_second_step_of_one_method_is_its_own(clock: Clock, stream: io.StringIO) -> None:
    steps = (Step("distill", {"epochs": 1}, "distill"), Step("distill", {"epochs": 1}, "distill_2"))
    with LiveView("x", stages_of(Plan("x", 1, "m", {}, steps, ())), stream=stream, clock=clock) as view:
        view("distill: train", 1, 10)
        clock.now += 5000
        view("distill: train", 10, 10)
        view("distill_2: train", 1, 10)
        clock.now += 1
        view("distill_2: train", 2, 10)
        assert view.stages[1].seconds_left(clock.now) == 8


def test_time_of_the_next_seed_counts_from_its_own_start(clock: Clock, stream: io.StringIO) -> None:
    """Also where one row alone is told of, as where nothing but the measurement depends on the seed."""
    with LiveView("x", stages_of(Plan("x", 1, "m", {}, (), ())), stream=stream, clock=clock) as view:
        for seed in range(2):
            view("seed", seed, 2)
            view("measure: time a", 0, 4)
            clock.now += 100 + 900 * (1 - seed)
            view("measure: time a", 1, 4)
        assert view.stages[0].seconds_left(clock.now) == 300
        assert clock.now - view.stages[0].started == 100
