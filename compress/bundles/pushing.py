"""Push a bundle or an exported folder to the hub, as it was made or not at all."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from compress.bundles.checksums import SUMS, differences
from compress.disk import hashes_of
from compress.errors import CompressError, InputError, first_line, shown
from compress.facts import FACTS, read_facts
from compress.log import libraries_silenced
from compress.marks import MARK, read_mark, written
from compress.models.checkpoint.companions import CONFIG
from compress.runtimes.graph_files import file_in

logger = logging.getLogger(__name__)

REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
BRANCH = re.compile(r"[A-Za-z0-9][\w./-]{0,199}")
TOKENS = "https://huggingface.co/settings/tokens"
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Pushed:
    """What was pushed, or would be.

    Args:
        repo: Where to.
        files: Their sizes in bytes, by path.
        url: Of the repository; None where nothing was sent.
        commit: Its hash; None where nothing was sent.
        stale: What the repository holds besides, which stays.
    """

    repo: str
    files: dict[str, int]
    url: str | None = None
    commit: str | None = None
    stale: tuple[str, ...] = ()


def push(
    folder: str | Path,
    repo: str,
    *,
    public: bool = False,
    branch: str | None = None,
    message: str | None = None,
    dry_run: bool = False,
    api: Any = None,
) -> Pushed:
    """Push a folder to the hub's repository of a model, which is made where there is none, and is private then.

    Source: huggingface_hub, `HfApi.upload_folder`; with hf_xet, which it brings, one that was interrupted goes on where it was
    when it is called again.

    Args:
        folder: A bundle, or what an export wrote.
        repo: ORG/NAME.
        public: Make the repository public; one that is public already is refused without it.
        branch: Made where there is none; main if None.
        message: Of the commit.
        dry_run: Check all that can be checked here, and send nothing.
        api: A `huggingface_hub.HfApi`, with a token of its own; None for the one that is logged in.

    Raises:
        InputError: The folder is nothing of ours, is not as it was made, or may not be pushed there.
        CompressError: The hub cannot be reached, or failed.
    """
    path = Path(folder)
    if not REPO.fullmatch(repo):
        raise InputError(
            f"the repository is {shown(repo)}; allowed: ORG/NAME of letters, digits, '-', '_' and '.'. Correct it."
        )
    if branch is not None and not BRANCH.fullmatch(branch):
        raise InputError(f"the branch is {shown(branch)}; allowed: letters, digits, '-', '_', '.' and '/'. Correct it.")
    files = {name: (path / name).stat().st_size for name in _checked_files(path)}
    if dry_run:
        return Pushed(repo, files)
    api = api or _logged_in()
    try_on_hub = _Hub(repo)
    try_on_hub(lambda: api.create_repo(repo, private=not public, exist_ok=True))
    if not public and try_on_hub(lambda: api.repo_info(repo)).private is False:
        raise InputError(f"{repo} is public already; push with --public if that is meant, or name another repository.")
    if branch is not None:
        try_on_hub(lambda: api.create_branch(repo, branch=branch, exist_ok=True))
    there = try_on_hub(lambda: api.list_repo_files(repo, revision=branch))
    commit = try_on_hub(
        lambda: api.upload_folder(
            repo_id=repo,
            folder_path=path,
            revision=branch,
            ignore_patterns=[MARK],
            commit_message=message or "Upload with bert-compress",
        )
    )
    stale = tuple(sorted(set(there) - files.keys() - {".gitattributes"}))
    if stale:
        logger.warning("%s holds files that are not in %s, and stay: %s", repo, path, ", ".join(stale[:8]))
    return Pushed(repo, files, str(commit.repo_url), str(commit.oid), stale)


def _checked_files(folder: Path) -> list[str]:
    """The files that are pushed, once it is certain that they are as they were made."""
    if not folder.is_dir():
        raise InputError(f"{shown(str(folder))} is no folder; give a bundle, or what an export wrote.")
    if not (folder / FACTS).is_file() or not (folder / CONFIG).is_file():
        raise InputError(
            f"{folder} is neither a bundle nor an exported folder (it has no {FACTS} with {CONFIG}); make one with "
            "bert-compress bundle, or bert-compress export."
        )
    there = hashes_of(folder)
    if (folder / SUMS).is_file():
        problems = differences(folder)
    elif file_in(folder).is_file() and read_facts(folder).target:
        problems = _changed_since_run(folder, there)
    else:
        raise InputError(f"{folder} has no {SUMS}, so that nobody knows whether it is whole; make the bundle again.")
    if problems:
        raise InputError(
            f"{folder} is not as it was made: {'; '.join(problems[:5])}. Put that right, or make it again; nothing was sent."
        )
    return [name for name in there if name != MARK]


def _changed_since_run(folder: Path, there: dict[str, str]) -> list[str]:
    """What of an exported folder in a run folder is not as the run wrote it; nothing is known of other folders."""
    place = folder.resolve()
    run = place.parent.parent
    prefix = f"{place.relative_to(run).as_posix()}/"
    listed = {
        name.removeprefix(prefix): states for name, states in written(read_mark(run) or {}).items() if name.startswith(prefix)
    }
    changed = [f"{name} was changed" for name, states in listed.items() if name in there and there[name] not in states]
    return [*(f"{name} is missing" for name in listed if name not in there), *changed]


def _logged_in() -> Any:
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise InputError(
            f"nobody is logged in to the hub; run `hf auth login`, or set HF_TOKEN to a token that may write ({TOKENS})."
        )
    return HfApi()


class _Hub:
    """Calls of the hub, whose errors become one message."""

    def __init__(self, repo: str) -> None:
        self.repo = repo

    def __call__(self, call: Callable[[], Answer]) -> Answer:
        """Call it."""
        from huggingface_hub.errors import HfHubHTTPError, HTTPError  # type: ignore[attr-defined]

        try:
            with libraries_silenced():
                return call()
        except HfHubHTTPError as err:
            status = getattr(err.response, "status_code", None)
            if status in (401, 403):
                raise InputError(
                    f"the hub does not let this token write to {self.repo} ({status}); log in with `hf auth login`, or set "
                    f"HF_TOKEN to one that may write there ({TOKENS})."
                ) from err
            raise CompressError(f"the hub failed with {self.repo} ({first_line(err)}); run the same command again.") from err
        except (HTTPError, OSError, RuntimeError) as err:  # the last is hf_xet's
            raise CompressError(
                f"the hub cannot be reached ({first_line(err)}); run the same command again, which goes on where it was."
            ) from err
