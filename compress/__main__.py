"""Let `python -m compress` be the command `bert-compress`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command that the arguments name; see `bert-compress --help`."""
    try:
        from compress.cli import INTERRUPTED, app, prepare, send_to_nowhere

        prepare()
    except KeyboardInterrupt:  # before there is anything to tell
        os._exit(130)
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:  # Python may end by the signal where Ctrl-C met an eval(), handled or not
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise
    finally:
        try:
            sys.stdout.flush()
        except OSError:  # told already; Python would tell it once more when it ends
            send_to_nowhere(sys.stdout)


if __name__ == "__main__":
    main()
