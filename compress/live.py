"""What a terminal sees of a run: how far it is, in one view of the whole recipe; plain lines anywhere else.

rich draws. Its Progress, which has no stages and tells no time left of an activity that comes twice, does not keep the state.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from compress.recipe.plan import Plan
from compress.record import duration, number

State = Literal["waiting", "running", "reused", "done", "stopped"]
STYLES = {"waiting": "dim", "running": "bold cyan", "reused": "green", "done": "green", "stopped": "red"}

CHECK, MEASURE, SEED = "check the labels", "measure", "seed"
STARTS, REUSED, DONE = "starts", "reused", "done"
REFRESH_SECONDS = 0.25
LINE_SECONDS = 30.0
BAR_WIDTH = 24


@dataclass
class Pace:
    """How far an activity has come since it began; where it begins anew, as a second search does, so does this.

    Args:
        since: When it was first told of.
        first: How far it was then.
        total: Of how much.
        latest: How far it was when it was last told of.
    """

    since: float
    first: int
    total: int
    latest: int = 0

    def is_over(self, done: int, total: int) -> bool:
        """Whether what is told now is of another round: of another length, from its start again, or after the end."""
        return total != self.total or done < self.latest or (self.latest >= self.total and done != self.latest)


@dataclass(eq=False)
class Stage:
    """One row of the view.

    Args:
        name: What it is called.
        kind: The method of a step, "export", or empty.
        tells: Whether it tells of its progress whenever it is computed; if it told nothing, it was taken from the cache.
        is_logged: Whether the log tells when it starts and ends.
        state: waiting, running, reused, done or stopped.
        started: When, on the view's clock.
        seconds: How long it took, once it is over and if it was seen to start.
        activity: What it does now ("train", "select"), and how far that is: `done` of `total`.
        facts: Numbers that it told last.
        paces: How fast each activity goes; the rest of the time is worked out from it.
    """

    name: str
    kind: str = ""
    tells: bool = False
    is_logged: bool = False
    state: State = "waiting"
    started: float = 0.0
    seconds: float | None = None
    activity: str = ""
    done: int = 0
    total: int = 0
    facts: dict[str, float] = field(default_factory=dict)
    paces: dict[str, Pace] = field(default_factory=dict)

    def advance(self, activity: str, done: int, total: int, facts: dict[str, float], now: float) -> None:
        """Note how far an activity is; the first one starts the stage."""
        if self.state != "running":
            self.state, self.started, self.seconds = "running", now, None
        self.activity, self.done, self.total, self.facts = activity, done, total, dict(facts)
        pace = self.paces.get(_verb(activity))
        if pace is None or pace.is_over(done, total):
            self.paces[_verb(activity)] = pace = Pace(now, done, total)
        pace.latest = done

    def end(self, state: State, now: float) -> None:
        """Take a last state."""
        if self.state == "running":
            self.seconds = now - self.started
        self.state = state

    def seconds_left(self, now: float) -> float | None:
        """How long the activity will go on at its pace so far; None before there is one."""
        pace = self.paces.get(_verb(self.activity))
        if pace is None or self.done <= pace.first or self.total <= self.done:
            return None
        return (now - pace.since) * (self.total - self.done) / (self.done - pace.first)

    def words(self, now: float) -> str:
        """Say what it does and how far that is: "train 120 of 900, loss 0.3120, 480 examples/s, 2 min 10 s left"."""
        said = [f"{self.activity} {self.done} of {self.total}" if self.total > 1 else self.activity]
        for name, value in self.facts.items():
            if name == "examples_per_second":
                said.append(f"{number(value, 0)} examples/s")
            else:
                said.append(f"{name.replace('_', ' ')} {number(value, 4)}")
        left = self.seconds_left(now)
        return ", ".join([*(part for part in said if part), *([f"{duration(left)} left"] if left is not None else [])])


def _verb(activity: str) -> str:
    return activity.partition(" ")[0]


def stages_of(plan: Plan) -> list[Stage]:
    """The rows of a plan: its steps, its exports, the measuring."""
    steps = [Stage(step.name, step.method, "epochs" in step.arguments, is_logged=True) for step in plan.steps]
    return [
        *steps,
        *(Stage(export.target, "export", tells=True) for export in plan.exports),
        Stage(MEASURE, tells=True, is_logged=True),
    ]


class LiveView:
    """Follow a run; pass it as `progress`, inside a `with` block.

    Within the block the toolkit's log lines go above the view. A recipe that is run again with another seed starts the rows
    anew. Without a terminal the log tells when steps start and end, so only what the log does not tell is written: the
    check of the labels, the end of an export, and how far a stage is, at most every 30 seconds.

    Args:
        title: Its heading, such as the recipe's name.
        stages: Its rows in the order of the run, `stages_of(plan)` for a recipe.
        quiet: Show nothing.
        stream: Where to; stderr if None.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        title: str,
        stages: list[Stage],
        *,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stages = stages
        self._title, self._clock = title, clock
        self._console = Console(file=stream or sys.stderr)
        self._is_silent = quiet or os.environ.get("RANK", "0") != "0"
        # FORCE_COLOR makes a terminal of a file for rich; lines that move are for real ones alone.
        self._is_live = self._console.file.isatty() and not self._console.is_dumb_terminal
        self._live: Live | None = None
        self._streams: list[tuple[logging.StreamHandler[Any], Any]] = []
        self._drawn = self._printed = float("-inf")
        self._reached = -1
        self._round = 1

    def __enter__(self) -> LiveView:
        if self._is_live and not self._is_silent:
            self._live = Live(get_renderable=self._table, console=self._console, auto_refresh=False, redirect_stdout=False)
            own = [handler for handler in logging.getLogger("compress").handlers if type(handler) is logging.StreamHandler]
            self._streams = [(handler, handler.stream) for handler in own if handler.stream is self._console.file]
            self._live.start(refresh=True)
            for handler, _ in self._streams:
                handler.setStream(sys.stderr)  # what stands there now prints above the view
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        now = self._clock()
        if kind is None:
            self._pass_over(len(self.stages), now)
        for stage in self.stages:
            if stage.state == "running":
                self._end(stage, "stopped", now)
        if self._live is not None:
            for handler, stream in self._streams:
                handler.setStream(stream)
            self._live.refresh()
            self._live.stop()

    def __call__(self, what: str, done: int, total: int, **facts: float) -> None:
        """Take note of progress; see `compress.log.Progress`.

        Args:
            what: "<step>: train", "export: <target>", "measure: time <subject>", "check the labels", ...; "<step>: reused" and
                "<step>: done" end a step, and "seed" begins the run of the next seed. Anything unknown is passed over.
            done: How far.
            total: Of how much.
            facts: Numbers to show beside it.
        """
        if what == SEED and self._reached >= 0:
            self._start_anew(self._clock())
        pair = self._find(what)
        if self._is_silent or pair is None:
            return
        stage, activity = pair
        now = self._clock()
        stage = self._move_to(self.stages.index(stage), now)
        if activity in (REUSED, DONE):
            stage.facts = dict(facts)
            self._end(stage, "reused" if activity == REUSED else "done", now)
        else:
            is_new = stage.state != "running"
            stage.advance("" if activity == STARTS else activity, done, total, facts, now)
            if is_new:
                self._tell_start(stage, now)
            if stage.kind == "export" and total and done >= total:
                self._end(stage, "done", now)
        self._draw(stage, now)

    def _find(self, what: str) -> tuple[Stage, str] | None:
        """The stage that is meant, and what it does; the check of the labels gets a row when it is first told of."""
        if what == CHECK:
            if self.stages[0].name != CHECK or self.stages[0].kind:
                self.stages.insert(0, Stage(CHECK))
                self._reached += self._reached >= 0
            return self.stages[0], "predict"
        for stage in self.stages:
            if stage.kind == "export" and what == f"export: {stage.name}":
                return stage, "export"
        for stage in self.stages:
            if stage.kind != "export" and what.startswith(f"{stage.name}: "):
                return stage, what.removeprefix(f"{stage.name}: ")
        return (self.stages[-1], "") if what == MEASURE else None

    def _move_to(self, index: int, now: float) -> Stage:
        if index < self._reached:  # the recipe is run again
            self._start_anew(now)
        self._pass_over(index, now)
        self._reached = index
        return self.stages[index]

    def _start_anew(self, now: float) -> None:
        self._pass_over(len(self.stages), now)
        self.stages = [Stage(stage.name, stage.kind, stage.tells, stage.is_logged) for stage in self.stages]
        self._round, self._reached = self._round + 1, -1

    def _pass_over(self, index: int, now: float) -> None:
        """End the stages before that one: what trains or exports tells of it, unless it was made before."""
        for stage in self.stages[:index]:
            if stage.state == "running":
                self._end(stage, "done", now)
            elif stage.state == "waiting":
                self._end(stage, "reused" if stage.tells else "done", now)

    def _end(self, stage: Stage, state: State, now: float) -> None:
        if stage.state in ("waiting", "running"):
            stage.end(state, now)
            if not stage.is_logged or state == "stopped" or (state == "reused" and stage.name == MEASURE):
                took = f" after {duration(stage.seconds)}" if stage.seconds is not None else ""
                self._line(f"{_title(stage)}: {state}{took}", now)
            self._drawn = float("-inf")

    def _tell_start(self, stage: Stage, now: float) -> None:
        if not stage.is_logged and stage.kind != "export":  # the log tells that an export starts
            self._line(f"{_title(stage)} starts", now)
        self._printed, self._drawn = now, float("-inf")

    def _draw(self, stage: Stage, now: float) -> None:
        if self._live is not None:
            if now - self._drawn >= REFRESH_SECONDS:
                self._drawn = now
                self._live.refresh()
        elif stage.state == "running" and now - self._printed >= LINE_SECONDS:
            self._line(f"{_title(stage)}: {stage.words(now)}", now)

    def _line(self, text: str, now: float) -> None:
        if self._live is None and not self._is_silent:
            self._console.file.write(text + "\n")
            self._console.file.flush()
            self._printed = now

    def _table(self) -> Table:
        """The view; where the terminal is too low for all rows, those around the running one."""
        now = self._clock()
        head = self._title if self._round == 1 else f"{self._title}, run {self._round}"
        table = Table(title=Text(head, "bold"), title_justify="left", box=None, show_header=False, padding=(0, 2, 0, 0))
        room = max(1, self._console.height - 3)
        running = next((index for index, stage in enumerate(self.stages) if stage.state == "running"), max(0, self._reached))
        first = max(0, min(running - room // 2, len(self.stages) - room))
        for stage in self.stages[first : first + room]:
            is_running = stage.state == "running"
            bar = ProgressBar(max(stage.total, 1), stage.done, width=BAR_WIDTH) if is_running else Text("")
            seconds = now - stage.started if is_running else stage.seconds
            said = stage.words(now) if is_running else ""
            table.add_row(
                Text(stage.name),
                Text("" if stage.kind == stage.name else stage.kind, "dim"),
                Text(stage.state, STYLES[stage.state]),
                Text("" if seconds is None else duration(seconds)),
                bar,
                Text(said, no_wrap=True, overflow="ellipsis"),
            )
        return table


def _title(stage: Stage) -> str:
    return f"export to {stage.name}" if stage.kind == "export" else stage.name
