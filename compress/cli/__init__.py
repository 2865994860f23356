"""The command line: bert-compress run | check | list | export | bench | eval | compare | landscape | serve | report | doctor."""

from __future__ import annotations

from compress.cli.commands import app
from compress.cli.consoles import prepare, send_to_nowhere
from compress.cli.exit_codes import INTERRUPTED

__all__ = ["INTERRUPTED", "app", "prepare", "send_to_nowhere"]
