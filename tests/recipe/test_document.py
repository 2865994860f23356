"""Text in, plain data with lines out."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.errors import InputError
from compress.recipe import read_recipe, read_recipe_text
from compress.recipe.document import decode, dump, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-5", 5e-5),
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("-2.5e+1", -25.0),
        ("12", 12),
        ("-3", -3),
        ("0x1f", 31),
        ("012", 12),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("null", None),
        ("~", None),
        ("2024-01-01", "2024-01-01"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ('"3"', "3"),
        ("e5", "e5"),
        ("[1, a, 2.0]", [1, "a", 2.0]),
        ("{0: a, b: {c: null}}", {"0": "a", "b": {"c": None}}),
    ],
)
def test_scalars_follow_the_core_rules_of_yaml_1_2(text: str, value: object) -> None:
    document = parse(f"key: {text}", "x")
    assert document.data == {"key": value}
    assert type(document.data["key"]) is type(value)
    assert not document.mistakes


@pytest.mark.parametrize(
    "value", ["1e5", "yes", "012", "08", "true", "null", "", "a: b", "- x", "2024-01-01", "ä", "<<", "5e-5"]
)
def test_texts_that_look_like_something_else_survive_dump_and_parse(value: str) -> None:
    data = {"key": value, "list": [value, 1e-5, 3, None, True]}
    assert parse(dump(data), "x").data == data


def test_each_value_knows_the_line_of_its_key() -> None:
    places = parse("a: 1\nb:\n  c:\n    - x\n    - {d: 2,\n       e: 3}\n", "x").mistakes.places
    lines = {path: place.line for path, place in places.items()}
    expected = {("a",): 1, ("b",): 2, ("b", "c"): 3, ("b", "c", 0): 4, ("b", "c", 1): 5, ("b", "c", 1, "e"): 6}
    assert {path: lines[path] for path in expected} == expected


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("a:\n\tb: 1\n", "x:2:1", "use spaces"),
        ("a: b: c\n", "x:1:5", "a ':' stands where none can"),
        ("a:\n  - 1\n - 2\n", "x:3:2", "indentation"),
        ("a: [1, 2\nb: 3\n", "x:2:2", "list is not closed, or a comma is missing; write [a, b]; it was opened in line 1"),
        ("a: {b: 1\n", "x:2:1", "mapping is not closed"),
        ('a: "open\n', "x:1:4", "quoted text is not closed"),
        ("a: 1\nb\nc: 2\n", "x:2:1", "has no ':'"),
        ("a: *nothing\n", "x:1:4", "has no anchor"),
        ("a: 1\n---\nb: 2\n", "x:2:1", "second document"),
        ("a: @b\n", "x:1:4", "in quotes"),
        ('a: "C:\\data"\n', "x:1", "single quotes"),
        ("a: 1\nb: \x07\n", "x:2:4", "not allowed in YAML"),
    ],
)
def test_broken_yaml_is_told_in_plain_words_with_line_and_column(text: str, where: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, "x")
    assert str(caught.value).startswith(where)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "x:3: a: this key is there twice, first in line 1; keep one"),
        ("a: {b: 1,\n b: 2}\n", "x:2: a.b: this key is there twice, first in line 1; keep one"),
        ("a: !!python/object:os.system x\n", "x:1: a: "),
        ("a: !!python/tuple [1]\n", "x:1: a: the tag"),
        ("null: 1\n", 'x:1: "null" is no key'),
        ("? [a]\n: 1\n", "x:1: a list or mapping is no key"),
        ("base: &b {c: 1}\na:\n  <<: *b\n", "x:3: a: '<<' does not merge"),
        ("a: .inf\n", 'x:1: a: ".inf" cannot be used'),
        ("a: " + "9" * 5000 + "\n", "x:1: a: "),
        ('a: "\\ud800"\n', "x:1: a: "),
        ('a: "\\0"\n', "x:1: a: "),
        ("a: !!int x\n", "x:1: a: "),
    ],
)
def test_what_can_be_read_but_not_meant_is_noted_with_its_line(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, "x").mistakes.raise_any()
    assert str(caught.value).startswith(said)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000,
        "a: &a [*a]\n",
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)),
        "a: 1\n" * 300_000,
    ],
    ids=["nested", "in itself", "aliases of aliases", "long"],
)
def test_input_that_would_fill_the_memory_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"x:1: \d+ characters|x:[1-8]: more than"):
        parse(text, "x")


def test_a_byte_order_mark_is_read_over() -> None:
    assert parse(decode(b"\xef\xbb\xbfa: 1\n", "x"), "x").data == {"a": 1}


def test_utf_16_and_latin_1_are_refused_with_the_line() -> None:
    with pytest.raises(InputError, match="x:1: the file is UTF-16"):
        decode("a: 1\n".encode("utf-16"), "x")
    with pytest.raises(InputError, match="x:2: byte 0xe9 is no UTF-8"):
        decode("a: 1\nb: é\n".encode("latin-1"), "x")


def test_a_file_that_never_ends_or_is_no_page_is_refused_by_its_size(tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_bytes(b"#" * 900_000)
    with pytest.raises(InputError, match=r"large.yaml:1: more than 800,000 bytes are no recipe"):
        read_recipe(tmp_path / "large.yaml")
    if Path("/dev/zero").exists():
        with pytest.raises(InputError, match="more than 800,000 bytes are no recipe"):
            read_recipe("/dev/zero")


def test_too_many_values_are_refused_before_they_are_put_together() -> None:
    with pytest.raises(InputError, match=r"recipe:2: more than 20000 values"):
        read_recipe_text("model: m\nx: [" + "1," * 45_000 + "]\n")


@pytest.mark.parametrize(
    "text",
    [
        "X: 1\n",
        "model: [X]\ntask: t\n",
        "name: X\n",
        "task: {kind: X, data: d}\n",
        "steps: [X]\n",
        "export: [X]\n",
        "steps:\n  - distill: {teacher: X, objectives: {X: 1}}\n    as: X\n",
        "benchmark: {baseline: X}\n",
        "seed: X\n",
        "model: !X a\n",
        "model: *X\n",
        "a: &X [*X]\n",
    ],
)
def test_a_long_value_key_or_name_is_cut_in_the_message(text: str) -> None:
    with pytest.raises(InputError) as caught:
        read_recipe_text(text.replace("X", "x" * 50_000))
    assert len(str(caught.value)) < 4000


def test_a_long_override_is_cut_in_the_message(recipe: str) -> None:
    for override in ("seed=" + "9" * 6000, "x" * 100_000, f"steps.{'x' * 100_000}.epochs=1", "x" * 100_000 + "=1"):
        with pytest.raises(InputError) as caught:
            read_recipe_text(recipe, [override])
        assert len(str(caught.value)) < 600
