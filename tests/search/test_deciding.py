"""What is tried next, and when a search stops, with outcomes that were planted: nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from compress.search.deciding import Next, Stop, best_of, decide, front_of
from compress.search.goals import Goals, Outcome, distance
from compress.search.prediction import Candidate, Prior

PRIOR = Prior(10.0, 100.0, 4.0, 1.0, 10.0, 1e-4)
PLAIN = [Candidate("whole", "none", (), {}, 100.0, 40e6)]
DEPTHS = [
    Candidate(f"layers_{layers}", "drop_layers", (), {}, layers * 25.0, 20e6 + layers * 5e6, epochs=4, work=1e5)
    for layers in (1, 2, 3)
]
CANDIDATES = [*PLAIN, *DEPTHS]
DROPS = {"whole": 0.001, "layers_3": 0.004, "layers_2": 0.02, "layers_1": 0.2}


def planted(drops: Mapping[str, float] = DROPS, *, ms_per_mac: float = 0.02) -> Callable[[Next], Outcome]:
    """The truth: latency goes with multiply-adds, and a short training loses twice as much."""

    def run(trial: Next) -> Outcome:
        candidate = trial.candidate
        is_short = bool(candidate.epochs) and trial.epochs < candidate.epochs
        drop, ms = drops[candidate.name] * (2 if is_short else 1), candidate.macs * ms_per_mac
        seconds = PRIOR.trial_seconds + candidate.work * trial.epochs * PRIOR.seconds_per_mac
        return Outcome(
            candidate.name,
            trial.epochs,
            seconds=seconds,
            drop=drop,
            drop_ci95=(drop - 0.005, drop + 0.005),
            p50_ms=ms,
            p95_ms=1.2 * ms,
            speedup=10 / ms,
            size_bytes=int(candidate.parameters),
        )

    return run


def searched(
    goals: Goals, seconds: float = 1e6, run: Callable[[Next], Outcome] | None = None, candidates: list[Candidate] = CANDIDATES
) -> tuple[Stop, list[Outcome]]:
    run, outcomes = run or planted(), list[Outcome]()
    for _ in range(50):
        spent = sum(outcome.seconds for outcome in outcomes)
        step = decide(goals, candidates, outcomes, PRIOR, seconds - spent)
        if isinstance(step, Stop):
            return step, outcomes
        outcomes.append(run(step))
    raise AssertionError("it never stops")


def trials(outcomes: list[Outcome]) -> list[tuple[str, int]]:
    return [(outcome.candidate, outcome.epochs) for outcome in outcomes]


def test_what_trains_nothing_is_first_and_enough_where_it_meets_the_goals() -> None:
    stop, outcomes = searched(Goals(max_drop=0.01, p50_ms=3.0))
    assert trials(outcomes) == [("whole", 0)]
    assert (stop.reason, stop.meets, stop.best) == ("met", True, outcomes[0])


def test_the_best_of_a_planted_front_is_chosen() -> None:
    stop, outcomes = searched(Goals(max_drop=0.005, p50_ms=1.6))
    assert stop.meets
    assert stop.best is not None
    assert (stop.best.candidate, stop.best.epochs) == ("layers_3", 4)
    assert ("layers_1", 4) not in trials(outcomes)


@pytest.mark.parametrize(("max_drop", "wins"), [(0.002, "whole"), (0.01, "layers_3"), (0.03, "layers_2"), (0.5, "layers_1")])
def test_without_a_limit_of_time_or_size_the_fastest_within_the_drop_wins(max_drop: float, wins: str) -> None:
    stop, _ = searched(Goals(max_drop=max_drop))
    assert stop.meets
    assert stop.best is not None
    assert stop.best.candidate == wins


def test_a_short_training_that_loses_far_too_much_is_not_made_whole() -> None:
    _, outcomes = searched(Goals(max_drop=0.01))
    assert ("layers_1", 1) in trials(outcomes)
    assert ("layers_1", 4) not in trials(outcomes)


def test_goals_out_of_reach_are_recognised_and_the_nearest_is_named() -> None:
    goals = Goals(max_drop=0.01, speedup=60)
    stop, outcomes = searched(goals)
    assert (stop.reason, stop.meets) == ("out of reach", False)
    assert stop.best in outcomes
    assert all(distance(goals, stop.best) <= distance(goals, outcome) for outcome in outcomes)


def test_what_is_predicted_too_slow_is_not_trained_once_speeds_are_known() -> None:
    plain = [Candidate(f"cut_{macs}", f"cut_{macs}", (), {}, float(macs), 1e6) for macs in (100, 75, 50)]
    slow = Candidate("ffn_half", "prune_ffn", (), {}, 90.0, 1e6, epochs=4, work=1e5)
    drops = {"cut_100": 0.0, "cut_75": 0.2, "cut_50": 0.3, "ffn_half": 0.0}
    stop, outcomes = searched(Goals(p50_ms=0.2), run=planted(drops), candidates=[*plain, slow])
    assert trials(outcomes) == [("cut_100", 0), ("cut_75", 0), ("cut_50", 0)]
    assert (stop.reason, stop.meets) == ("out of reach", False)


@pytest.mark.parametrize("seconds", [5, 25, 60, 100, 150, 250])
def test_the_time_spent_exceeds_the_budget_by_no_more_than_one_trial(seconds: float) -> None:
    def slower(trial: Next) -> Outcome:
        outcome = planted()(trial)
        return Outcome(**{**vars(outcome), "seconds": 3 * outcome.seconds})

    stop, outcomes = searched(Goals(max_drop=0.002, speedup=8), seconds, slower)
    assert sum(outcome.seconds for outcome in outcomes[:-1]) <= seconds
    assert stop.reason in ("time", "out of reach", "nothing left", "met")


def test_a_short_training_does_not_begin_where_the_whole_one_does_not_fit() -> None:
    stop, outcomes = searched(Goals(max_drop=0.01, speedup=6), seconds=10 + 45)
    assert trials(outcomes) == [("whole", 0)]
    assert stop.reason == "time"


def test_what_failed_is_not_tried_again_and_never_wins() -> None:
    def breaks(trial: Next) -> Outcome:
        if trial.candidate.name == "layers_3":
            return Outcome("layers_3", trial.epochs, "failed", 5.0, error="no memory")
        return planted()(trial)

    stop, outcomes = searched(Goals(max_drop=0.03, speedup=7), run=breaks)
    assert trials(outcomes).count(("layers_3", 1)) == 1
    assert ("layers_3", 4) not in trials(outcomes)
    assert stop.best is not None
    assert stop.best.candidate == "layers_2"


def test_nothing_measured_is_no_best() -> None:
    failed = [Outcome("whole", 0, "failed", error="x")]
    assert best_of(Goals(), failed) is None
    assert decide(Goals(), PLAIN, failed, PRIOR, 1e6) == Stop("nothing left", None, False)


def test_the_same_outcomes_give_the_same_decision_so_that_a_stopped_search_goes_on() -> None:
    _, outcomes = searched(Goals(max_drop=0.01, speedup=6))
    for number in range(len(outcomes)):
        step = decide(Goals(max_drop=0.01, speedup=6), CANDIDATES, outcomes[:number], PRIOR, 1e6)
        assert isinstance(step, Next)
        assert (step.candidate.name, step.epochs) == trials(outcomes)[number]


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    given = [
        Outcome(name, 0, drop=drop, p50_ms=ms)
        for name, drop, ms in (("a", 0.0, 3.0), ("b", 0.1, 1.0), ("c", 0.1, 2.0), ("d", 0.05, 2.5), ("e", 0.06, 2.6))
    ]
    assert [outcome.candidate for outcome in front_of(given)] == ["b", "d", "a"]
