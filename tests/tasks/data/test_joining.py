"""Texts out of several columns: what is joined, what is left out, what is refused, and who is told of it."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import compress as cp
from compress.errors import InputError
from compress.facts import read_facts
from compress.recipe import json_schema, read_recipe_text
from compress.reporting.card import card_text
from compress.tasks import evaluation_task
from compress.tasks.unlabelled import read_unlabelled
from tests.cli.calling import call
from tests.tiny_models import tiny_bert

JOINED: dict[str, Any] = {"text": ["title", "body"], "label": "kind"}


def written(folder: Path, rows: list[dict[str, Any]], name: str = "news.csv") -> str:
    """A table of rows."""
    path = folder / name
    if name.endswith(".jsonl"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return str(path)


def news(count: int = 120, **changes: Any) -> list[dict[str, Any]]:
    """Rows with a title, a body and a kind."""
    rows = [
        {"title": f"film number{index}", "body": f"it was {'good' if index % 2 else 'bad'}", "kind": "ab"[index % 2]}
        for index in range(count)
    ]
    return [{**row, **changes} for row in rows]


@pytest.mark.parametrize("name", ["news.csv", "news.jsonl"])
def test_texts_are_joined_in_the_order_given(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, news(), name)
    first, second = (
        cp.task({"train": path, "text": names, "label": "kind"}) for names in (["title", "body"], ["body", "title"])
    )
    parts = {text.split("\n")[0]: text.split("\n")[1] for text in first.train.texts}
    assert all(
        re.fullmatch(r"film number\d+", title) and body in ("it was good", "it was bad") for title, body in parts.items()
    )
    assert {"\n".join(text.split("\n")[::-1]) for split in second.splits() for text in split.texts} == {
        text for split in first.splits() for text in split.texts
    }
    assert first.describe()["joined"] == {"text": ["title", "body"], "separator": "\n"}


def test_the_separator_is_as_given_and_empty_cells_are_left_out(tmp_path: Path) -> None:
    rows = news()
    rows[0]["title"], rows[1]["body"], rows[2]["title"] = None, "  ", 7
    task = cp.task({"train": written(tmp_path, rows, "news.jsonl"), **JOINED, "separator": " [SEP] "})
    texts = {text for split in task.splits() for text in split.texts}
    assert {"it was bad", "film number1", "7 [SEP] it was bad", "film number3 [SEP] it was good"} <= texts


def test_the_second_text_of_a_pair_is_joined_too(tmp_path: Path) -> None:
    rows = [{"question": f"q {index}", **row} for index, row in enumerate(news())]
    columns = {"text": "question", "pair": ["title", "body"], "label": "kind"}
    task = cp.task({"train": written(tmp_path, rows), **columns})
    assert task.train.pairs is not None
    assert {pair.split("\n")[0].removeprefix("film number") for pair in task.train.pairs} == {
        text.removeprefix("q ") for text in task.train.texts
    }


def test_a_task_without_joined_texts_tells_of_none(tmp_path: Path) -> None:
    task = cp.task({"train": written(tmp_path, news()), "text": "title", "label": "kind"})
    assert "joined" not in task.describe()


def test_rows_that_are_empty_or_hold_no_text_are_told_with_their_line(tmp_path: Path) -> None:
    rows = news()
    rows[2]["title"] = rows[2]["body"] = ""
    rows[4]["body"] = ["a", "list"]
    with pytest.raises(InputError) as refused:
        cp.task({"train": written(tmp_path, rows, "news.jsonl"), **JOINED})
    assert "line 3, column 'title + body' is empty" in str(refused.value)
    assert "line 5, column 'body' is a list, not a text" in str(refused.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"text": ["title", "bodi"]}, r"has no column 'bodi' \(data.text\). Did you mean 'body'"),
        ({"text": ["title"]}, "name two columns or more, each once"),
        ({"text": []}, "name two columns or more, each once"),
        ({"text": ["title", "title"]}, "name two columns or more, each once"),
        ({"text": ["title", 3]}, "name two columns or more, each once"),
        ({"label": ["title", "body"]}, r"data.label is \['title', 'body'\]; give a text"),
        ({"text": "title", "separator": " "}, "data.separator is ' ', but no texts are joined"),
        ({"text": ["title", "body"], "separator": 3}, "data.separator is 3; give a text"),
    ],
)
def test_what_cannot_be_joined_is_refused(data: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        cp.task({"train": written(tmp_path, news()), "label": "kind", **data})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("text: [title]", 'data.text: ["title"] is not allowed; allowed: a text or a list of two texts or more, each once'),
        ("text: [title, title]", "is not allowed"),
        ("label: [a, b]", "is not allowed; allowed: a text"),
        ('separator: ""', "is not allowed; allowed: a text"),
    ],
)
def test_a_recipe_is_refused_with_its_line(data: str, said: str) -> None:
    text = f"model: a\ntask:\n  data:\n    train: a.tsv\n    {data}\nsteps: [fine_tune]\n"
    with pytest.raises(InputError) as refused:
        read_recipe_text(text)
    assert ":5: task.data." in str(refused.value)
    assert said in str(refused.value)


def test_a_recipe_may_join_texts_and_the_schema_says_so() -> None:
    text = 'model: a\ntask: {data: {train: a.tsv, text: [title, body], separator: "\\n"}}\nsteps: [fine_tune]\n'
    assert read_recipe_text(text).task["data"]["text"] == ["title", "body"]
    mapping = json_schema()["properties"]["task"]["oneOf"][1]["properties"]["data"]["oneOf"][1]["properties"]
    assert mapping["text"]["type"] == ["string", "array", "null"]
    assert mapping["label"]["type"] == ["string", "null"]


def test_texts_without_labels_are_joined_as_the_task_s_are(tmp_path: Path) -> None:
    task = cp.task({"train": written(tmp_path, news()), **JOINED, "separator": " / "})
    more = written(tmp_path, [{"title": "a plot", "body": "very fine"}], "more.csv")
    assert read_unlabelled(more, joined=task.joined).split.texts == ("a plot / very fine",)
    plain = written(tmp_path, [{"text": "a plot", "body": "very fine"}], "plain.csv")
    assert read_unlabelled(plain, joined=task.joined).split.texts == ("a plot",)


@pytest.mark.matrix
@pytest.mark.slow
def test_an_exported_folder_says_how_its_texts_are_joined(tmp_path: Path) -> None:
    data = {"train": written(tmp_path, news()), **JOINED, "separator": " / "}
    task = cp.task(data, max_length=24, labels=["a", "b"], allow_unknown=True)
    shipped = cp.export(tiny_bert(labels=("a", "b")), tmp_path / "out", target="onnxruntime-cpu", task=task)
    assert read_facts(shipped.path).joined == {"text": ["title", "body"], "separator": " / "}


def test_eval_joins_as_the_folder_says_or_as_it_is_told(tmp_path: Path) -> None:
    folder = cp.save(tiny_bert(labels=("a", "b")), tmp_path / "model")
    facts = {"schema": 1, "kind": "text-classification", "joined": {"text": ["title", "body"], "separator": " and "}}
    (folder / "bert_compress.json").write_text(json.dumps(facts), encoding="utf-8")
    separate = written(tmp_path, news(20))
    whole = written(
        tmp_path, [{"text": f"{row['title']} and {row['body']}", "kind": row["kind"]} for row in news(20)], "whole.csv"
    )

    def reliability(path: str, *options: str) -> Any:
        said = call("eval", str(folder), "--data", path, "--label", "kind", "--allow-unknown", "--json", *options)
        return json.loads(said.stdout)["reliability"]

    assert reliability(separate) == reliability(whole, "--text", "text")
    assert reliability(separate, "--text", "body", "--text", "title") != reliability(separate)


def test_eval_from_python_joins_what_it_is_told(tmp_path: Path) -> None:
    task = evaluation_task(
        written(tmp_path, news(6)), labels=["a", "b"], text=["title", "body"], label="kind", separator=" / "
    )
    assert task.evaluation.texts[1] == "film number1 / it was good"
    assert np.array_equal(task.evaluation.labels, [0, 1, 0, 1, 0, 1])


def test_the_card_tells_it_and_its_example_joins() -> None:
    run = {
        "name": "news",
        "data": {"kind": "text-classification", "labels": ["a", "b"], "max_length": 24},
        "subjects": [{"name": "onnxruntime-cpu", "kind": "onnx", "target": "onnxruntime-cpu"}],
    }
    assert "joined" not in card_text(run)
    run["data"]["joined"] = {"text": ["title", "body"], "separator": "\n"}  # type: ignore[index]
    card = card_text(run)
    assert 'is joined of `title`, `body`, in this order, with `"\\n"` between them; empty ones are left out.' in card
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    lines = code[code.index("def joined") : code.index("encodings =")]
    names: dict[str, Any] = {"tokenizer": type("Stub", (), {"enable_truncation": staticmethod(lambda length: None)})}
    exec(lines, names)
    assert names["texts"] == ["the first sentence\n...", "and a second one\n..."]
    assert names["joined"](" a title ", "") == "a title"
