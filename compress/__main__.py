"""Let `python -m compress` be the command `bert-compress`."""

from __future__ import annotations

import os
import sys

from compress.cli import INTERRUPTED, app


def main() -> None:
    """Run the command that the arguments name; see `bert-compress --help`."""
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # Python may end by the signal where Ctrl-C met an eval(), handled or not
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise


if __name__ == "__main__":
    main()
