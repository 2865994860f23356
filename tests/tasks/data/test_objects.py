from __future__ import annotations

import json
from pathlib import Path

import pandas
import pytest

from compress.errors import InputError
from compress.tasks.data.files import read_file

COLUMNS = {"text": ["a film", "a plot"], "label": ["x", "y"]}
RECORDS = [{"text": "a film", "label": "x"}, {"text": "a plot", "label": "y"}]


def _write(folder: Path, content: str, name: str = "a.json") -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(RECORDS),
        json.dumps(RECORDS, indent=2),
        json.dumps({"data": RECORDS}),
        json.dumps({"version": 1, "data": RECORDS}),
        json.dumps(COLUMNS),
        pandas.DataFrame(COLUMNS).to_json(),
        pandas.DataFrame(COLUMNS).to_json(orient="records"),
        pandas.DataFrame(COLUMNS).to_json(orient="table"),
        "\n".join(map(json.dumps, RECORDS)),
        "\ufeff" + json.dumps(RECORDS),
        '{"text": {"0": "a film", "1": "a plot"}, "label": {"1": "y", "0": "x"}}',
    ],
)
def test_json_in_the_shapes_of_pandas_and_datasets_is_read(tmp_path: Path, content: str) -> None:
    rows = read_file(_write(tmp_path, content), {})
    assert (rows.texts, rows.labels) == (("a film", "a plot"), ("x", "y"))


def test_ndjson_is_read_as_jsonl(tmp_path: Path) -> None:
    content = "\n".join(map(json.dumps, RECORDS))
    assert read_file(_write(tmp_path, content, "a.ndjson"), {}).texts == ("a film", "a plot")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "is no JSON"),
        ('{"text": ["a"]', "is no JSON"),
        ("7", "holds 7; allowed: an array of objects"),
        ('"x"', "holds 'x'; allowed"),
        ("[]", "has no rows"),
        ("{}", "has no rows"),
        ("[1, 2]", "row 1 holds a int, not an object"),
        ('[{"text": "a", "label": "x"}, 3]', "row 2 holds a int"),
        ('{"data": []}', "has no rows"),
        ('{"text": ["a", "b"], "label": ["x"]}', "column 'label' has 1 values, column 'text' has 2"),
        ('{"text": ["a"], "label": "x"}', "holds an object of another shape"),
        ('{"text": {"0": "a"}, "label": {"1": "x"}}', "columns 'text' and 'label' have values for other rows"),
        ("[" * 100_000, "lists or objects within one another a thousand times"),
        ('[{"text": "a", "label": "x", "text": "b"}]', "column 'text' stands there twice"),
        ('[{"text": "a", "label": "x", "text ": "b"}]', "columns 'text' and 'text ' differ in white space alone"),
        ('[{"text": "a", "label": ' + "9" * 6000 + "}]", "a number of more than 4,300 digits"),
        (json.dumps([{f"c{index}": 1 for index in range(10_001)}]), "has more than 10,000 columns"),
        ('{"text": [], "label": []}', "has a header but no rows"),
    ],
)
def test_json_of_other_shapes_is_refused(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        read_file(_write(tmp_path, content), {})
    assert len(str(raised.value)) < 700


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "a", "label": "x"}\n{"text": "b", "label": "x", "label": "y"}', "line 2 is no JSON .column 'label'"),
        ("\n".join(json.dumps({"text": "a", "label": "x", f"c{row}": 1}) for row in range(10_001)), "has more than 10,000"),
        (json.dumps({"text": "a", "label": "x"}) + "\n" + "[" * 100_000, "line 2 is no JSON .lists or objects"),
    ],
)
def test_lines_of_json_that_lose_something_are_refused(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_file(_write(tmp_path, content, "a.jsonl"), {})


def test_a_column_that_only_later_lines_have_is_found(tmp_path: Path) -> None:
    lines = [{"label": "x"}] * 200 + [{"label": "x", "sentence": "a"}]
    with pytest.raises(InputError, match="line 1, column 'sentence' is empty"):
        read_file(_write(tmp_path, "\n".join(map(json.dumps, lines)), "a.jsonl"), {})
