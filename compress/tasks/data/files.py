"""Data files by the endings of their names: rows out of each, every mistake with file, line and column."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from compress.errors import InputError, shown
from compress.tasks.data.delimited import QUOTINGS, table_reader
from compress.tasks.data.objects import read_document, read_lines
from compress.tasks.data.packing import PACKED, ZIP, read_bytes, unpacked_name
from compress.tasks.data.parquet_table import read_parquet
from compress.tasks.data.rows import Rows, Table, collect

Reader = Callable[[Path, bytes, str | None], Table]
READERS: dict[str, Reader] = {
    ".tsv": table_reader("\t", "none"),
    ".csv": table_reader(",", "csv"),
    ".jsonl": read_lines,
    ".parquet": read_parquet,
    ".ndjson": read_lines,
    ".json": read_document,
}
"""What reads a file, by the ending of its name."""
NO_READERS: Mapping[str, Reader] = {}
FORMATS = tuple(READERS)
ENDINGS = (*FORMATS, *(ending + packed for packed in PACKED for ending in FORMATS), ZIP)
"""Every ending that a data file's name may have."""
_AS_CSV = "save it as CSV with the encoding UTF-8 (File, Save as)"
_AS_PARQUET = "write it as Parquet (to_parquet)"
_CURES = {
    ".xlsx": _AS_CSV,
    ".xls": _AS_CSV,
    ".xlsm": _AS_CSV,
    ".xlsb": _AS_CSV,
    ".ods": _AS_CSV,
    ".numbers": _AS_CSV,
    ".arrow": _AS_PARQUET,
    ".feather": _AS_PARQUET,
    ".orc": _AS_PARQUET,
    ".h5": _AS_PARQUET,
    ".hdf5": _AS_PARQUET,
    ".pkl": f"pickles are never loaded; {_AS_PARQUET}",
    ".pickle": f"pickles are never loaded; {_AS_PARQUET}",
    ".tar": "unpack it",
    ".tgz": "unpack it",
    ".tar.gz": "unpack it",
    ".tar.bz2": "unpack it",
    ".tar.xz": "unpack it",
    ".7z": "unpack it",
    ".rar": "unpack it",
    ".zst": "unpack it (zstd -d)",
    ".lz4": "unpack it",
    ".br": "unpack it",
    ".gz": "let its name tell what it holds (.tsv.gz)",
    ".bz2": "let its name tell what it holds (.tsv.bz2)",
    ".xz": "let its name tell what it holds (.tsv.xz)",
    ".db": "write its table as CSV",
    ".sqlite": "write its table as CSV",
    ".xml": "write a table of text and label as CSV",
    ".txt": "write a table of text and label as TSV or CSV",
}


def is_data_file(name: str) -> bool:
    """Whether a name is that of a file of rows, by its ending, or of a file that is there, which a kind of task may read."""
    return name.lower().endswith(ENDINGS) or _is_there(name)


def _is_there(name: str) -> bool:
    try:
        return Path(name).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # too long a name, no such user, or a name that no file can have
        return False


def stem_of(path: Path) -> str:
    """A data file's name without its endings: train for train.tsv.gz."""
    return Path(unpacked_name(path.name)).stem


def listed(formats: Sequence[str] = FORMATS) -> str:
    """The endings in words, for messages."""
    return f"{', '.join(formats)}, each also packed ({', '.join(PACKED)})"


def read_file(
    path: Path, columns: Mapping[str, str], quoting: str | None = None, *, labelled: bool = True, others: Sequence[str] = ()
) -> Rows:
    """Read a file's rows.

    Args:
        path: Ends in .tsv, .csv, .jsonl, .ndjson, .json or .parquet, and in .gz, .bz2, .xz or .zip after that if it is packed.
        columns: `text`, `pair`, `label` -> column; those left out are found by their usual names.
        quoting: "csv" or "none"; None takes "none" for .tsv and "csv" for .csv.
        labelled: Whether there are labels; without, each row's is empty.
        others: Further columns to read, as labels are.

    Raises:
        InputError: The file is missing, empty, of another kind or broken, or rows of it are; the first ten are named.
    """
    return collect(open_table(path, quoting), columns, labelled=labelled, others=others)


def open_table(path: Path, quoting: str | None = None, more: Mapping[str, Reader] = NO_READERS) -> Table:
    """Read a file as far as the names of its columns; see `read_file`. `more` reads what ends otherwise."""
    readers = {**READERS, **more}
    formats = tuple(readers)
    check_path(path, formats)
    if quoting is not None and quoting not in QUOTINGS:
        raise InputError(f"data.quoting is {shown(quoting)}; allowed: {', '.join(QUOTINGS)}.")
    name, content = read_bytes(path, formats)
    if not content or content.isspace():
        needs = "a header and rows" if name.lower().endswith(FORMATS) else "rows"
        raise InputError(f"data file {path} is empty; it needs {needs}.")
    ending = next(ending for ending in formats if name.lower().endswith(ending))
    try:
        return readers[ending](path, content, quoting)
    except MemoryError as err:
        raise InputError(f"data file {path} does not fit into the memory; give a part of its rows.") from err


def check_path(path: Path, formats: Sequence[str]) -> None:
    """Check that there is a file, and that its name ends as it should.

    Args:
        path: The file.
        formats: What its name may end in, before endings of packed files.

    Raises:
        InputError: It is missing, no file, or of another kind.
    """
    try:
        is_folder, is_file, is_there = path.is_dir(), path.is_file(), path.exists()
    except OSError as err:
        raise InputError(f"data file {shown(str(path), 200)} cannot be read: {err.strerror}.") from err
    if is_folder:
        raise InputError(f"data file {path} is a folder; name a file in it.")
    if is_there and not is_file:
        raise InputError(f"data file {path} is a pipe or a device; save its content as a file that ends in {listed(formats)}.")
    if not is_file:
        problem = f"data file {shown_path(path)} does not exist.{_near(path)}"
        raise InputError(f"{problem} Give a file that ends in {listed(formats)}.")
    name = path.name.lower()
    if name.endswith(ZIP) or unpacked_name(name).endswith(tuple(formats)):
        return
    ending = next((ending for ending in sorted(_CURES, key=len, reverse=True) if name.endswith(ending)), None)
    cure = _CURES[ending] if ending else "convert it"
    raise InputError(
        f"data file {path} ends in {ending or path.suffix!r}; allowed: {listed(formats)}. {cure[0].upper()}{cure[1:]}."
    )


def shown_path(path: Path) -> str:
    """A path as it is, or cut where it is no path that anybody wrote."""
    written = str(path)
    return written if len(written) <= 400 and written.isprintable() else shown(written, 200)


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f" There is no folder {shown_path(path.parent)} either."
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    except OSError:  # a folder that may not be listed has no names to liken
        return ""
    near = difflib.get_close_matches(path.name, names, n=1)
    return f" Did you mean {path.parent / near[0]}?" if near else ""
