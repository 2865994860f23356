from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.errors import InputError
from compress.reporting.comparison import compare, has_same_examples, pairs_of
from compress.reporting.comparison_text import as_json, closing_lines, markdown, table, verdict_lines
from compress.reporting.reading import read_runs
from compress.reporting.verdicts import REGRESSION, UNCLEAR, WITHIN, Limits
from tests.reporting.results import MACHINE, right, run, subject

NAMES = ("before", "after")
DROP = Limits(max_drop=0.01)
SLOWER = Limits(max_slower=0.1)


def quality(before: list[Any], after: list[Any], limits: Limits = DROP) -> tuple[dict[str, Any], list[str]]:
    compared = compare(NAMES, before, after, limits)
    return dict(compared.subjects[-1]["quality"]), list(compared.regressions)


def latency(before: Any, after: Any, limits: Limits = SLOWER) -> tuple[dict[str, Any], list[str]]:
    compared = compare(NAMES, [run(before)], [run(after)], limits)
    return dict(compared.subjects[-1]["latency"]), list(compared.regressions)


def test_two_runs_on_the_same_rows_are_paired_example_by_example() -> None:
    """30 of 1,000 lost and none won: a resample loses a binomial number, of standard deviation sqrt(0.03 * 0.97 / 1000)."""
    before, after = run([subject("int8", right(1000, 100))]), run([subject("int8", right(1000, 130))])
    measured_there, regressions = quality([before], [after])
    assert (measured_there["before"], measured_there["after"], measured_there["paired"]) == (0.9, 0.87, True)
    spread = 1.96 * np.sqrt(0.03 * 0.97 / 1000)
    assert measured_there["drop"]["value"] == pytest.approx(0.03)
    assert measured_there["drop"]["ci95"] == pytest.approx([0.03 - spread, 0.03 + spread], abs=0.002)
    assert measured_there["verdict"] == REGRESSION
    assert regressions == ["int8: accuracy lost 3 points (95 % 2.0 to 4.1), 1 point allowed"]


def test_on_other_rows_the_interval_is_wider_and_says_so() -> None:
    before = run([subject("int8", right(1000, 100))], rows="a")
    after = run([subject("int8", right(1000, 130))], rows="b")
    compared = compare(NAMES, [before], [after], DROP)
    drop = compared.subjects[0]["quality"]["drop"]
    spread = 1.96 * np.sqrt(0.1 * 0.9 / 1000 + 0.13 * 0.87 / 1000)
    assert drop["ci95"] == pytest.approx([0.03 - spread, 0.03 + spread], abs=0.003)
    assert any("unpaired" in note and "other rows" in note for note in compared.notes)


def test_without_values_of_examples_the_interval_comes_from_both_scores_own() -> None:
    """Half widths of 0.02 on each side add up to 0.02 * sqrt(2)."""
    before, after = (run([subject("int8", right(1000, wrong), keeps=False)]) for wrong in (100, 130))
    compared = compare(NAMES, [before], [after], DROP)
    assert compared.subjects[0]["quality"]["drop"]["ci95"] == pytest.approx([0.03 - 0.02 * 2**0.5, 0.03 + 0.02 * 2**0.5])
    assert any("keeps no values of single examples" in note for note in compared.notes)


def test_seeds_are_drawn_with_the_examples() -> None:
    before = [run([subject("int8", right(2000, 200))], seed=seed) for seed in (1, 2)]
    after = [run([subject("int8", right(2000, wrong))], seed=seed) for seed, wrong in ((1, 200), (2, 400))]
    compared = compare(NAMES, before, after, DROP)
    measured_there = compared.subjects[0]["quality"]
    assert measured_there["drop"]["value"] == pytest.approx(0.05)
    assert measured_there["drop"]["ci95"] == pytest.approx([0.0, 0.1], abs=0.012)
    assert measured_there["seeds"] == [2, 2]
    assert any("over seeds and examples" in note for note in compared.notes)


@pytest.mark.parametrize(
    ("lost", "won", "limit", "verdict"),
    [
        (0, 0, 0.01, WITHIN),  # nothing differs
        (5, 0, 0.02, WITHIN),  # the interval of 0.5 points ends below 2
        (5, 0, 0.005, UNCLEAR),  # ... but above half a point
        (25, 20, 0.001, UNCLEAR),  # 0.5 points more than 0.1, which may be noise
        (60, 0, 0.01, REGRESSION),
        (20, 60, 0.0, WITHIN),  # better
    ],
)
def test_a_drop_is_within_its_limit_beyond_it_or_neither(lost: int, won: int, limit: float, verdict: str) -> None:
    before = [1] * 1000
    before[:won] = [0] * won
    after = [1] * 1000
    after[500 : 500 + lost] = [0] * lost
    runs = [run([subject("int8", answers)]) for answers in (before, after)]
    measured_there, regressions = quality([runs[0]], [runs[1]], Limits(max_drop=limit))
    assert measured_there["verdict"] == verdict
    assert bool(regressions) == (verdict == REGRESSION)
    _, proven = quality([runs[0]], [runs[1]], Limits(max_drop=limit, prove=True))
    assert bool(proven) == (verdict != WITHIN)


def test_of_many_files_a_drop_that_is_significant_alone_is_corrected() -> None:
    """7 lost and none won of 1,000 has p = 2 / 2^7 by the sign test; of twenty such comparisons one is no news."""
    names = [f"file{number}" for number in range(20)]
    before = run([subject(name, right(1000, 100)) for name in names])
    after = run([subject(name, right(1000, 107 if name == "file0" else 100)) for name in names])
    alone = quality([run([subject("file0", right(1000, 100))])], [run([subject("file0", right(1000, 107))])], Limits(0.001))[1]
    assert len(alone) == 1
    compared = compare(NAMES, [before], [after], Limits(max_drop=0.001))
    drop = compared.subjects[0]["quality"]["drop"]
    assert drop["p_holm"] == pytest.approx(min(1.0, 20 * drop["p"]))
    assert (compared.regressions == []) == (drop["p_holm"] >= 0.05)


def test_latencies_of_two_machines_have_no_ratio() -> None:
    before = run([subject("int8", [1, 1], ms=2.0)])
    after = run([subject("int8", [1, 1], ms=9.0)], machine=MACHINE | {"cpu": "Another"})
    compared = compare(NAMES, [before], [after], Limits(max_slower=0.1))
    assert compared.subjects[0]["latency"] == {
        "why": "measured on two machines, whose latencies are not compared",
        "verdict": UNCLEAR,
    }
    assert compared.regressions == []
    assert "9.0" not in markdown(compared)
    assert "4.50" not in markdown(compared)
    assert "two machines" in markdown(compared)


def test_more_memory_or_another_kernel_is_no_other_machine() -> None:
    after = run([subject("int8", [1], ms=3.0)], machine=MACHINE | {"memory_bytes": 9, "os": "Linux 7"})
    compared = compare(NAMES, [run([subject("int8", [1], ms=2.0)])], [after])
    assert compared.subjects[0]["latency"]["ratio"] == pytest.approx(1.5)


def test_a_file_that_takes_a_fifth_longer_is_a_regression_of_a_tenth() -> None:
    measured, regressions = latency([subject("int8", [1], ms=2.0)], [subject("int8", [1], ms=2.4)])
    assert measured["ratio"] == pytest.approx(1.2)
    assert measured["verdict"] == REGRESSION
    assert regressions == ["int8: slower by 20.0 %, 10.0 % allowed"]
    assert latency([subject("int8", [1], ms=2.0)], [subject("int8", [1], ms=2.19)])[0]["verdict"] == WITHIN


def test_rounds_that_scatter_leave_it_open_whether_a_file_is_slower() -> None:
    steady, noisy = [2.0, 2.01, 1.99, 2.0, 2.0], [1.5, 4.0, 2.4, 1.6, 3.8]
    measured, regressions = latency(
        [subject("int8", [1], ms=2.0, rounds=steady)], [subject("int8", [1], ms=2.4, rounds=noisy)]
    )
    assert measured["ci95"][0] < 1 < measured["ci95"][1]
    assert (measured["verdict"], regressions) == (UNCLEAR, [])
    slower = [time * 1.2 for time in steady]
    measured, regressions = latency(
        [subject("int8", [1], ms=2.0, rounds=steady)], [subject("int8", [1], ms=2.4, rounds=slower)]
    )
    assert measured["ci95"] == pytest.approx([1.2, 1.2], abs=0.02)
    assert measured["verdict"] == REGRESSION


def test_a_machine_that_was_slower_for_the_baseline_too_explains_a_slower_file() -> None:
    before = [subject("teacher", [1], ms=10.0), subject("int8", [1], ms=2.0)]
    after = [subject("teacher", [1], ms=12.0), subject("int8", [1], ms=2.4)]
    measured, regressions = latency(before, after)
    assert measured["baseline_ratio"] == pytest.approx(1.2)
    assert (measured["verdict"], regressions) == (UNCLEAR, [])
    notes = compare(NAMES, [run(before)], [run(after)]).notes
    assert any("the baseline itself takes 20.0 % longer" in note for note in notes)


def test_sizes_are_held_against_their_limit() -> None:
    before, after = (run([subject("int8", [1], size_bytes=size)]) for size in (1000, 1101))
    compared = compare(NAMES, [before], [after], Limits(max_larger=0.1))
    assert compared.regressions == ["int8: larger by 10.1 %, 10.0 % allowed"]
    assert compare(NAMES, [before], [after], Limits(max_larger=0.11)).regressions == []


def test_a_teacher_that_is_not_shipped_breaks_no_limit() -> None:
    before = [subject("teacher", right(100, 0)), subject("int8", right(100, 0))]
    after = [subject("teacher", right(100, 50)), subject("int8", right(100, 0))]
    assert compare(NAMES, [run(before)], [run(after)], DROP).regressions == []


def test_what_is_shipped_last_is_compared_under_any_name() -> None:
    pairs, gone, new = pairs_of(
        [run([subject("teacher", [1]), subject("float", [1])])],
        [run([subject("teacher", [1]), subject("student", [1]), subject("int8", [1])])],
    )
    assert [pair.name for pair in pairs] == ["teacher", "float -> int8"]
    assert (gone, new) == ([], ["student"])


def test_results_that_share_no_subject_but_the_last_still_compare_it_and_name_the_others() -> None:
    compared = compare(NAMES, [run([subject("a", [1]), subject("b", [1])])], [run([subject("c", [1])])], DROP)
    assert [entry["name"] for entry in compared.subjects] == ["b -> c"]
    assert "only before: a" in closing_lines(compared)


def test_a_metric_that_one_side_lacks_is_not_judged_and_with_prove_is_a_regression() -> None:
    other = subject("int8", [1, 1])
    other |= {"metrics": {"f1": 0.5}, "metrics_ci95": {}}
    runs = [run([subject("int8", [1, 1])])], [run([other])]
    assert quality(*runs)[0] == {"why": "f1 was not measured on both sides", "verdict": UNCLEAR}
    assert quality(*runs, Limits(max_drop=0.01, prove=True))[1] == [
        "int8: quality is not judged (f1 was not measured on both sides)"
    ]


def test_rows_are_the_same_by_their_part_else_by_all_of_them() -> None:
    plain = run([subject("int8", [1])])
    more_to_learn_from = run([subject("int8", [1])])
    more_to_learn_from["data"]["fingerprint"] = "other"
    assert has_same_examples(plain, more_to_learn_from)
    old = {"data": {"fingerprint": "a"}}
    assert has_same_examples(plain, old)
    assert not has_same_examples(more_to_learn_from, old)
    assert not has_same_examples({}, {})


def test_markdown_tells_the_verdict_first_and_json_is_plain() -> None:
    before, after = run([subject("in|t8", right(1000, 100))]), run([subject("in|t8", right(1000, 200))])
    compared = compare(NAMES, [before], [after], Limits(max_drop=0.01))
    lines = markdown(compared).splitlines()
    assert lines[0] == "### What changed from before to after"
    assert lines[2].startswith("- **regression: in\\|t8: accuracy lost 10 points")
    assert "The same: recipe, data, versions, machine." in lines
    head, rows = table(compared)
    assert len(head) == len(rows[0])
    content = json.loads(json.dumps(as_json(compared)))
    assert content["before"] == "before"
    assert content["subjects"][0]["quality"]["drop"]["value"] == pytest.approx(0.1)
    assert len(content["regressions"]) == 1
    assert verdict_lines(compare(NAMES, [before], [after])) == []


def written(folder: Path, content: Any, name: str = "run.json") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder


def test_runs_are_read_from_a_folder_from_its_seeds_and_from_a_file(tmp_path: Path) -> None:
    record = run([subject("int8", [1])])
    assert read_runs(written(tmp_path / "a", record)) == [record]
    for seed in (2, 10):
        written(tmp_path / "b" / f"seed-{seed}", run([subject("int8", [1])], seed=seed))
    written(tmp_path / "b" / "seed-x", {})
    assert [entry["recipe"]["seed"] for entry in read_runs(tmp_path / "b")] == [2, 10]
    written(tmp_path, {"schema": 1, "runs": [record, record]}, "results.json")
    assert len(read_runs(tmp_path / "results.json")) == 2
    assert read_runs(tmp_path / "a" / "run.json") == [record]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is not there; give a run folder"),
        ([], "holds a list"),
        ({}, "holds no finished run"),
        ({"runs": []}, "holds no finished run"),
        ({"runs": 3}, "holds no finished run"),
        ({"runs": [3]}, "No run writes this"),
        ({"runs": [{"subjects": 3}]}, "subjects is 3"),
        ({"subjects": []}, "holds no finished run"),
    ],
)
def test_what_is_no_result_is_refused(content: Any, said: str, tmp_path: Path) -> None:
    if content is not None:
        written(tmp_path, content, "results.json")
    with pytest.raises(InputError, match=said):
        read_runs(tmp_path / "results.json")


def test_a_folder_without_a_run_is_refused_with_what_may_be_given(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no finished run; give a run folder .* --task-of RECIPE"):
        read_runs(tmp_path)
