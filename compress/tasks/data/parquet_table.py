"""Tables out of Parquet files, whose few bytes may stand for more than the memory holds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from compress.errors import InputError, first_line, shown
from compress.tasks.data.mistakes import Mistakes
from compress.tasks.data.packing import byte_limit
from compress.tasks.data.rows import Table, Taken, check_names

BATCH = 1 << 14
LEAST_BYTES = 16
"""What a row of the shortest values takes in memory at least."""


def read_parquet(path: Path, content: bytes, _: str | None) -> Table:
    """Read a Parquet file's columns, those alone that are asked for and in batches.

    Raises:
        InputError: It is damaged, or unpacks to more than a file of its size may.
    """
    import pyarrow
    from pyarrow import parquet

    source = str(path)
    with _damage_told(source):
        file = parquet.ParquetFile(pyarrow.BufferReader(content))
        schema, rows = file.schema_arrow, file.metadata.num_rows
    names = list(schema.names)
    if rows * LEAST_BYTES > byte_limit(len(content)):
        raise _too_large(source, len(content), f"{rows:,} rows")
    mistakes = Mistakes(source, "row")

    def take(wanted: Sequence[str]) -> Taken:
        check_names(source, names)
        for name in wanted:
            kind = _unreadable(schema.field(name).type)
            if kind and rows:
                mistakes.add(
                    1,
                    name,
                    f"is {kind}, as all of its column ({schema.field(name).type}); texts and labels are strings or numbers",
                )
        mistakes.tell()
        with _damage_told(source):
            return _read(source, content, list(wanted), mistakes)

    return Table(source, names, take, mistakes)


def _read(source: str, content: bytes, wanted: list[str], mistakes: Mistakes) -> Taken:
    """Read columns; strings as a dictionary and numbers into it, so that what stands there often is there once."""
    import pyarrow
    from pyarrow import parquet, types

    schema = parquet.ParquetFile(pyarrow.BufferReader(content)).schema_arrow
    flat = [name for name in wanted if not types.is_nested(schema.field(name).type)]
    file = parquet.ParquetFile(pyarrow.BufferReader(content), read_dictionary=flat)
    limit = byte_limit(len(content))
    unpacked = sum(
        chunk.total_uncompressed_size
        for group in range(file.metadata.num_row_groups)
        for chunk in map(file.metadata.row_group(group).column, range(file.metadata.num_columns))
        if chunk.path_in_schema.partition(".")[0] in wanted
    )
    if unpacked > limit:
        raise _too_large(source, len(content), f"{unpacked:,} bytes")
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    total, rows = 0, 0
    for batch in file.iter_batches(BATCH, columns=wanted):
        for name, column in columns.items():
            values = _values(batch.column(batch.schema.names.index(name)), rows + 1, name, mistakes)
            total += sum(_size(value) for value in values)
            if total > limit:
                raise _too_large(source, len(content), "values of more bytes")
            column.extend(values)
        rows += batch.num_rows
    return range(1, rows + 1), [columns[name] for name in wanted]


def _size(value: Any) -> int:
    """About what a value takes in memory, whatever is in it."""
    if isinstance(value, str):
        return len(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return LEAST_BYTES + sum(map(_size, parts))


def _values(array: Any, first_row: int, name: str, mistakes: Mistakes) -> list[Any]:
    """The values of a batch; those of a dictionary are each made once."""
    from pyarrow import types

    try:
        if types.is_dictionary(array.type):
            entries = _values_of(array.dictionary)
            return [None if index is None else entries[index] for index in array.indices.to_pylist()]
        return _values_of(array)
    except UnicodeDecodeError:
        values = []
        for row, value in enumerate(array, first_row):
            try:
                values.append(value.as_py())
            except UnicodeDecodeError:
                mistakes.add(row, name, "is no UTF-8")
                values.append("?")
        return values


def _values_of(array: Any) -> list[Any]:
    import numpy as np
    from pyarrow import types

    values = array.to_pylist()
    if types.is_float16(array.type) or types.is_float32(array.type):  # as few digits as tell the number, as pandas writes it
        short = np.float16 if types.is_float16(array.type) else np.float32
        return [None if value is None else float(str(short(value))) for value in values]
    return values


def _unreadable(kind: Any) -> str | None:
    """What values of a type are, where they are neither texts nor numbers nor true and false, nor lists and objects of these,
    of which the task's kind says whether it reads them."""
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    readable = (
        types.is_string,
        types.is_large_string,
        types.is_string_view,
        types.is_integer,
        types.is_floating,
        types.is_boolean,
        types.is_decimal,
        types.is_null,
    )
    if any(is_kind(kind) for is_kind in readable):
        return None
    if types.is_temporal(kind):
        return "a date or time"
    if types.is_nested(kind):
        inside = (_unreadable(kind.field(place).type) for place in range(kind.num_fields))
        return next((what for what in inside if what), None)
    return "binary data" if "binary" in str(kind) else f"a {kind}"


@contextlib.contextmanager
def _damage_told(source: str) -> Iterator[None]:
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, MemoryError) as err:
        cause = shown(first_line(err), 120)
        raise InputError(f"{source} is no Parquet file, or a damaged one ({cause}); write it again.") from err


def _too_large(source: str, size: int, what: str) -> InputError:
    return InputError(
        f"{source} has {size:,} bytes and unpacks to {what}, which is more than a file of its size may "
        f"({byte_limit(size):,} bytes); write it as .jsonl if that is right, or give a part of its rows."
    )
