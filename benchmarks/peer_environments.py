"""Environments for tools that want other versions than this one, and what is asked of the processes in them."""

from __future__ import annotations

import json
import os
import site
import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PROCESS = HERE / "peer_process.py"


class PeerFailed(SystemExit):
    """A process of a peer ended with an error: its last words, which also end a script that does not go on without it."""


def environment(folder: Path, packages: Sequence[str], *, pinned: bool = True, on_top: bool = False) -> str:
    """Make an environment with some packages, unless it is there, and return its Python.

    Args:
        folder: Where.
        packages: As pip takes them; the first alone before the others, so that a CPU build of torch is taken where pip is
            told of one.
        pinned: Hold them to this project's constraints.
        on_top: Let it see what is installed here, behind its own packages.
    """
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"installing {', '.join(packages)}", flush=True)
        venv.create(folder, with_pip=True)
        if on_top:
            own = next((folder / "lib").glob("python*")) / "site-packages"
            (own / "parent.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")
        pins = ["--constraint", str(HERE.parent / "constraints.txt")] if pinned else []
        for part in [packages] if on_top else (packages[:1], packages):
            run([str(python), "-m", "pip", "install", "--quiet", *pins, *part])
        (folder / "ready").touch()
    return str(python)


def run(command: Sequence[str], request: dict[str, Any] | None = None, threads: int | None = None) -> str:
    """Run a command with a request on its stdin, and return its stdout.

    Raises:
        PeerFailed: It ended with an error.
    """
    limited = {} if threads is None else dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    ended = subprocess.run(
        command,
        input=json.dumps(request) if request else None,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **limited, "PYTHONPATH": str(HERE.parent), "HF_HUB_OFFLINE": "1"},
    )
    if ended.returncode:
        raise PeerFailed(f"{' '.join(command[:4])} failed:\n{ended.stderr[-3000:]}")
    return ended.stdout


def asked(python: str, threads: int, request: dict[str, Any]) -> dict[str, Any]:
    """What a fresh `peer_process` answers."""
    answer: dict[str, Any] = json.loads(run([python, str(PROCESS)], {**request, "threads": threads}, threads))
    return answer
