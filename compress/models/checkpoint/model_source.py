"""Find the folder behind a model's name: a folder, an installed package, or a name on the hub."""

from __future__ import annotations

import difflib
import importlib.util
import os
import re
from pathlib import Path

from compress.errors import InputError, shown
from compress.log import libraries_silenced

NEEDED = ["*.json", "*.safetensors", "*.txt", "*.model"]
LONGEST_PATH = 200
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def find_model(name: str | Path) -> Path:
    """The folder that holds the model called `name`.

    Args:
        name: A folder, `package:NAME` for a model that an installed package carries, or a hub name such as
            `google-bert/bert-base-uncased`.

    Raises:
        InputError: There is no such model, or it cannot be reached.
    """
    text = str(name)
    shown_name = shown(text, LONGEST_PATH)
    if not text:
        raise InputError("the model's name is empty; give a folder, package:NAME or a hub name.")
    if text.startswith("package:"):
        return _in_package(text.removeprefix("package:"))
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            next(path.iterdir(), None)  # which tells whether it may be read
            return path
        if path.exists():
            raise InputError(f"model {shown_name} is a file; name the folder that holds config.json and model.safetensors.")
        if path.is_symlink():
            raise InputError(f"model {shown_name} is a link to {os.readlink(path)}, which is not there; give a folder.")
        is_place = isinstance(name, Path) or text.startswith((".", "/", "~")) or not HUB_NAME.fullmatch(text)
        near = difflib.get_close_matches(path.name, _names_beside(path), n=1) if is_place else []
    except (OSError, RuntimeError, ValueError) as err:  # no right to look, a name that is too long, ~ of nobody
        why = getattr(err, "strerror", None) or str(err)
        raise InputError(f"model {shown_name} cannot be looked for: {why}; give a folder that you may read.") from err
    if is_place:
        hint = f" Did you mean {path.parent / near[0]}?" if near else ""
        raise InputError(f"model {shown_name} is no folder.{hint} Give a folder, package:NAME or a hub name.")
    return _on_hub(text)


def _names_beside(path: Path) -> list[str]:
    return [entry.name for entry in path.parent.iterdir() if entry.is_dir()] if path.parent.is_dir() else []


def _in_package(package: str) -> Path:
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except (ImportError, ValueError):
        spec = None
    shown_name = shown(f"package:{package}", LONGEST_PATH)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"model {shown_name}: no package of that name is installed; {_how_to_install(package)}give a folder or a hub name."
        )
    for root in spec.submodule_search_locations:
        for config in sorted(Path(root).rglob("config.json")):
            if any(config.parent.glob("*.safetensors")):
                return config.parent
    raise InputError(
        f"model 'package:{package}': the package carries no folder with config.json and safetensors weights; "
        "give a folder or a hub name."
    )


def _how_to_install(package: str) -> str:
    """A command for the name of a package, and for nothing else that a recipe may hold."""
    if not (package.isidentifier() and package.isascii()):
        return ""
    return f"run pip install {package.replace('_', '-')} if you know and trust the package, or "


def _on_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        with libraries_silenced():
            return Path(snapshot_download(name, allow_patterns=NEEDED))
    except RepositoryNotFoundError as err:
        raise InputError(f"model {name!r} is not on the hub and is no folder here; check the spelling.") from err
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as err:
        raise InputError(
            f"model {name!r} is no folder here, and the hub could not be reached for it; check the connection, "
            "download it beforehand (hf download), or give a folder."
        ) from err
