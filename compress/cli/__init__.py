"""The command line, `bert-compress`; its commands stand in `commands.py`, each is a file of this folder."""

from __future__ import annotations

from compress.cli.commands import app
from compress.cli.consoles import prepare, send_to_nowhere
from compress.cli.exit_codes import INTERRUPTED

__all__ = ["INTERRUPTED", "app", "prepare", "send_to_nowhere"]
