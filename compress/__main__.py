"""Let `python -m compress` be the command `bert-compress`."""

from __future__ import annotations

from compress.cli import main

if __name__ == "__main__":
    main()
