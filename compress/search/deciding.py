"""Which trial is next, and when to stop: a function of goals, what was measured, and the time that is left; trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from compress.search.goals import BYTES_PER_MB, Goals, Outcome, distance, misses
from compress.search.prediction import SHORT_MISTAKE, Candidate, Predicted, Prior, predict

SPEED_MISTAKE = 1.5
"""A candidate is tried when its file would be fast and small enough with a prediction that is wrong by so much."""
SURE = 3
"""So many measured files make predictions of speed and size worth leaving candidates out for."""
Reason = Literal["met", "out of reach", "nothing left", "time"]


@dataclass(frozen=True)
class Next:
    """Run this trial."""

    candidate: Candidate
    epochs: int
    predicted: Predicted


@dataclass(frozen=True)
class Stop:
    """Look no further.

    Args:
        reason: "met"; "out of reach", where every candidate that is left is predicted to miss the goals; "nothing left", where
            there is none; "time".
        best: The outcome that meets the goals and is fastest, else the nearest; None where nothing was measured.
        meets: Whether it meets them.
    """

    reason: Reason
    best: Outcome | None
    meets: bool


def decide(
    goals: Goals,
    candidates: Sequence[Candidate],
    outcomes: Sequence[Outcome],
    prior: Prior,
    seconds_left: float,
) -> Next | Stop:
    """Choose the next trial, or stop.

    What trains nothing goes first, whatever it is predicted to give: it is cheap, and what it measures makes the predictions.
    Then short trainings, of the largest model first that will be fast and small enough; then whole ones of those that are
    predicted to lose least. A short one begins only where its whole one will fit in the time too.

    Args:
        goals: What is wanted.
        candidates: In any order.
        outcomes: In the order in which they were measured.
        prior: What is believed beside them.
        seconds_left: Without what the end needs.
    """
    best = best_of(goals, outcomes)
    meets = best is not None and not misses(goals, best)
    if meets and goals.has_end:
        return Stop("met", best, True)
    open_trials = list(_open_trials(candidates, outcomes, prior))
    wanted = [trial for trial in open_trials if _is_worth_it(trial, goals, candidates, outcomes, best if meets else None)]
    fitting = [trial for trial in wanted if _needs(trial, candidates, outcomes, prior) <= seconds_left]
    if fitting:
        return min(fitting, key=_order)
    if wanted:
        return Stop("time", best, meets)
    return Stop("out of reach" if open_trials and not meets else "nothing left", best, meets)


def best_of(goals: Goals, outcomes: Sequence[Outcome]) -> Outcome | None:
    """The fastest that meets the goals; where none does, the nearest."""
    measured = [outcome for outcome in outcomes if outcome.is_measured]
    return min(measured, key=lambda outcome: (distance(goals, outcome), outcome.p50_ms), default=None)


def front_of(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The measured outcomes that no other one beats in both drop and latency, the fastest first."""
    front: list[Outcome] = []
    least = float("inf")
    measured = [outcome for outcome in outcomes if outcome.drop is not None and outcome.p50_ms is not None]
    for outcome in sorted(measured, key=lambda outcome: (outcome.p50_ms, outcome.drop)):
        if outcome.is_measured and outcome.drop is not None and outcome.drop < least:
            least = outcome.drop
            front.append(outcome)
    return front


def _open_trials(candidates: Sequence[Candidate], outcomes: Sequence[Outcome], prior: Prior) -> list[Next]:
    """The next trial of each candidate that has one."""
    trials = []
    for candidate in candidates:
        own = [outcome for outcome in outcomes if outcome.candidate == candidate.name]
        if any(not outcome.is_measured for outcome in own):
            continue
        done = {outcome.epochs for outcome in own}
        left = [epochs for epochs in candidate.rungs if epochs not in done]
        if left:
            trials.append(Next(candidate, left[0], predict(candidate, left[0], outcomes, candidates, prior)))
    return trials


def _is_worth_it(
    trial: Next, goals: Goals, candidates: Sequence[Candidate], outcomes: Sequence[Outcome], kept: Outcome | None
) -> bool:
    predicted = trial.predicted
    if kept is not None and kept.p50_ms is not None and predicted.p50_ms >= kept.p50_ms and trial.candidate.epochs:
        return False  # it cannot win
    measured = [outcome for outcome in outcomes if outcome.is_measured]
    own = any(outcome.candidate == trial.candidate.name for outcome in measured)
    if trial.candidate.epochs and (own or len({outcome.candidate for outcome in measured}) >= SURE):
        mistake = 1.0 if own else SPEED_MISTAKE
        if (
            (goals.p50_ms is not None and predicted.p50_ms > goals.p50_ms * mistake)
            or (goals.p95_ms is not None and predicted.p95_ms > goals.p95_ms * mistake)
            or (goals.speedup is not None and predicted.speedup * mistake < goals.speedup)
            or (goals.max_mb is not None and predicted.size_bytes > goals.max_mb * BYTES_PER_MB * mistake)
        ):
            return False
    if predicted.drop is None:
        return True
    is_whole = trial.epochs == trial.candidate.rungs[-1]
    return not is_whole or predicted.drop <= goals.max_drop + _doubt(trial, measured)


def _doubt(trial: Next, measured: Sequence[Outcome]) -> float:
    """By how much less than predicted a trial may lose: half of its interval, or what short trainings are wrong by."""
    halves = [
        (outcome.drop_ci95[1] - outcome.drop_ci95[0]) / 2
        for outcome in measured
        if outcome.candidate == trial.candidate.name and outcome.drop_ci95 is not None
    ]
    return max([SHORT_MISTAKE, *halves])


def _needs(trial: Next, candidates: Sequence[Candidate], outcomes: Sequence[Outcome], prior: Prior) -> float:
    """Seconds of a trial, and of the whole training that it is the begin of."""
    later = [epochs for epochs in trial.candidate.rungs if epochs > trial.epochs]
    return trial.predicted.seconds + sum(
        predict(trial.candidate, epochs, outcomes, candidates, prior).seconds for epochs in later
    )


def _order(trial: Next) -> tuple[int, float, float]:
    if not trial.candidate.epochs:
        return 0, 0.0, -trial.candidate.macs
    if trial.epochs != trial.candidate.rungs[-1]:
        return 1, 0.0, -trial.candidate.macs
    return 2, 0.0 if trial.predicted.drop is None else trial.predicted.drop, -trial.candidate.macs
