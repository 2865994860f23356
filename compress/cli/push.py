"""Push a bundle or an exported folder to the hub: the command `push`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from compress import log
from compress.cli.layout import table_text
from compress.cli.options import AsJson, Debug, Quiet, named, path_named
from compress.cli.printing import kept_from_stdout, print_json, say
from compress.record import megabytes

EXAMPLE = "bert-compress push sst2-small ORG/sst2-small --dry-run"


def push(
    folder: Annotated[Path, typer.Argument(parser=path_named, metavar="FOLDER", help="A bundle, or an exported folder.")],
    repo: Annotated[str, typer.Argument(parser=named, metavar="REPO", help="ORG/NAME; made where it is not there.")],
    public: Annotated[bool, typer.Option("--public", help="For everyone to see; private if left out.")] = False,
    branch: Annotated[str | None, typer.Option(help="Made where it is not there; main if left out.")] = None,
    message: Annotated[str | None, typer.Option(help="Of the commit.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the folder, tell what would be sent, and send nothing.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Push a bundle or an exported folder to the hub, privately, if it is as it was made."""
    log.configure(quiet, debug)
    from compress.bundles import pushing

    with kept_from_stdout(sys.stderr):
        pushed = pushing.push(folder, repo, public=public, branch=branch, message=message, dry_run=dry_run)
    if as_json:
        print_json(
            {
                "repo": pushed.repo,
                "url": pushed.url,
                "commit": pushed.commit,
                "files": pushed.files,
                "stale": list(pushed.stale),
                "sent": not dry_run,
            }
        )
        return
    total = megabytes(sum(pushed.files.values()))
    if dry_run:
        say(table_text(("file", "size"), [(name, megabytes(size)) for name, size in pushed.files.items()]))
        seen_by = "public" if public else "private"
        say(f"{len(pushed.files)} files, {total}, would go to {pushed.repo} ({seen_by}); nothing was sent")
        return
    say(f"pushed: {len(pushed.files)} files, {total}, to {pushed.url} (commit {pushed.commit})")
