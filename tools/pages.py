"""Keep the tables and figures of a Markdown page the same as the results that they come from."""

from __future__ import annotations

import re
from pathlib import Path

from compress import record
from compress.errors import InputError
from tools.families import families_block, shapes_block
from tools.front import front_block
from tools.landscapes import landscapes_block, landscapes_figures
from tools.lengths import lengths_block
from tools.one_encoder import one_encoder_block
from tools.peers import peers_block
from tools.tables import read_folder, read_results, recipes_table, results_table
from tools.ways import ways_block

KINDS = {
    "results": "FILE.json",
    "recipes": "FOLDER",
    "front": "FOLDER",
    "lengths": "FILE.json",
    "peers": "FILE.json",
    "families": "FILE.json",
    "ways": "FILE.json",
    "shapes": "FILE.json",
    "landscapes": "FILE.json",
    "encoder": "FILE.json",
}
BLOCKS = {
    "peers": peers_block,
    "families": families_block,
    "shapes": shapes_block,
    "ways": ways_block,
    "landscapes": landscapes_block,
    "encoder": one_encoder_block,
}
START = re.compile(rf"^<!-- ({'|'.join(KINDS)}): (\S+) -->[ \t]*\r?$", re.MULTILINE)
END = re.compile(rf"^<!-- end of ({'|'.join(KINDS)}) -->[ \t]*\r?$", re.MULTILINE)


def refresh_tables(path: Path) -> bool:
    """Write the tables of a Markdown page, and the figures that it shows, anew from the results that it names.

    A table of one recipe stands between the lines `<!-- results: FILE -->` and `<!-- end of results -->`, where FILE is a
    results file ({schema: 1, runs: [run.json, ...]}) as seen from the page's folder. A table of all recipes of a task stands
    between `<!-- recipes: FOLDER -->` and `<!-- end of recipes -->`, where FOLDER holds results files. Their overview beside
    what is published stands between `<!-- front: FOLDER -->` and `<!-- end of front -->`; its figures are written to
    FOLDER/front.svg and FOLDER/front_speed.svg. What long texts take stands between `<!-- lengths: FILE -->` and
    `<!-- end of lengths -->`, where FILE is a result of benchmarks/long_inputs.py; its figures are written beside it. What
    files of every kind of task are beside those of other tools stands between `<!-- peers: FILE -->` and
    `<!-- end of peers -->`, where FILE is a result of benchmarks/tasks_and_peers.py; `families`, `shapes`, `ways`,
    `landscapes` and `encoder` stand for results of benchmarks/families_from_scratch.py, family_peers.py,
    ways_to_fine_tune.py, landscapes.py and one_encoder.py in the same way.

    Returns:
        Whether the page or a figure changed.

    Raises:
        InputError: The page or a results file is missing or damaged, a folder holds no results, or the page has no such
            lines, or not in pairs.
        CompressError: The page or a figure may not be written to.
    """
    try:
        before = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"{path} cannot be read ({err}); name a Markdown file.") from err
    newline = "\r\n" if "\r\n" in before else "\n"
    contents: dict[Path, str] = {}
    after, end = "", 0
    for start, stop in _places(before, path):
        kind, name = start.groups()
        named, figures = path.parent / name, dict[str, str]()
        if kind == "front":
            block, figures = front_block(named, name.rstrip("/"))
        elif kind == "lengths":
            block, figures = lengths_block(named, name)
        elif kind in BLOCKS:
            block = BLOCKS[kind](named)
            figures = landscapes_figures(named) if kind == "landscapes" else figures
        elif kind == "recipes":
            block = recipes_table(read_folder(named))
        else:
            block = results_table(read_results(named))
        folder = named if kind == "front" else named.parent
        contents |= {folder / file: text for file, text in figures.items()}
        after += before[end : start.end()].rstrip("\r") + newline
        after += newline.join(["", *block.splitlines(), "", ""])
        end = stop.start()
    contents[path] = after + before[end:]
    changed = [file for file, text in contents.items() if not file.is_file() or file.read_bytes() != text.encode()]
    for file in changed:
        if file != path and file.exists() and not _is_figure(file):
            raise InputError(f"{file} would be written over, but is no figure of ours; move it away, or rename it.")
    for file in changed:
        record.write_whole(file, contents[file])
    return bool(changed)


def _is_figure(path: Path) -> bool:
    """Whether we drew what is in a file, by how our figures begin, those of earlier versions too."""
    if path.is_symlink() or not path.is_file():
        return False
    begins = path.read_bytes()[:1000]
    return begins.startswith(b"<svg ") and b"svg { --card: " in begins


def _places(text: str, path: Path) -> list[tuple[re.Match[str], re.Match[str]]]:
    """The pairs of lines between which a table stands."""
    marks = sorted([*START.finditer(text), *END.finditer(text)], key=lambda mark: mark.start())
    if not marks:
        wanted = " or ".join(f"<!-- {kind}: {what} -->" for kind, what in KINDS.items())
        raise InputError(f"{path} has no line {wanted}; put one, and its <!-- end of results --> or the like after it.")
    pairs = list(zip(marks[::2], marks[1::2], strict=False))
    if len(marks) % 2 or any(start.re is not START or end.re is not END or start[1] != end[1] for start, end in pairs):
        wanted = ", ".join(f"<!-- {kind}: {what} --> needs one <!-- end of {kind} -->" for kind, what in KINDS.items())
        raise InputError(f"{path}: each {wanted} after it, and no other may stand there.")
    return pairs
