"""Read YAML into plain data, and keep the line of every value.

YAML 1.2's core rules: only true and false are booleans, `5e-5` is a number, dates and `yes` are texts. PyYAML parses;
ruamel.yaml, which keeps lines too, makes dates of texts, stops at the first key that is there twice, and lets 1e999 and
unknown tags pass.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

import yaml

from compress.errors import InputError
from compress.recipe.mistakes import KeyPath, Mistakes, Place, shown

MOST_CHARACTERS = 200_000
"""A recipe is a page; a larger file was given by mistake."""
DEEPEST = 40
MOST_VALUES = 20_000
LONGEST_NUMBER = 300
"""Characters; longer ones overflow a float, or cannot be read by Python at all."""

_TAG = "tag:yaml.org,2002:"
_RULES = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("merge", r"<<", "<"),
)
_SYNTAX = (
    ("'\\t'", "a tab cannot indent; use spaces"),
    (
        "mapping values are not allowed",
        "a ':' stands where none can; mend the indentation, or quote the text",
    ),
    ("expected <block end>", "the indentation does not fit the lines above; line the keys or dashes up"),
    ("block sequence entries are not allowed", "a '-' cannot stand here; put the list on lines of its own"),
    ("could not find expected ':'", "a key has no ':' after it; write `key: value`"),
    ("expected ',' or ']'", "a list is not closed, or a comma is missing; write [a, b]"),
    ("expected ',' or '}'", "a mapping is not closed, or a comma is missing; write {a: 1, b: 2}"),
    ("expected the node content", "a value is missing here; close the bracket or write the value"),
    ("unexpected end of stream", "a quoted text is not closed; add the closing quote"),
    ("undefined alias", "this alias (*name) has no anchor (&name) before it; write the value itself"),
    ("duplicate anchor", "this anchor (&name) is there twice; use two names"),
    ("but found another document", "a second document starts here ('---'); one file holds one recipe"),
    ("unknown escape", "a backslash in double quotes is an escape; use single quotes"),
    ("cannot start any token", "this character cannot start a value; put the value in quotes"),
)


class _Loader(yaml.SafeLoader):
    """Knows the rules below only."""

    yaml_implicit_resolvers: dict[Any, Any] = {}  # noqa: RUF012 - declared so by its parent


class _Dumper(yaml.SafeDumper):
    """Quotes every text that this reader or a reader of YAML 1.1 would take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind, _pattern, _first in _RULES:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_TAG + _kind, re.compile(rf"(?:{_pattern})\Z"), list(_first))


@dataclass
class Document:
    """A recipe as written: plain data with text keys, and the mistakes found in it."""

    data: Any
    mistakes: Mistakes


def decode(raw: bytes, source: str) -> str:
    """Decode a recipe's bytes as UTF-8, with or without a byte order mark.

    Raises InputError for other encodings, with the line of the first byte that does not fit.
    """
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{source}:1: the file is UTF-16; a recipe is UTF-8: save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = raw.count(b"\n", 0, err.start) + 1
        raise InputError(
            f"{source}:{line}: byte 0x{raw[err.start]:02x} is no UTF-8; a recipe is UTF-8: save it as UTF-8"
        ) from err


def parse(text: str, source: str) -> Document:
    """Parse YAML text; `source` names it in messages.

    Raises InputError when the text is no YAML at all. What can be read in spite of a mistake (a key that is
    there twice, say) is noted in the document's mistakes.
    """
    if len(text) > MOST_CHARACTERS:
        said = f"{len(text)} characters are no recipe, which has at most {MOST_CHARACTERS}"
        raise InputError(f"{source}:1: {said}; is it the right file?")
    text = text.removeprefix("\ufeff")
    try:
        _check_depth(text, source)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError as err:
        line, column = _position(text, err.position)
        said = f"the character {chr(int(err.character))!r} is not allowed in YAML; delete it"
        raise InputError(f"{source}:{line}:{column}: {said}") from err
    except yaml.MarkedYAMLError as err:
        raise InputError(_syntax_message(err, source)) from err
    mistakes = Mistakes(source, {(): Place(1)})
    return Document(_Builder(mistakes).build(node, ()), mistakes)


def dump(data: Any) -> str:
    """Write plain data as YAML that `parse` reads back to the same data."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _check_depth(text: str, source: str) -> None:
    depth = values = 0
    for event in yaml.parse(text, Loader=_Loader):
        values += isinstance(event, yaml.NodeEvent)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise InputError(f"{source}:{line}: {_too_deep()}")
        if values > 2 * MOST_VALUES:  # keys count here too
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise InputError(f"{source}:{line}: {_too_many()}")


def _too_many() -> str:
    return f"more than {MOST_VALUES} values, aliases written out; a recipe is a page: take values out"


def _too_deep() -> str:
    return f"more than {DEEPEST} levels of lists and mappings; a recipe needs about five: unfold it"


def _position(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def _syntax_message(err: yaml.MarkedYAMLError, source: str) -> str:
    started = any(part in str(err.problem) for part in ("could not find expected ':'", "unexpected end of stream"))
    mark = (started and err.context_mark) or err.problem_mark or err.context_mark
    where = source if mark is None else f"{source}:{mark.line + 1}:{mark.column + 1}"
    said = f"{err.context or ''} {err.problem or ''}"
    for part, words in _SYNTAX:
        if part in said:
            opened = err.context_mark.line + 1 if err.context_mark and "not closed" in words and not started else 0
            return f"{where}: {words}{f'; it was opened in line {opened}' if opened else ''}"
    return f"{where}: this is not YAML ({said.strip()}); mend it here or in the line above"


_NOT_PLAIN = "has characters that are no text (a control character or half a character); take them out"


def _is_plain(text: str) -> bool:
    return all(character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs") for character in text)


def _number(kind: str, text: str) -> int | float:
    if kind == "float":
        return float(text)
    return int(text, 0) if text[:2] in ("0x", "0o") else int(text)


class _Builder:
    """Turns YAML nodes into data; keeps count, so that aliases of aliases cannot fill the memory."""

    def __init__(self, mistakes: Mistakes) -> None:
        self.mistakes = mistakes
        self.values = 0

    def build(self, node: yaml.Node | None, path: KeyPath) -> Any:
        if node is None:
            return None
        self.values += 1
        line = node.start_mark.line + 1
        if len(path) > DEEPEST:
            raise InputError(f"{self.mistakes.source}:{line}: {_too_deep()}")
        if self.values > MOST_VALUES:
            raise InputError(f"{self.mistakes.source}:{line}: {_too_many()}")
        if not isinstance(node, yaml.ScalarNode) and node.tag not in (_TAG + "map", _TAG + "seq"):
            return self._refuse(path, f"the tag {shown(node.tag)} cannot be used; write it without")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.mistakes.places.setdefault((*path, index), Place(item.start_mark.line + 1))
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode), "YAML has mappings, lists and scalars"
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = Place(key_node.start_mark.line + 1)
            key = self._key(key_node, path, place)
            if key is None:
                continue
            if key in built:
                first = self.mistakes.place((*path, key)).line
                said = f"this key is there twice, first in line {first}; keep one"
                self.mistakes.add((*path, key), said, place)
                continue
            self.mistakes.places[(*path, key)] = place
            built[key] = self.build(value_node, (*path, key))
        return built

    def _key(self, node: yaml.Node, path: KeyPath, place: Place) -> str | None:
        if node.tag == _TAG + "merge":
            self.mistakes.add(path, "'<<' does not merge here; write the keys out", place)
        elif node.tag in (_TAG + "str", _TAG + "int") and not _is_plain(node.value):
            self.mistakes.add(path, f"the key {shown(node.value)} {_NOT_PLAIN}", place)
        elif node.tag in (_TAG + "str", _TAG + "int"):
            return str(node.value)
        else:
            said = shown(node.value) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
            self.mistakes.add(path, f"{said} is no key; a key is a name: put it in quotes", place)
        return None

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        kind, text = node.tag.removeprefix(_TAG), node.value
        if kind in ("str", "merge"):
            return text if _is_plain(text) else self._refuse(path, f"{shown(text)} {_NOT_PLAIN}")
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind in ("int", "float") and len(text) <= LONGEST_NUMBER:
            try:
                number = _number(kind, text)
            except ValueError:
                number = math.nan
            if math.isfinite(number):
                return number
        return self._refuse(path, f"{shown(text)} cannot be used; write a text, number, true, false or null")

    def _refuse(self, path: KeyPath, message: str) -> None:
        self.mistakes.add(path, message)
        self.mistakes.closed.add(path)
