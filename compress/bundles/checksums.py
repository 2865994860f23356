"""SHA256SUMS: written last, and what `sha256sum -c` and `push` check."""

from __future__ import annotations

import re
from pathlib import Path

from compress.disk import hashes_of, write_lasting
from compress.errors import InputError, first_line
from compress.marks import MARK

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write_sums(folder: Path) -> None:
    """List every file of a folder with the hash of its contents, but for our mark, which is not shipped."""
    lines = [f"{sha256}  {name}\n" for name, sha256 in hashes_of(folder).items() if name not in (SUMS, MARK)]
    write_lasting(folder / SUMS, "".join(lines).encode())


def read_sums(folder: Path) -> dict[str, str]:
    """Read the hash of each file by its path.

    Raises:
        InputError: A line is none of SHA256SUMS, or the file cannot be read.
    """
    path = folder / SUMS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"{path} cannot be read ({first_line(err)}); restore it, or make the bundle again.") from err
    sums = {}
    for number, line in enumerate(lines, 1):
        entry = _LINE.fullmatch(line)
        if entry is None:
            raise InputError(f"{path}:{number} is no line of hash and name; restore it, or make the bundle again.")
        sums[entry[2]] = entry[1]
    return sums


def differences(folder: Path) -> list[str]:
    """Say what of a folder is not as SHA256SUMS lists it: missing, changed and further files; nothing if all agree."""
    listed, there = read_sums(folder), hashes_of(folder)
    said = [f"{name} is missing" for name in listed if name not in there]
    said += [f"{name} was changed" for name, sha256 in listed.items() if there.get(name, sha256) != sha256]
    return said + [f"{name} is not listed" for name in there if name not in listed and name not in (SUMS, MARK)]
