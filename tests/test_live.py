"""What a run shows of itself: its stages, how long each will go on, on a terminal and elsewhere."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from compress.live import LiveView, Stage, stages_of
from compress.recipe.plan import Export, Plan, Step

PLAN = Plan(
    "demo",
    1,
    "m",
    {},
    (Step("fine_tune", {"epochs": 1}, "teacher"), Step("drop_layers", {}, "drop"), Step("distill", {"epochs": 1}, "student")),
    (Export("onnxruntime-cpu", {}), Export("onnxruntime-cpu-int8", {})),
)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def first_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("LINES", "40")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def view(clock: Clock, stream: io.StringIO) -> LiveView:
    return LiveView("demo", stages_of(PLAN), stream=stream, clock=clock)


@pytest.fixture
def own_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("compress")
    before = logger.handlers[:], logger.level, logger.propagate
    yield logger
    logger.handlers[:], logger.level, logger.propagate = before


def states(view: LiveView) -> dict[str, str]:
    return {stage.name: stage.state for stage in view.stages}


def test_the_rows_are_steps_then_exports_then_measuring(view: LiveView) -> None:
    rows = [(stage.name, stage.kind, stage.state) for stage in view.stages]
    assert rows == [
        ("teacher", "fine_tune", "waiting"),
        ("drop", "drop_layers", "waiting"),
        ("student", "distill", "waiting"),
        ("onnxruntime-cpu", "export", "waiting"),
        ("onnxruntime-cpu-int8", "export", "waiting"),
        ("measure", "", "waiting"),
    ]


def test_a_later_stage_ends_the_ones_before_it(view: LiveView, clock: Clock) -> None:
    with view:
        view("teacher: train", 1, 10)
        clock.now += 7
        view("student: train", 1, 10)
        assert states(view) | {"teacher": "done", "drop": "done", "student": "running"} == states(view)
        assert view.stages[0].seconds == 7
        assert view.stages[1].seconds is None  # nobody saw it start


def test_a_step_that_trains_but_told_nothing_was_reused(view: LiveView) -> None:
    with view:
        view("student: train", 1, 10)
        assert states(view)["teacher"] == "reused"
        view("export: onnxruntime-cpu-int8", 0, 1)
        assert states(view)["onnxruntime-cpu"] == "reused"


def test_a_step_that_says_so_was_reused(view: LiveView) -> None:
    with view:
        view("drop: reused", 1, 1)
        assert states(view)["drop"] == "reused"


def test_an_export_is_done_when_it_says_so(view: LiveView, clock: Clock) -> None:
    with view:
        view("export: onnxruntime-cpu", 0, 1)
        assert states(view)["onnxruntime-cpu"] == "running"
        clock.now += 2
        view("export: onnxruntime-cpu", 1, 1)
        assert states(view)["onnxruntime-cpu"] == "done"
        assert view.stages[3].seconds == 2


def test_the_end_of_the_block_ends_every_stage(view: LiveView) -> None:
    with view:
        view("measure: time a", 0, 2)
    assert set(states(view).values()) <= {"done", "reused"}
    assert states(view)["measure"] == "done"


def test_an_error_stops_the_running_stage_and_leaves_the_rest_waiting(view: LiveView, stream: io.StringIO) -> None:
    def broken() -> None:
        with view:
            view("teacher: train", 1, 10)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        broken()
    assert states(view)["teacher"] == "stopped"
    assert states(view)["student"] == "waiting"
    assert "teacher: stopped" in stream.getvalue()


def test_the_check_of_the_labels_gets_a_row_in_front(view: LiveView) -> None:
    with view:
        view("check the labels", 1, 3)
        view("teacher: train", 1, 10)
        assert list(states(view).items())[:2] == [("check the labels", "done"), ("teacher", "running")]


def test_another_seed_starts_the_rows_anew(view: LiveView) -> None:
    with view:
        for what in ("check the labels", "teacher: train", "measure: time a", "check the labels", "teacher: train"):
            view(what, 1, 10)
        assert states(view) == {"check the labels": "done", "teacher": "running"} | dict.fromkeys(
            ("drop", "student", "onnxruntime-cpu", "onnxruntime-cpu-int8", "measure"), "waiting"
        )


def test_what_nobody_planned_is_passed_over(view: LiveView) -> None:
    with view:
        view("someone: train", 1, 10)
        view("export: nowhere", 0, 1)
        assert set(states(view).values()) == {"waiting"}


def test_a_step_called_like_an_export_is_told_apart(stream: io.StringIO) -> None:
    plan = Plan("x", 1, "m", {}, (Step("fine_tune", {"epochs": 1}, "export"),), (Export("train", {}),))
    view = LiveView("x", stages_of(plan), stream=stream)
    with view:
        view("export: select", 1, 2)
        assert [stage.state for stage in view.stages] == ["running", "waiting", "waiting"]


def test_time_left_follows_the_pace_since_the_first_word(view: LiveView, clock: Clock) -> None:
    with view:
        view("teacher: train", 500, 1000)  # a resumed run: the 500 were not done now
        clock.now += 10
        view("teacher: train", 600, 1000, loss=0.25, examples_per_second=512.4)
        # 100 steps in 10 s, 400 to go
        assert view.stages[0].words(clock.now) == "train 600 of 1000, loss 0.2500, 512 examples/s, 40.0 s left"


def test_time_left_of_training_survives_the_selection_between_epochs(view: LiveView, clock: Clock) -> None:
    with view:
        view("teacher: train", 0, 30)
        clock.now += 8
        view("teacher: train", 10, 30)
        clock.now += 2
        view("teacher: select", 1, 1)
        view("teacher: train", 10, 30)
        assert view.stages[0].seconds_left(clock.now) == 20  # 10 s for a third


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


def test_plain_lines_come_every_thirty_seconds_at_most(view: LiveView, clock: Clock, stream: io.StringIO) -> None:
    with view:
        for step in range(1, 101):
            view("teacher: train", step, 100)
            clock.now += 1
        assert [line.partition(",")[0] for line in stream.getvalue().splitlines()] == [
            "teacher: train 31 of 100",
            "teacher: train 61 of 100",
            "teacher: train 91 of 100",
        ]


def test_plain_lines_tell_start_and_end_of_what_the_log_does_not_tell(
    view: LiveView, clock: Clock, stream: io.StringIO
) -> None:
    with view:
        view("check the labels", 1, 2)
        view("check the labels", 2, 2)
        clock.now += 3
        view("teacher: train", 1, 10)
        view("export: onnxruntime-cpu", 0, 1)
        clock.now += 65
        view("export: onnxruntime-cpu", 1, 1)
        view("measure: time a", 0, 2)
        clock.now += 4
    assert stream.getvalue().splitlines() == [
        "check the labels starts",
        "check the labels: done after 3.0 s",
        "export to onnxruntime-cpu: done after 1 min 05 s",
        "export to onnxruntime-cpu-int8: reused",
    ]


def test_measurements_taken_from_the_cache_are_told(view: LiveView, stream: io.StringIO) -> None:
    with view:
        view("export: onnxruntime-cpu-int8", 0, 1)
    assert stream.getvalue().splitlines()[-1] == "measure: reused"


def test_a_stage_that_is_not_logged_tells_its_start_and_end(clock: Clock, stream: io.StringIO) -> None:
    with LiveView("bench", [Stage("measure", tells=True)], stream=stream, clock=clock) as view:
        view("measure: time a", 0, 2)
        clock.now += 4
    assert stream.getvalue().splitlines() == ["measure starts", "measure: done after 4.0 s"]


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_shows_nothing(terminal: bool, clock: Clock) -> None:
    stream = Terminal() if terminal else io.StringIO()
    with LiveView("demo", stages_of(PLAN), quiet=True, stream=stream, clock=clock) as view:
        view("measure: time a", 0, 2)
    assert stream.getvalue() == ""


def test_only_the_first_process_shows_anything(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    for rank, is_shown in (("1", False), ("0", True)):
        monkeypatch.setenv("RANK", rank)
        stream = Terminal()
        with LiveView("demo", stages_of(PLAN), stream=stream, clock=clock) as view:
            view("measure: time a", 0, 2)
        assert bool(stream.getvalue()) is is_shown


def test_a_terminal_sees_states_a_bar_and_facts(clock: Clock) -> None:
    stream = Terminal()
    with LiveView("demo", stages_of(PLAN), stream=stream, clock=clock) as view:
        view("student: train", 5, 10, loss=0.5)
    shown = stream.getvalue()
    for part in ("demo", "teacher", "reused", "running", "train 5 of 10, loss 0.5000", "\u2501", "onnxruntime-cpu-int8"):
        assert part in shown


def test_a_terminal_is_redrawn_four_times_a_second_at_most(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[float] = []
    with LiveView("demo", stages_of(PLAN), stream=Terminal(), clock=clock) as view:
        view("teacher: train", 1, 1000)
        assert view._live is not None
        monkeypatch.setattr(view._live, "refresh", lambda: drawn.append(clock.now))
        for step in range(2, 102):  # one second in steps of ten milliseconds
            clock.now = 100 + step / 100
            view("teacher: train", step, 1000)
        assert 3 <= len(drawn) <= 4


def test_log_lines_go_above_the_view_and_back_to_stderr(
    clock: Clock, own_logger: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    handler = logging.StreamHandler(stream)
    own_logger.handlers[:] = [handler]
    own_logger.setLevel(logging.INFO)
    with LiveView("demo", stages_of(PLAN), clock=clock) as view:
        view("teacher: train", 1, 10)
        before = len(stream.getvalue())
        own_logger.info("epoch 1: [bold]accuracy[/bold] 0.9")
        after = stream.getvalue()[before:]
        assert "epoch 1: [bold]accuracy[/bold] 0.9" in after  # brackets are no markup
        assert "student" in after.partition("epoch 1")[2]  # and the view stands below it again
        assert handler.stream is not stream
    assert handler.stream is stream


def test_a_low_terminal_shows_the_running_stage(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setenv("LINES", "6")
    steps = tuple(Step("fine_tune", {"epochs": 1}, f"step{number:02d}") for number in range(30))
    stream = Terminal()
    with LiveView("demo", stages_of(Plan("x", 1, "m", {}, steps, ())), stream=stream, clock=clock) as view:
        view("step20: train", 1, 10)
        shown = stream.getvalue()
    assert "step20" in shown
    assert "step05" not in shown
