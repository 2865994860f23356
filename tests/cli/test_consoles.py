"""Commands in processes of their own, on consoles of every encoding and width, closed, full and gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compress.cli.consoles import plain_characters

ROOT = Path(__file__).parents[2]
SETS = ("RANK", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PYTHONIOENCODING", "LC_ALL")
posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX descriptors")
DRAWN = "Z\u00fcrich \u6771\u4eac \u00d7 \u2013 \u2212 \u2192 \u2026 \u2501 \udcff"

PROGRAM = """
import sys, types, compress.recipe, compress.log, logging
from compress.recipe.plan import Plan
from compress.live import LiveView, Stage
drawn = "Z\\u00fcrich \\u6771\\u4eac \\u00d7 \\u2013 \\u2212 \\u2192 \\u2026 \\u2501 \\udcff"
class Named(Plan):
    def resolved(self):
        return {"name": self.name}
def read_recipe(path, overrides):
    with LiveView(drawn, [Stage(drawn, is_logged=False)]) as view:
        logging.getLogger("compress").info(drawn)
        view(f"{drawn}: train", 1, 2, loss=-0.5)
        print(drawn, file=sys.stderr)
    return Named(drawn, 1, "m", {}, (), ())
compress.recipe.read_recipe = read_recipe
from compress.__main__ import main
main()
"""


def _run(*arguments: str, code: str = "from compress.__main__ import main; main()", **options: Any) -> Any:
    environment = {name: value for name, value in os.environ.items() if name not in SETS} | options.pop("environment", {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 100, "check": False} | options
    return subprocess.run([sys.executable, "-c", code, *arguments], env=environment, cwd=ROOT, **pipes)


def _run_in_shell(rest: str, *arguments: str, code: str = "from compress.__main__ import main; main()") -> Any:
    """Run a command with what a shell does to its streams."""
    shell = ["sh", "-c", f'"$0" -c "$CODE" "$@" {rest}', sys.executable, *arguments]
    return subprocess.run(shell, cwd=ROOT, capture_output=True, env={**os.environ, "CODE": code}, timeout=100, check=False)


@pytest.mark.parametrize(
    ("environment", "encoding"),
    [
        ({"PYTHONIOENCODING": "cp1252"}, "cp1252"),
        ({"PYTHONIOENCODING": "ascii"}, "ascii"),
        ({"PYTHONIOENCODING": "latin-1:strict"}, "latin-1"),
        ({"PYTHONIOENCODING": "cp437"}, "cp437"),
        ({"PYTHONIOENCODING": "utf-16"}, "utf-16"),
        ({"PYTHONIOENCODING": "utf-8:strict"}, "utf-8"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "ascii"),
        ({"PYTHONUTF8": "0"}, None),
    ],
    ids=str,
)
def test_a_result_is_told_on_a_console_of_any_encoding(environment: dict[str, str], encoding: str | None) -> None:
    done = _run("check", "a.yaml", code=PROGRAM, environment=environment)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding or "utf-8", "replace")
    assert text.startswith("ok: Z")
    assert "0 steps (none)" in text
    assert b"Traceback" not in done.stderr
    assert b"Error" not in done.stderr
    done = _run("check", "a.yaml", "--json", code=PROGRAM, environment=environment)
    assert json.loads(done.stdout.decode(encoding or "utf-8"))["recipe"]["name"] == DRAWN.replace("\udcff", r"\udcff")


def test_signs_that_an_encoding_lacks_become_plain_ones() -> None:
    error = UnicodeEncodeError("ascii", "7.9\u00d7 \u2013 \u6771", 3, 7, "")
    assert plain_characters(error) == ("x - \\u6771"[:4], 7)
    with pytest.raises(UnicodeDecodeError):
        plain_characters(UnicodeDecodeError("ascii", b"\xff", 0, 1, ""))


LIGHT = [
    (["--help"], 0),
    (["list", "tasks", "--json"], 0),
    (["check", "recipes/quickstart.yaml"], 0),
    (["check", "no.yaml"], 2),
    (["check", "no.yaml", "--json"], 2),
]


@posix
@pytest.mark.parametrize(("arguments", "code"), LIGHT)
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-", "2>/dev/full"])
def test_a_closed_or_full_stream_changes_no_exit_code(arguments: list[str], code: int, closed: str) -> None:
    done = _run_in_shell(closed, *arguments)
    assert done.returncode == code
    assert b"Traceback" not in done.stdout + done.stderr
    assert b"Exception ignored" not in done.stderr


@posix
@pytest.mark.parametrize(("arguments", "code"), LIGHT)
def test_a_full_stdout_is_told_in_one_line(arguments: list[str], code: int) -> None:
    done = _run_in_shell(">/dev/full", *arguments)
    assert done.returncode == (code or 1)
    assert b"Traceback" not in done.stderr
    assert (b"No space left on device" in done.stderr) is (arguments != ["check", "no.yaml"])


@posix
def test_a_closed_stdout_never_becomes_a_file_of_ours(tmp_path: Path) -> None:
    code = f"""
import os, compress.recipe
def read_recipe(path, overrides):
    with open({str(tmp_path / "weights")!r}, "w") as file:
        os.write(1, b"printed by a library")
        os.write(2, b"told by a library")
        file.write("mine")
    raise SystemExit(0)
compress.recipe.read_recipe = read_recipe
from compress.__main__ import main
main()
"""
    assert _run_in_shell(">&- 2>&-", "check", "a.yaml", code=code).returncode == 0
    assert (tmp_path / "weights").read_text() == "mine"


@posix
@pytest.mark.parametrize("columns", ["1", "0", "abc", "\u00b2", "99999999999999999999"])
def test_a_size_of_the_terminal_that_is_none_is_passed_over(columns: str) -> None:
    environment = {"COLUMNS": columns, "LINES": columns, "TERM": "dumb"}
    done = _run("check", "a.yaml", code=PROGRAM, environment=environment | {"TTY_COMPATIBLE": "1"})
    assert (done.returncode, done.stdout[:4]) == (0, b"ok: ")
    assert _run("--help", environment=environment).returncode == 0


@posix
@pytest.mark.parametrize(
    ("columns", "environment"),
    [(1, {"TERM": "xterm"}), (40, {"TERM": "xterm", "NO_COLOR": "1"}), (40, {"TERM": "dumb"}), (0, {"TERM": "xterm"})],
)
def test_a_terminal_of_any_width_sees_the_view_and_the_result(columns: int, environment: dict[str, str]) -> None:
    import fcntl
    import pty
    import struct
    import termios

    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 10, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "check", "a.yaml"],
        stdout=terminal,
        stderr=terminal,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii", **environment},
    )
    os.close(terminal)
    output = b""
    while True:
        try:
            part = os.read(controller, 4096)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        output += part
    os.close(controller)
    assert process.wait(timeout=60) == 0, output
    assert b"Traceback" not in output
    assert b"ok: Z\\xfcrich" in output


@posix
def test_colours_that_are_forced_do_not_move_lines_in_a_file() -> None:
    done = _run("check", "a.yaml", code=PROGRAM, environment={"FORCE_COLOR": "1", "TERM": "xterm"})
    assert done.returncode == 0
    assert b"\x1b[2K" not in done.stderr
    assert b"\x1b[?25l" not in done.stderr


@posix
def test_a_reader_of_stderr_that_leaves_stops_no_work() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = _run("check", "a.yaml", code=PROGRAM, stderr=writer)
    os.close(writer)
    assert (done.returncode, done.stdout[:4]) == (0, b"ok: ")


@posix
@pytest.mark.parametrize("arguments", [arguments for arguments, _ in LIGHT], ids=" ".join)
def test_a_reader_that_takes_one_line_sees_no_traceback(arguments: list[str]) -> None:
    done = _run_in_shell("| head -1", *arguments)
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
