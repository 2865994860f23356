"""A run record as text: units, rounding, settings, Markdown, and files written whole."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from compress import record
from compress.errors import CompressError


@pytest.mark.parametrize("value", [None, "12", True, math.nan, math.inf, [1]])
def test_what_is_no_finite_number_shows_as_a_dash(value: Any) -> None:
    shown = [
        record.number,
        record.percent,
        record.points,
        record.milliseconds,
        record.duration,
        record.megabytes,
        record.count,
        record.times,
        record.probability,
        record.scientific,
    ]
    assert {show(value) for show in shown} == {"\u2013"}


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (record.number, 1234.56, "1,234.6"),
        (record.number, -2.34, "\u22122.3"),
        (record.number, -0.04, "0.0"),
        (record.percent, 0.9083, "90.8 %"),
        (record.percent, 0, "0.0 %"),
        (record.points, -0.0125, "\u22121.2"),
        (record.milliseconds, 0.8, "0.80 ms"),
        (record.milliseconds, 9.996, "10.0 ms"),
        (record.milliseconds, 99.96, "100 ms"),
        (record.milliseconds, 12345.0, "12,345 ms"),
        (record.duration, 0.82, "820 ms"),
        (record.duration, 0.9999, "1.0 s"),
        (record.duration, 59.94, "59.9 s"),
        (record.duration, 59.96, "1 min 00 s"),
        (record.duration, 185.2, "3 min 05 s"),
        (record.duration, 3599.7, "1 h 00 min"),
        (record.duration, 7800, "2 h 10 min"),
        (record.duration, -1, "\u2013"),
        (record.megabytes, 0, "0 bytes"),
        (record.megabytes, 999, "999 bytes"),
        (record.megabytes, 17_620_000, "17.6 MB"),
        (record.megabytes, 999_960_000, "1.0 GB"),
        (record.count, 840, "840"),
        (record.count, 22_713_986, "22.7 M"),
        (record.count, 999_999, "1.00 M"),
        (record.count, 1_230_000_000, "1.23 G"),
        (record.times, 7.94, "7.9\u00d7"),
        (record.probability, 0.0421, "0.042"),
        (record.probability, 0.0009, "< 0.001"),
        (record.scientific, 3.14e-6, "3.1e\u221206"),
        (record.scientific, 0.213, "0.21"),
    ],
)
def test_a_number_is_shown_with_its_unit(show: Any, value: Any, text: str) -> None:
    assert show(value) == text


@pytest.mark.parametrize("value", [None, "ab", [1], [1, None], [1, 2, 3], [0, math.nan]])
def test_what_is_no_pair_of_numbers_is_no_interval(value: Any) -> None:
    assert record.interval(value) is None


def test_an_interval_has_two_ends() -> None:
    assert record.interval([1, 2.5]) == (1.0, 2.5)


def row(batch: int, length: int, threads: int, **others: Any) -> dict[str, Any]:
    return {"batch": batch, "length": length, "threads": threads, **others}


def test_batch_one_length_32_and_one_thread_is_told_first() -> None:
    run = {"subjects": [{"latency": [row(1, 8, 1), row(8, 32, 1), row(1, 32, 1)]}]}
    assert record.main_setting(run) == ("cpu", 1, 32, 1)


def test_without_it_the_smallest_setting_is_told_first() -> None:
    run = {"subjects": [{"latency": [row(8, 32, 4)]}, {"latency": [row(2, 64, 4), row(8, 32, 2)]}]}
    assert record.main_setting(run) == ("cpu", 2, 64, 4)
    assert record.main_setting({}) is None


def test_a_setting_is_told_in_words() -> None:
    assert record.setting_words(("cpu", 1, 32, 1)) == "batch 1, length 32, 1 thread"
    assert record.setting_words(("cuda:0", 8, 128, 2)) == "cuda:0, batch 8, length 128, 2 threads"


def test_a_recorded_speed_up_is_taken_as_it_is() -> None:
    own, baseline = {"latency": [row(1, 8, 1, p50_ms=2.0, speedup=4.5)]}, {"latency": [row(1, 8, 1, p50_ms=8.0)]}
    assert record.speedup_at(own, baseline, ("cpu", 1, 8, 1)) == 4.5


def test_a_missing_speed_up_is_the_ratio_of_the_medians() -> None:
    own, baseline = {"latency": [row(1, 8, 1, p50_ms=2.0)]}, {"latency": [row(1, 8, 1, p50_ms=8.0)]}
    assert record.speedup_at(own, baseline, ("cpu", 1, 8, 1)) == 4.0
    assert record.speedup_at(own, {}, ("cpu", 1, 8, 1)) is None
    assert record.speedup_at(own, baseline, ("cpu", 2, 8, 1)) is None


def test_the_first_metric_is_the_one_that_is_shown() -> None:
    assert record.metric_of({"subjects": [{"metrics": {"accuracy": 0.9, "f1": 0.8}}]}) == "accuracy"
    assert record.metric_of({"subjects": [{"metrics": {"f1": 0.8, "accuracy": 0.9}}]}) == "f1"
    assert record.metric_of({"subjects": [{"metrics": {"f1": 0.8}}, {}]}) == "f1"
    assert record.metric_of({}) == "accuracy"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b", r"a\|b"),
        ("two\nlines", "two lines"),
        ("<script>", r"\<script>"),
        ("[a](b) *c* `d`", r"\[a\](b) \*c\* \`d\`"),
        ("sst2_three", "sst2_three"),
        ("_quiet_", r"\_quiet\_"),
        ("back\\slash", r"back\\slash"),
    ],
)
def test_marks_in_a_text_are_escaped(text: str, escaped: str) -> None:
    assert record.markdown_text(text) == escaped


def test_a_markdown_table_aligns_names_left_and_numbers_right() -> None:
    expected = "| name | a |\n| --- | ---: |\n| x\\|y | 1 |"
    assert record.markdown_table(["name", "a"], [["x|y", "1"]]) == expected


def test_a_file_is_written_as_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("old")
    record.write_whole(path, "n\u00e9w\r\n\ud800")
    assert path.read_bytes() == "n\u00e9w\r\n?".encode()
    assert os.listdir(tmp_path) == ["a.md"]


def test_a_file_behind_a_link_is_written_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "real.md").write_text("old")
    (tmp_path / "link.md").symlink_to("real.md")
    record.write_whole(tmp_path / "link.md", "new")
    assert (tmp_path / "link.md").is_symlink()
    assert (tmp_path / "real.md").read_text() == "new"


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.md"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CompressError, match="No space left"):
        record.write_whole(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.md"]


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CompressError, match="could not be written"):
        record.write_whole(tmp_path / "none" / "a.md", "new")


@pytest.mark.parametrize(
    ("metric", "ends", "said"),
    [
        ("accuracy", [-0.002, 0.0099], "within 1 point at 95 %"),
        ("f1", [0.001, 0.004], "within 0.5 points at 95 %"),
        ("accuracy", [-0.03, -0.01], "no worse at 95 %"),
        ("accuracy", [0.01, 0.0834], "not shown to be within 5 points"),
        ("pseudo_perplexity", [0.0, 0.018], "within 2 % at 95 %"),
        ("accuracy", None, ""),
        ("accuracy", [0.0, float("nan")], ""),
    ],
)
def test_what_an_interval_shows_of_a_loss_is_said_as_a_margin(metric: str, ends: Any, said: str) -> None:
    assert record.within(metric, ends) == said


def test_a_setting_of_the_data_s_lengths_is_said_as_such_and_is_not_the_main_one() -> None:
    rows = [{"device": "cpu", "batch": 1, "length": length, "threads": 1, "p50_ms": 1.0} for length in ("data", 64)]
    run = {"subjects": [{"latency": rows}]}
    assert record.main_setting(run) == ("cpu", 1, 64, 1)
    assert record.setting_words(record.setting_of(rows[0])) == "batch 1, lengths of the data, 1 thread"
    assert record.latency_at(run["subjects"][0], record.setting_of(rows[0])) == rows[0]
    assert record.main_setting({"subjects": [{"latency": rows[:1]}]}) == record.setting_of(rows[0])
