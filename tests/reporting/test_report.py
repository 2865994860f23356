"""The report: what it says, that nothing in it runs or asks a network."""

from __future__ import annotations

import copy
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from compress.reporting.report import headline, render_report, write_report

EXAMPLES = Path(__file__).parents[1]
SECTIONS = ("gates", "notes", "front", "quality", "parts", "examples", "steps", "curves", "confusion", "facts", "recipe")
HOSTILE = "<script>alert(1)</script>\"'>&amp;"


@pytest.fixture
def run() -> dict[str, Any]:
    """A run of three steps with two torch models and two files, timed at four settings."""
    record: dict[str, Any] = json.loads((EXAMPLES / "example_run.json").read_text(encoding="utf-8"))
    return record


@pytest.fixture
def details() -> dict[str, Any]:
    """What the run's measuring tells besides run.json."""
    record: dict[str, Any] = json.loads((EXAMPLES / "example_details.json").read_text(encoding="utf-8"))
    return record


class Page(HTMLParser):
    """The tags of a page, and its text by the section that it stands in."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.section, self.silent = "head", False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.silent = tag in ("script", "style")
        if tag == "section":
            self.section = dict(attrs).get("id") or ""

    def handle_endtag(self, tag: str) -> None:
        self.silent = False

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.texts[self.section] = " ".join([self.texts.get(self.section, ""), *data.split()]).strip()

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def page(run: Any, extras: Any) -> Page:
    return Page(render_report(run, extras))


def test_the_headline_sets_the_file_beside_the_baseline(run: dict[str, Any]) -> None:
    assert headline(run) == (
        "onnxruntime-cpu-int8 (17.6 MB) reaches 89.9 % accuracy, 1.8 points below teacher (drop between 0.1 and 3.6 points "
        "with 95 % confidence: within 5 points at 95 %), and answers 8.0\u00d7 faster: 0.80 ms instead of 6.40 ms at batch 1, "
        "length 32, 1 thread."
    )


def subject(**facts: Any) -> dict[str, Any]:
    return {"name": "a", "kind": "onnx", "metrics": {"accuracy": 0.5}} | facts


@pytest.mark.parametrize(
    ("subjects", "words"),
    [
        ([], "Nothing was measured in this run."),
        ([subject(kind="torch")], "a, not exported, reaches 50.0 % accuracy."),
        ([subject(), subject(name="b", drop={"value": -0.02})], "2.0 points above a."),
        ([subject(), subject(name="b", drop={"value": 0.0004})], "level with a."),
        ([subject(latency=[{"p50_ms": 1.0}]), subject(name="b", latency=[{"p50_ms": 2.0}])], "slower (0.5\u00d7 the speed)"),
    ],
)
def test_the_headline_says_what_is_known(subjects: list[dict[str, Any]], words: str) -> None:
    assert words in headline({"subjects": subjects})


def test_a_runtime_that_is_not_installed_here_is_not_taken_for_torch(run: dict[str, Any]) -> None:
    run["subjects"][-1]["kind"] = "of another package"
    marks = [tag["class"] for tag in page(run, {}).all("g") if str(tag.get("class")).startswith("mark")]
    assert "mark kind-other shipped" in marks
    assert not any("package" in str(mark) for mark in marks)


def test_each_runtime_has_a_colour_on_light_and_on_dark(run: dict[str, Any]) -> None:
    text = render_report(run, {})
    for kind, light, dark in (("torch", "7c8692", "95a0ab"), ("onnx", "1d5fc2", "7db1ff"), ("openvino", "7d4cc0", "c29cff")):
        assert f".kind-{kind} {{ color: light-dark(#{light}, #{dark}); }}" in text


def test_every_section_is_there_with_its_numbers(run: dict[str, Any], details: dict[str, Any]) -> None:
    shown = page(run, details)
    assert [attributes["id"] for attributes in shown.all("section")] == list(SECTIONS)
    assert headline(run) in shown.texts["head"]
    assert "8.0\u00d7 speed-up" in shown.texts["head"]
    assert "max_size_bytes \u2717 missed 17.6 MB at most 15.0 MB" in shown.texts["gates"]
    assert "max_drop \u2713 passed 1.83 points at most 2.00 points" in shown.texts["gates"]
    assert "onnxruntime-cpu-int8 shipped 89.9 % 87.7 to 91.7 1.8 0.1 to 3.6 0.044 93.6 % 1" in shown.texts["quality"]
    assert "onnxruntime-cpu-int8 17.6 MB 17.4 M 171 M 18 12 0.21 2" in shown.texts["parts"]
    assert "drop_layers 400 ms computed 22.7 M \u2192 17.4 M" in shown.texts["steps"]
    assert "teacher loss 0.71 \u2192 0.24" in shown.texts["curves"]
    assert "negative 390 38 positive 34 410" in shown.texts["confusion"]
    assert "a gorgeous bore" in shown.texts["examples"]
    assert "Example CPU 2.0 GHz" in shown.texts["facts"]
    assert "licence CC0" in shown.texts["facts"]
    assert "drop_layers: {keep: [0, 2, 5]}" in shown.texts["recipe"]


def test_further_rows_have_a_table_of_their_own(run: dict[str, Any]) -> None:
    assert "further rows" not in page(run, {}).texts["quality"]
    for subject, right in zip(run["subjects"], (0.9, 0.9, 0.9, 0.88), strict=True):
        subject["further"] = {
            "examples": 2805,
            "metrics": {"accuracy": right},
            "metrics_ci95": {"accuracy": [right - 0.01, right + 0.01]},
            "drop": {"value": 0.9 - right, "ci95": [0.9 - right - 0.01, 0.9 - right + 0.01], "p": 0.5},
            "agreement": 0.97,
        }
    text = page(run, {}).texts["quality"]
    assert "Quality on 2,805 further rows" in text
    assert "onnxruntime-cpu-int8 88.0 % 87.0 to 89.0 2.0 1.0 to 3.0 0.500 97.0 %" in text
    assert "teacher 90.0 % 89.0 to 91.0 \u2013 \u2013 \u2013 \u2013" in text


def test_scores_beside_the_one_that_decides_have_a_table(run: dict[str, Any]) -> None:
    assert "Other scores" not in page(run, {}).texts["quality"]
    for subject in run["subjects"]:
        subject["metrics"]["selective_accuracy"] = 0.934
    run["subjects"][-1]["metrics_ci95"]["selective_accuracy"] = [0.91, 0.95]
    text = page(run, {}).texts["quality"]
    assert "Other scores subject selective accuracy, % (95 % interval)" in text
    assert "teacher 93.4 %" in text
    assert "onnxruntime-cpu-int8 93.4 % (91.0 to 95.0)" in text


def test_probabilities_have_a_table_and_those_of_the_shipped_file_their_bins(run: dict[str, Any]) -> None:
    assert "Are probabilities what they say?" not in page(run, {}).texts["quality"]
    for subject, ece in zip(run["subjects"], (0.041, 0.041, 0.012, 0.013), strict=True):
        bins = [{"stated": 0.63, "happened": 0.5, "count": 20}, {"stated": 0.98, "happened": 0.97, "count": 1852}]
        subject["reliability"] = {"ece": ece, "nll": 0.2345, "bins": bins}
    text = page(run, {}).texts["quality"]
    assert "Are probabilities what they say?" in text
    assert "teacher 4.1 0.234" in text
    assert "onnxruntime-cpu-int8 1.3 0.234" in text
    assert "20 63.0 % 50.0 % 1,852 98.0 % 97.0 %" in text


def test_real_texts_have_a_table_where_they_leave_early(run: dict[str, Any]) -> None:
    assert "Real texts" not in page(run, {}).texts["quality"]
    for subject, mean in zip(run["subjects"], (8.0, 4.0, 2.0, 1.0), strict=True):
        row = {"count": 256, "mean_tokens": 12.3, "mean_ms": mean, "p50_ms": mean / 2, "p95_ms": 3 * mean, "speedup": 8 / mean}
        subject["texts"] = [row]
    run["subjects"][-1]["exits"] = {"layers": [1], "shares": [0.75, 0.25]}
    text = page(run, {}).texts["quality"]
    assert "256 texts of the selection part, 12.3 tokens long on average" in text
    assert "teacher 8.00 ms 4.00 ms 24.0 ms 1.0\u00d7 \u2013" in text
    assert "onnxruntime-cpu-int8 1.00 ms 0.50 ms 3.00 ms 8.0\u00d7 1: 75.0 %, the last: 25.0 %" in text


def test_the_baseline_has_no_drop_against_itself(run: dict[str, Any]) -> None:
    assert "teacher baseline 91.7 % 89.7 to 93.4 \u2013 \u2013 \u2013 \u2013 0" in page(run, {}).texts["quality"]


def test_one_panel_for_each_setting_and_the_main_one_is_shown(run: dict[str, Any]) -> None:
    panels = [tag for tag in page(run, {}).all("div") if tag.get("class") == "panel"]
    settings = [(panel["data-batch"], panel["data-length"], panel["data-threads"]) for panel in panels]
    assert settings == [("1", "32", "1"), ("1", "128", "1"), ("8", "32", "1"), ("8", "128", "1")]
    assert ["hidden" in panel for panel in panels] == [False, True, True, True]


def test_the_selector_offers_what_there_is_a_choice_of(run: dict[str, Any]) -> None:
    offered = [(tag["name"], tag["value"], "checked" in tag) for tag in page(run, {}).all("input")]
    assert [entry for entry in offered if entry[0] in ("device", "batch", "length", "threads")] == [
        ("batch", "1", True),
        ("batch", "8", False),
        ("length", "32", True),
        ("length", "128", False),
    ]
    assert [entry[1:] for entry in offered if entry[0] == "view"] == [("latency", True), ("size", False)]
    assert [entry[1] for entry in offered if entry[0] == "target"] == ["torch", "onnxruntime-cpu", "onnxruntime-cpu-int8"]
    assert not [entry for entry in offered if entry[0] == "run"]  # there is one


def test_each_timed_subject_is_marked_in_each_figure(run: dict[str, Any]) -> None:
    marks = [tag for tag in page(run, {}).all("g") if str(tag.get("class")).startswith("mark")]
    assert len(marks) == 4 * (4 + 1) * 2  # subjects, settings and size, a broad and a narrow figure
    tips = [mark["data-tip"] for mark in marks if "shipped" in str(mark["class"])]
    assert len(tips) == 10
    assert "p50 0.80 ms, p95 0.90 ms" in str(tips[2])
    assert str(tips[0]) == "onnxruntime-cpu-int8\naccuracy 89.9 % (87.7 to 91.7 %)\nsize 17.6 MB"


def test_a_subject_that_was_not_timed_is_named(run: dict[str, Any]) -> None:
    run["subjects"][1]["latency"] = []
    assert "not drawn: student" in page(run, {}).texts["front"]


def test_curves_of_the_extras_go_before_those_of_the_steps(run: dict[str, Any]) -> None:
    shown = page(run, {"curves": {"teacher": [[1, 9.0], [2, 8.0]]}}).texts["curves"]
    assert "teacher loss 9 \u2192 8" in shown
    assert "student loss 1.9 \u2192 0.49" in shown


def test_without_its_text_the_resolved_recipe_is_shown(run: dict[str, Any]) -> None:
    assert "keep: [0, 2, 5]" in page(run, {}).texts["recipe"]


def test_texts_are_shown_and_never_run(run: dict[str, Any], details: dict[str, Any]) -> None:
    safe = page(run, details)
    run["name"] = run["steps"][0]["name"] = run["subjects"][0]["name"] = run["gates"][0]["name"] = HOSTILE
    run["steps"][1]["method"] = run["steps"][1]["why"] = run["machine"]["cpu"] = run["data"]["source"] = HOSTILE
    details["differing"][0] |= {"text": HOSTILE, "pair": HOSTILE}
    details |= {"labels": [HOSTILE, "b"], "notes": [HOSTILE], "recipe_yaml": HOSTILE}
    shown = page(run, details)
    assert len(shown.all("script")) == len(safe.all("script")) == 1
    for section in ("head", "gates", "notes", "front", "quality", "steps", "confusion", "examples", "facts", "recipe"):
        assert HOSTILE in shown.texts[section], section
    assert {name for _, attributes in shown.tags for name in attributes if name.startswith("on")} == set()


def test_the_page_asks_no_network(run: dict[str, Any], details: dict[str, Any]) -> None:
    text = render_report(run, details)
    shown = Page(text)
    asked = [
        attributes[key]
        for _, attributes in shown.tags
        for key in ("src", "href", "srcset", "data", "action")
        if key in attributes
    ]
    assert [place for place in asked if not str(place).startswith("#")] == ["data:,"]
    assert not re.search(r"https?://|\bfetch\(|XMLHttpRequest|\bimport\(", text.replace(str(run["data"]["source"]), ""))
    style = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)[0]
    assert "url(" not in style
    assert "@import" not in style
    assert any("default-src 'none'" in str(tag.get("content")) for tag in shown.all("meta"))


def without(run: dict[str, Any], path: tuple[Any, ...]) -> dict[str, Any]:
    """The run without one of its keys."""
    changed = copy.deepcopy(run)
    place: Any = changed
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return changed


@pytest.mark.parametrize(
    "place",
    [
        (),
        ("recipe",),
        ("data",),
        ("machine",),
        ("subjects", 3),
        ("subjects", 3, "latency", 0),
        ("subjects", 3, "drop"),
        ("subjects", 3, "parity"),
        ("steps", 0),
        ("gates", 0),
    ],
)
def test_a_run_without_any_one_of_its_keys_is_shown(
    run: dict[str, Any], details: dict[str, Any], place: tuple[Any, ...]
) -> None:
    value: Any = run
    for key in place:
        value = value[key]
    for path in [(*place, key) for key in value]:
        text = render_report(without(run, path), details)
        assert text.endswith("</html>"), path
        assert "None" not in text, path
        assert "undefined" not in text.lower(), path


def test_a_missing_value_shows_as_a_dash(run: dict[str, Any]) -> None:
    shown = page(without(run, ("subjects", 3, "agreement")), {})
    assert "0.1 to 3.6 0.044 \u2013 1" in shown.texts["quality"]


@pytest.mark.parametrize("run", [{}, {"subjects": [{}]}, {"subjects": [{}, {}], "steps": [{}], "gates": [{}]}])
def test_an_almost_empty_run_is_shown(run: dict[str, Any]) -> None:
    shown = page(run, {"confusion": {"a": []}, "differing": [{}], "curves": {"a": None}})
    assert "measured" in shown.texts["facts"]


def test_the_report_is_written_over_the_old_one(run: dict[str, Any], details: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")
    path = write_report(run, tmp_path, details)
    assert path == tmp_path / "report.html"
    assert path.read_text(encoding="utf-8") == render_report(run, details)
    assert os.listdir(tmp_path) == ["report.html"]
