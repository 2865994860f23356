"""Environments of their own for readers that need other versions than ours, installed from the registries."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

LONGEST_SECONDS = 400


def python_with(folder: Path, *packages: str) -> Path:
    """Python of an environment with these packages in front of everything that is installed here."""
    venv.create(folder, with_pip=True)
    site_packages = next((folder / "lib").glob("python*")) / "site-packages"
    (site_packages / "parent.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")
    python = folder / "bin" / "python"
    _install([str(python), "-m", "pip", "install", "--quiet", *packages], packages[-1])
    return python


def node_with(folder: Path, *packages: str) -> Path:
    """A folder from which node finds these packages."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        _unavailable("node", "it is not on the PATH")
    folder.mkdir()
    (folder / "package.json").write_text('{"type": "module"}\n', encoding="utf-8")
    _install([str(npm), "install", "--ignore-scripts", "--no-audit", "--no-fund", *packages], packages[-1], folder)
    return folder


def _install(command: Sequence[str], what: str, folder: Path | None = None) -> None:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False, cwd=folder)
    except subprocess.TimeoutExpired:
        _unavailable(what, f"it took more than {LONGEST_SECONDS} seconds")
    if ended.returncode:
        _unavailable(what, ended.stderr[-500:])


def _unavailable(what: str, why: str) -> None:
    """Skip, or fail where every reader has to be there."""
    if os.environ.get("BERT_COMPRESS_NEED_OPTIMUM") == "1":
        pytest.fail(f"{what} could not be installed: {why}")
    pytest.skip(f"{what} could not be installed")
