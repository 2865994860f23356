"""Look at this machine: the command `doctor`."""

from __future__ import annotations

from dataclasses import asdict

from compress import log
from compress.cli.layout import table_text
from compress.cli.options import AsJson, Debug, Quiet
from compress.cli.printing import print_json, say

EXAMPLE = "bert-compress doctor --json"


def doctor(as_json: AsJson = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Look at this machine and say what it means for training, int8 and the runtimes."""
    log.configure(quiet, debug)
    from compress.benchmark.doctor import diagnose

    findings = diagnose()
    if as_json:
        print_json([asdict(finding) for finding in findings])
        return
    rows = [(finding.name, finding.value, finding.meaning) for finding in findings]
    say(table_text(("what", "found", "what it means"), rows, numbers=False))
