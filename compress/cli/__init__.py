"""The command line: bert-compress run | check | list | export | bench | eval | report | doctor."""

from __future__ import annotations

from compress.cli.commands import app
from compress.cli.exit_codes import INTERRUPTED

__all__ = ["INTERRUPTED", "app"]
