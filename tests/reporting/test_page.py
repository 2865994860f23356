"""The page in a browser: sizes, colours, contrast, keys, filters, another baseline, and texts that would like to run."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compress.reporting.report import Shown, render_page, render_report
from tests.chromium import Tab, tab_in

EXAMPLES = Path(__file__).parents[1]
ROUGH = "<script>document.title = 'ran'</script>\"'></script><!--"
STRANGE = "\u202e\u05e9\u05dc\u05d5\u05dd \U0001f469\u200d\U0001f692"
CONTRASTS = """(() => {
  const parsed = (text) => {
    const numbers = text.match(/-?[\\d.]+(e-?\\d+)?/g).map(Number);
    const scale = text.startsWith("color(") ? 255 : 1;
    return [...numbers.slice(0, 3).map((value) => value * scale), numbers.length > 3 ? numbers[3] : 1];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const ground = (element) => {
    if (!element) return [255, 255, 255, 1];
    const own = parsed(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own : over(own, ground(element.parentElement));
  };
  const light = (colour) => {
    const linear = (v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = colour.slice(0, 3).map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const isShown = element.getClientRects().length && !element.closest("script, style, noscript");
    if (!walker.currentNode.data.trim() || !isShown) continue;
    const style = getComputedStyle(element), behind = ground(element);
    const front = over(parsed(element instanceof SVGElement ? style.fill : style.color), behind);
    const [a, b] = [light(front), light(behind)].sort((x, y) => y - x);
    texts += 1;
    if ((a + 0.05) / (b + 0.05) < 4.5) poor.push([walker.currentNode.data.trim(), (a + 0.05) / (b + 0.05)]);
  }
  return { texts, poor };
})()"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """One browser for all tests here."""
    with tab_in(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def example(name: str) -> dict[str, Any]:
    """A record as runs write them."""
    content: dict[str, Any] = json.loads((EXAMPLES / f"example_{name}.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture
def single(tmp_path: Path) -> Path:
    """The report of one run."""
    return written(tmp_path, render_report(example("run"), example("details")))


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """The report of two runs on one machine, and of one that was timed on another, where all takes twice as long."""
    runs = [example("run") for _ in range(3)]
    runs[1]["subjects"][0]["metrics"]["accuracy"] = 0.5
    runs[2]["machine"]["cpu"] = "Another CPU"
    for subject in runs[2]["subjects"]:
        for row in subject["latency"]:
            row["p50_ms"] *= 2
    names = ("first", "second", "elsewhere")
    return written(tmp_path, render_page([Shown(*entry, example("details")) for entry in zip(names, runs, strict=True)]))


def written(folder: Path, text: str) -> Path:
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def choose(tab: Tab, selector: str, value: str | None = None) -> None:
    """Click on something, or set its value and say so."""
    place = f"document.querySelector({json.dumps(selector)})"
    said_so = "dispatchEvent(new Event('change', {bubbles: true}))"
    tab.evaluate(f"{place}.click()" if value is None else f"{place}.value = {json.dumps(value)}, {place}.{said_so}")


def every(selector: str) -> str:
    """A script's list of all elements."""
    return f"[...document.querySelectorAll({json.dumps(selector)})]"


def texts(tab: Tab, selector: str) -> list[str]:
    """What all elements say."""
    return list(tab.evaluate(f"{every(selector)}.map((element) => element.textContent)"))


def cells(tab: Tab, name: str) -> list[str]:
    """What a column of the table says that is shown, row by row."""
    return texts(tab, f".panel:not([hidden]) tbody tr:not([hidden]) {name}")


def said(tab: Tab, place: str = "said") -> str:
    return str(tab.evaluate(f"document.getElementById('{place}').textContent"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768, 1400])
@pytest.mark.parametrize("page", ["single", "several"])
def test_every_width_and_colour_shows_all_without_errors(
    tab: Tab, page: str, width: int, scheme: str, request: pytest.FixtureRequest
) -> None:
    tab.errors.clear()
    tab.asked.clear()
    tab.open(request.getfixturevalue(page), width, scheme)
    tab.evaluate("document.querySelectorAll('details').forEach((run) => { run.open = true; })")
    assert tab.errors == []
    assert {address.partition(":")[0] for address in tab.asked} <= {"file", "data"}
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    contrasts = tab.evaluate(CONTRASTS)
    assert contrasts["texts"] > 200
    assert contrasts["poor"] == []


def test_poor_contrast_would_be_seen(tab: Tab, single: Path) -> None:
    single.write_text(
        single.read_text(encoding="utf-8").replace("</style>", ".headline { color: #999; }</style>"), encoding="utf-8"
    )
    tab.open(single)
    ((text, ratio),) = tab.evaluate(CONTRASTS)["poor"]
    assert text.startswith("onnxruntime-cpu-int8 (17.6 MB)")
    assert ratio == pytest.approx(2.65, abs=0.03)  # of #999999 on #f6f7f8, by WCAG's formula


def test_colours_follow_the_switch_before_the_system(tab: Tab, single: Path) -> None:
    tab.open(single, scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert tab.evaluate(ground) == "rgb(246, 247, 248)"
    choose(tab, "input[name=theme][value=dark]")
    assert tab.evaluate(ground) == "rgb(18, 21, 24)"
    assert tab.evaluate(CONTRASTS)["poor"] == []
    choose(tab, "input[name=theme][value=system]")
    assert tab.evaluate(ground) == "rgb(246, 247, 248)"


def test_choosing_a_setting_shows_its_panel_and_pointing_at_a_marker_its_numbers(tab: Tab, single: Path) -> None:
    tab.open(single)
    choose(tab, 'input[name=batch][value="8"]')
    panels = every(".panel:not([hidden])")
    assert tab.evaluate(f"{panels}.map((panel) => [panel.dataset.batch, panel.dataset.length])") == [["8", "32"]]
    tab.evaluate(
        "document.querySelector('.panel:not([hidden]) .mark.shipped').dispatchEvent(new Event('pointerover', {bubbles: true}))"
    )
    assert "onnxruntime-cpu-int8\naccuracy 89.9 %" in said(tab, "tip")
    assert tab.evaluate("document.getElementById('tip').hidden") is False
    tab.press("Escape")
    assert tab.evaluate("document.getElementById('tip').hidden") is True


def test_quality_stands_against_size_too(tab: Tab, single: Path) -> None:
    tab.open(single)
    choose(tab, "input[name=view][value=size]")
    figures = every("svg.wide")
    (label,) = tab.evaluate(f"{figures}.filter((one) => one.getClientRects().length).map((one) => one.ariaLabel)")
    assert label.startswith("accuracy against size")
    assert said(tab) == "4 of 4 subjects shown, 3 on the front."  # the torch student is as right as its file, and no smaller


def test_targets_that_are_not_wanted_leave_figure_front_and_table(tab: Tab, single: Path) -> None:
    tab.open(single)
    assert said(tab) == "4 of 4 subjects shown, 3 on the front."
    choose(tab, "input[name=target][value=onnxruntime-cpu]")
    assert said(tab) == "3 of 4 subjects shown, 3 on the front."  # the student is the next best now
    choose(tab, "input[name=target][value=torch]")
    assert said(tab) == "1 of 4 subjects shown, 1 on the front."
    assert cells(tab, "th") == ["onnxruntime-cpu-int8"]
    drawn = tab.evaluate("document.querySelectorAll('.panel:not([hidden]) svg.wide .mark:not([hidden])').length")
    assert drawn == 1


def test_another_baseline_changes_speedups_and_drops(tab: Tab, single: Path) -> None:
    tab.open(single)
    own = cells(tab, ".speedup"), cells(tab, ".drop")
    choose(tab, "select[name=baseline]", "0-2")  # the float file
    assert said(tab).endswith("; against onnxruntime-cpu.")
    subjects = example("run")["subjects"]
    times = [next(row["p50_ms"] for row in each["latency"] if (row["batch"], row["length"]) == (1, 32)) for each in subjects]
    scores = [each["metrics"]["accuracy"] for each in subjects]
    assert cells(tab, ".speedup") == [f"{times[2] / taken:.1f}\u00d7" for taken in times]
    drops = [f"{100 * (scores[2] - score):.1f}".replace("-0.0", "0.0").replace("-", "\u2212") for score in scores]
    assert cells(tab, ".drop") == [*drops[:2], "\u2013", drops[3]]
    choose(tab, "select[name=baseline]", "")
    assert (cells(tab, ".speedup"), cells(tab, ".drop")) == own


def test_two_machines_share_no_figure_and_no_speedup(tab: Tab, several: Path) -> None:
    tab.open(several)
    assert texts(tab, ".panel:not([hidden]) .figure h3") == [
        "Example CPU 2.0 GHz, 4 cores",
        "Another CPU, 4 cores",
    ]
    assert "timed on 2 machines" in tab.evaluate("document.getElementById('front').textContent")
    figures = every(".panel:not([hidden]) svg.wide")
    assert tab.evaluate(f"{figures}.map((one) => one.querySelectorAll('.mark').length)") == [8, 4]
    choose(tab, "select[name=baseline]", "1-0")
    speedups, drops = cells(tab, ".speedup"), cells(tab, ".drop")
    assert speedups[:4] == ["1.0\u00d7", "1.9\u00d7", "3.2\u00d7", "8.0\u00d7"]
    assert speedups[8:] == ["\u2013"] * 4
    assert drops[0] == "\u221241.7"  # of the first run's teacher, 91.7 % against 50 %
    assert drops[8] == "\u221241.7"  # the rows are the same on each machine
    choose(tab, 'input[name=run][value="2"]')
    assert said(tab).startswith("8 of 12 subjects shown")


def test_a_figure_has_one_tab_stop_and_arrows_go_from_point_to_point(tab: Tab, single: Path) -> None:
    tab.open(single)
    stops = "document.querySelectorAll('.panel:not([hidden]) svg.wide .mark[tabindex=\"0\"]').length"
    assert tab.evaluate(stops) == 1
    tab.evaluate("document.querySelector('.panel:not([hidden]) svg.wide .mark[tabindex=\"0\"]').focus()")
    focused = "document.activeElement.ariaLabel.split('\\n')[0]"
    walked = [tab.evaluate(focused)]
    for key in ("ArrowRight", "ArrowRight", "End", "ArrowRight", "ArrowLeft", "Home"):
        tab.press(key)
        walked.append(tab.evaluate(focused))
    shipped, exact = "onnxruntime-cpu-int8", "onnxruntime-cpu"
    assert walked == [shipped, exact, "student", "teacher", "teacher", "student", shipped]
    assert said(tab, "tip").startswith("onnxruntime-cpu-int8")
    assert tab.evaluate(stops) == 1


def test_every_control_is_reached_by_tab_and_its_focus_is_seen(tab: Tab, single: Path) -> None:
    tab.open(single)
    reached = set()
    for _ in range(60):
        tab.press("Tab")
        name = tab.evaluate("document.activeElement.name || document.activeElement.getAttribute('class') || ''")
        outline = tab.evaluate(
            "(() => { const own = document.activeElement, next = own.nextElementSibling;"
            " const isSeen = (one) => one && getComputedStyle(one).outlineStyle !== 'none';"
            " return isSeen(own) || isSeen(next) || own.matches('.mark'); })()"
        )
        assert outline or name == "", name
        reached.add(name.partition(" ")[0])
    expected = "skip theme view batch length target baseline mark scroll text label right"
    assert set(expected.split()) <= reached


def test_examples_are_filtered_by_label_by_who_is_right_and_by_text(tab: Tab, single: Path) -> None:
    tab.open(single)
    assert said(tab, "matching") == "10 of 10 examples."
    choose(tab, "select[name=label]", "positive")
    assert said(tab, "matching") == "5 of 10 examples."
    choose(tab, "select[name=right]", "baseline")
    assert said(tab, "matching") == "0 of 10 examples."
    choose(tab, "select[name=label]", "")
    assert said(tab, "matching") == "5 of 10 examples."
    choose(tab, "input[name=text]", "SMART")
    assert said(tab, "matching") == "1 of 10 examples."
    assert texts(tab, ".example:not([hidden]) p > bdi") == ["a smart , sweet and playful film ."]


@pytest.mark.parametrize("text", [ROUGH, STRANGE], ids=["markup", "right-to-left and emoji"])
def test_names_and_texts_are_shown_as_they_are_and_never_run(tab: Tab, tmp_path: Path, text: str) -> None:
    run, details = example("run"), copy.deepcopy(example("details"))
    run["name"] = run["subjects"][1]["name"] = run["subjects"][1]["target"] = run["steps"][0]["name"] = text
    run["machine"]["cpu"] = run["gates"][0]["name"] = text
    run["subjects"][-1]["by_label"] = {text: {"recall": 0.5, "precision": 0.5, "f1": 0.5, "support": 3}}
    details |= {"labels": [text, "b"], "notes": [text], "recipe_yaml": text}
    details["differing"][0] |= {"text": text, "pair": text}
    entries = [Shown(text, run, details), Shown("other", example("run"), {})]
    tab.errors.clear()
    for page in (render_report(run, details), render_page(entries)):
        tab.open(written(tmp_path, page))
        assert tab.errors == []
        assert tab.evaluate("document.scripts.length") == 1
        assert tab.evaluate("document.title") != "ran"
        assert tab.evaluate(f"document.body.textContent.includes({json.dumps(text)})")
        choose(tab, "select[name=label]", text)
        assert re.fullmatch(r"5 of \d+ examples\.", said(tab, "matching"))


def test_an_error_on_the_console_would_be_seen(tab: Tab, tmp_path: Path) -> None:
    tab.errors.clear()
    tab.open(written(tmp_path, "<!doctype html><script>nothing.there()</script>"))
    assert "nothing is not defined" in "".join(tab.errors)
    tab.errors.clear()
