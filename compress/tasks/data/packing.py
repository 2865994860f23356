"""Bytes out of files, packed ones too, never more of them than there is room for."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from compress.errors import InputError, shown

MOST_BYTES = 4 << 30
"""More than this no file may hold, unpacked: as Python's objects it is several times as large."""
LEAST_LIMIT = 64 << 20
MOST_RATIO = 30
"""Text packs to a third or a tenth; what grows thirtyfold, and beyond LEAST_LIMIT, may be made to fill the memory."""
CHUNK = 1 << 20


class _Stream(Protocol):
    """What unpacks bytes as they are read."""

    def read(self, size: int = ..., /) -> bytes: ...


_STREAMS: dict[str, tuple[str, Callable[[IO[bytes]], _Stream]]] = {
    ".gz": ("gzip", lambda file: gzip.GzipFile(fileobj=file)),
    ".bz2": ("bzip2", lambda file: bz2.BZ2File(file)),
    ".xz": ("xz", lambda file: lzma.LZMAFile(file)),  # noqa: SIM115
}
ZIP = ".zip"
PACKED = (*_STREAMS, ZIP)
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, ValueError, RuntimeError, struct.error)
_FIRST_BYTES = (
    (b"\x1f\x8b", "gzip", ".gz"),
    (b"BZh91AY&SY", "bzip2", ".bz2"),
    (b"\xfd7zXZ\0", "xz", ".xz"),
    (b"PK\x03\x04", "zip", ".zip"),
    (b"PAR1\x15", "Parquet", ".parquet"),
    (b"\x28\xb5\x2f\xfd", "Zstandard", ".zst"),
    (b"7z\xbc\xaf", "7-Zip", ".7z"),
    (b"\xd0\xcf\x11\xe0", "Excel (xls)", ".xls"),
    (b"%PDF", "PDF", ".pdf"),
    (b"SQLite format 3\0", "SQLite", ".db"),
    (b"ARROW1", "Arrow", ".arrow"),
)


def byte_limit(packed: int) -> int:
    """Bytes that a packed file of this size may unpack to."""
    return min(MOST_BYTES, max(LEAST_LIMIT, MOST_RATIO * packed))


def unpacked_name(name: str) -> str:
    """The name of a file without what tells that it is packed: train.tsv for train.tsv.gz."""
    ending = next((ending for ending in PACKED if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def read_bytes(path: Path, formats: tuple[str, ...]) -> tuple[str, bytes]:
    """Read a file whole, and unpack it where its name says that it is packed.

    Args:
        path: The file.
        formats: What the name of the file in a .zip may end in.

    Returns:
        The name of what was packed, and its bytes.

    Raises:
        InputError: It cannot be read, is damaged, or holds more bytes than allowed.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise InputError(f"data file {path} has {size:,} bytes; at most {MOST_BYTES:,} are read. Give a part of its rows.")
        ending = next((ending for ending in PACKED if path.name.lower().endswith(ending)), None)
        with path.open("rb") as file:
            if ending == ZIP:
                return _from_zip(path, file, size, formats)
            if ending is None:
                return path.name, file.read()
            return unpacked_name(path.name), _from_stream(path, ending, file, size)
    except OSError as err:
        raise InputError(f"data file {path} cannot be read: {err.strerror or err}.") from err
    except MemoryError as err:
        raise InputError(f"data file {path} does not fit into the memory; give a part of its rows.") from err


def first_bytes(path: Path, most: int) -> bytes:
    """Read the beginning of a file, unpacked; of a .zip nothing.

    Raises:
        InputError: It cannot be read, or is damaged.
    """
    ending = next((ending for ending in PACKED if path.name.lower().endswith(ending)), None)
    try:
        with path.open("rb") as file:
            if ending in _STREAMS:
                try:
                    return _STREAMS[ending][1](file).read(most)
                except _DAMAGE as err:
                    raise _damaged(path, _STREAMS[ending][0], err) from err
            return b"" if ending == ZIP else file.read(most)
    except OSError as err:
        raise InputError(f"data file {path} cannot be read: {err.strerror or err}.") from err


class _Unpacked(io.RawIOBase):
    """What is packed in a file, as a stream whose damage is told."""

    def __init__(self, path: Path, ending: str, file: IO[bytes]) -> None:
        self.path, (self.kind, unpacks) = path, _STREAMS[ending]
        self.stream = unpacks(file)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            content = self.stream.read(len(buffer))
        except _DAMAGE as err:
            raise _damaged(self.path, self.kind, err) from err
        buffer[: len(content)] = content
        return len(content)


@contextlib.contextmanager
def streamed(path: Path) -> Iterator[io.BufferedReader]:
    """Read a file from its beginning to its end without holding it, unpacked where its name says that it is packed.

    Raises:
        InputError: It cannot be opened, is a .zip, or is damaged where it is read.
    """
    ending = next((ending for ending in PACKED if path.name.lower().endswith(ending)), None)
    if ending == ZIP:
        raise InputError(f"{path} is a .zip, which may hold several files; unpack it, and name the file that is needed.")
    try:
        file = path.open("rb")
    except OSError as err:
        raise InputError(f"file {path} cannot be read: {err.strerror or err}.") from err
    with file:
        yield file if ending is None else io.BufferedReader(_Unpacked(path, ending, file), CHUNK)


def refuse_other_kind(source: str, content: bytes) -> None:
    """Raise InputError where bytes that should be text begin as files of another kind do."""
    for begins, kind, ending in _FIRST_BYTES:
        if content.startswith(begins):
            raise InputError(
                f"{source} is no text but a {kind} file, by its first bytes; let its name end in {ending} if that is what it "
                "should be, or write it again."
            )


def _from_stream(path: Path, ending: str, file: IO[bytes], size: int) -> bytes:
    kind, opened = _STREAMS[ending]
    try:
        return _bounded(path, opened(file), size)
    except _DAMAGE as err:
        raise _damaged(path, kind, err) from err


def _from_zip(path: Path, file: IO[bytes], size: int, formats: tuple[str, ...]) -> tuple[str, bytes]:
    try:
        with zipfile.ZipFile(file) as archive:
            members = [member for member in archive.infolist() if _is_data(member)]
            if len(members) != 1:
                names = ", ".join(shown(member.filename) for member in members[:5]) or "none"
                raise InputError(f"{path} holds {len(members)} files ({names}); pack one data file alone, or unpack it.")
            (member,) = members
            if member.flag_bits & 1:
                raise InputError(f"{path} is encrypted; unpack it first.")
            if member.file_size > byte_limit(size):
                raise _too_large(path, size)
            inner = PurePosixPath(member.filename).name
            name = inner if inner.lower().endswith(formats) else unpacked_name(path.name)
            if not name.lower().endswith(formats):
                raise InputError(f"{path} holds {shown(inner)}, which does not end in {', '.join(formats)}; unpack it first.")
            with archive.open(member) as stream:
                return name, _bounded(path, stream, size)
    except _DAMAGE as err:
        raise _damaged(path, "zip", err) from err


def _is_data(member: zipfile.ZipInfo) -> bool:
    """Whether a member is a file that somebody packed on purpose, and none that a Mac adds."""
    parts = PurePosixPath(member.filename).parts
    return not member.is_dir() and bool(parts) and parts[0] != "__MACOSX" and parts[-1] != ".DS_Store"


def _bounded(path: Path, stream: _Stream, size: int) -> bytes:
    most, total = byte_limit(size), 0
    content = io.BytesIO()
    while chunk := stream.read(CHUNK):
        total += len(chunk)
        if total > most:
            raise _too_large(path, size)
        content.write(chunk)
    return content.getvalue()


def _too_large(path: Path, size: int) -> InputError:
    return InputError(
        f"{path} has {size:,} bytes and unpacks to more than {byte_limit(size):,}, which is the limit for a packed file of "
        "its size; unpack it yourself if that is right, or give a part of its rows."
    )


def _damaged(path: Path, kind: str, err: BaseException) -> InputError:
    return InputError(f"{path} is no {kind} file, or a damaged one ({shown(str(err), 120)}); write it again.")
