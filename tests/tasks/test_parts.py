from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compress as cp
from compress.errors import InputError
from compress.tasks import TASKS
from compress.tasks.split import Split
from tests.cli.calling import call
from tests.tasks.kinds import ROWS
from tests.tasks.test_groups import phrases


def _file(folder: Path, texts: list[str], name: str = "train.tsv") -> str:
    path = folder / name
    rows = [f"{text}\t{('bad', 'good')[index % 2]}" for index, text in enumerate(texts)]
    path.write_text("\n".join(["text\tlabel", *rows]) + "\n", encoding="utf-8")
    return str(path)


def _sentences_of(split: Split) -> set[str]:
    """Of phrases as `phrases` makes them: which sentences they are of."""
    return {text.split("x")[0] for text in split.texts} - {"film"}


def test_no_two_parts_hold_phrases_of_one_sentence(tmp_path: Path) -> None:
    task = cp.task({"train": _file(tmp_path, phrases(300))}, evaluation={"from_train": 400})
    assert task.further is not None
    sentences = [_sentences_of(split) for split in task.splits()]
    assert sum(map(len, sentences)) == len(set().union(*sentences)) == 300
    assert 280 <= len(task.further) <= 520
    assert {role: figures.get("leak") for role, figures in task.kin.items()} == {
        "train": None,
        "selection": 0.0,
        "calibration": 0.0,
        "evaluation": 0.0,
        "further": 0.0,
    }


def test_a_further_part_leaves_the_others_where_they_were_but_for_training(tmp_path: Path) -> None:
    path = _file(tmp_path, phrases(300))
    plain, task = cp.task({"train": path}), cp.task({"train": path}, evaluation={"from_train": 400})
    assert plain.further is None
    for role in ("selection", "calibration", "evaluation"):
        assert getattr(task, role).texts == getattr(plain, role).texts
    assert task.further is not None
    assert {*task.train.texts, *task.further.texts} == set(plain.train.texts)
    assert task.fingerprint != plain.fingerprint
    assert cp.task({"train": path}, evaluation={"from_train": 400}).fingerprint == task.fingerprint
    with pytest.raises(InputError, match="further split was given where only train"):
        task.further.require("train")


@pytest.mark.parametrize("kind", TASKS)
def test_every_kind_is_cut_by_groups_and_has_a_further_part(kind: str, tmp_path: Path) -> None:
    path = ROWS[kind](tmp_path, 400)
    task = cp.task({"train": str(path)}, kind=kind, evaluation={"from_train": 60})
    splits = task.describe()["splits"]
    assert list(splits) == ["train", "selection", "calibration", "evaluation", "further"]
    assert 30 <= splits["further"]["examples"] <= 95
    assert sum(figures["examples"] for figures in splits.values()) == 400
    assert [figures.get("leak") for figures in splits.values()] == [None, 0.0, 0.0, 0.0, 0.0]
    assert all(figures["groups"] == figures["examples"] for figures in splits.values())  # no two are kin


def test_the_leak_of_official_rows_is_told_and_none_of_them_is_moved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = [f"a{row} b{row} c{row} d{row} e{row}" for row in range(200)]
    official = [f"so {text} it is" for text in texts[:3]] + [f"k{row} l{row} m{row} n{row}" for row in range(17)]
    data = {"train": _file(tmp_path, texts), "validation": _file(tmp_path, official, "dev.tsv")}
    with caplog.at_level(logging.WARNING, "compress"):
        task = cp.task(data)
    assert list(task.evaluation.texts) == official
    others = {text for split in (task.selection, task.calibration) for text in split.texts}
    leaked = sum(text in task.train.texts for text in texts[:3])
    assert leaked + sum(text in others for text in texts[:3]) == 3
    assert task.kin["evaluation"] == {"groups": 20, "leak": leaked / 20}
    assert leaked >= 2  # more than a twentieth, so that it is told
    assert f"{leaked * 5}.0 % of the rows for evaluation contain a training row" in caplog.text
    assert "task.evaluation: {from_train: N}" in caplog.text


def test_rows_that_are_left_out_for_their_kin_are_counted_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    phrase = "one of the best films"
    rows = [f"a{row} b{row} c{row} {phrase} d{row} e{row} f{row} g{row}" for row in range(400)]
    with caplog.at_level(logging.WARNING, "compress"):
        task = cp.task({"train": _file(tmp_path, [phrase, *rows, *(f"h{row} i{row} j{row} k{row}" for row in range(600))])})
    assert task.removed == {"kin of rows that are kept apart": 1}
    assert sum(map(len, task.splits())) == 1000
    assert "1 rows of" in caplog.text
    assert "left out" in caplog.text


def test_rows_that_cannot_be_taken_apart_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = [f"word{place}" for place in range(20)]
    with caplog.at_level(logging.WARNING, "compress"):
        task = cp.task({"train": _file(tmp_path, [" ".join([*words[:10], f"n{row}", *words[11:]]) for row in range(200)])})
    assert task.kin["selection"]["leak"] == 1.0
    assert "100.0 % of the rows for selection" in caplog.text
    assert task.removed == {}


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        ({"from_train": 49}, "a whole number at least 50"),
        ({"from_train": True}, "a whole number at least 50"),
        ({"from_train": 50, "rows": 3}, r"allowed: \{from_train: N\}"),
        ({}, r"allowed: \{from_train: N\}"),
        (
            {"from_train": 121},
            r"from_train is 121, but .* has 400 rows to learn from, of which at most 120 may be measured on",
        ),
    ],
)
def test_a_further_part_that_cannot_be_cut_is_refused(tmp_path: Path, evaluation: dict[str, Any], said: str) -> None:
    data = {
        "train": _file(tmp_path, [f"w{row} x{row}" for row in range(400)]),
        "validation": _file(tmp_path, [f"v{row}" for row in range(20)], "v.tsv"),
    }
    with pytest.raises(InputError, match=said):
        cp.task(data, evaluation=evaluation)  # type: ignore[arg-type]


def test_parts_that_leave_nothing_to_learn_from_are_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, [f"w{row} x{row}" for row in range(400)])
    with pytest.raises(InputError, match="leave no row to learn from"):
        cp.task({"train": path}, selection=0.45, calibration=0.35, evaluation={"from_train": 90})


def test_a_further_part_beside_a_large_evaluation_part_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = {
        "train": _file(tmp_path, [f"w{row} x{row}" for row in range(400)]),
        "validation": _file(tmp_path, [f"v{row} u{row}" for row in range(3000)], "dev.tsv"),
    }
    with caplog.at_level(logging.WARNING, "compress"):
        assert cp.task(data, evaluation={"from_train": 60}).further is not None
    assert "3,000 rows are measured on without it" in caplog.text


@pytest.mark.parametrize("value", ["{from_train: 5}", "{from_training: 500}", "500", "{from_train: 5000}"])
def test_a_recipe_with_a_wrong_further_part_ends_with_code_2(tmp_path: Path, value: str) -> None:
    path = _file(tmp_path, [f"w{row} x{row}" for row in range(400)])
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"model: any\ntask: {{data: {{train: {path}}}, evaluation: {value}}}\nexport: [onnxruntime-cpu]\n", encoding="utf-8"
    )
    result = call("run", str(recipe), "--tiny", "--out", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "evaluation" in result.stderr
    assert not (tmp_path / "out" / "run.json").exists()


def test_a_few_examples_of_each_part_tell_their_own_figures(tmp_path: Path) -> None:
    task = cp.task({"train": _file(tmp_path, phrases(300))}, evaluation={"from_train": 400}).capped(12)
    splits = task.describe()["splits"]
    assert {role: figures["examples"] for role, figures in splits.items()} == dict.fromkeys(splits, 12)
    assert all(0 < figures["groups"] <= 12 for figures in splits.values())
    assert json.loads(json.dumps(splits)) == splits
    assert isinstance(task.further, Split)
    assert task.further.labels.dtype == np.int64
