"""The command `run` without measuring: RECIPE OPTION... For tests that need a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from compress.__main__ import main
from compress.pipeline import running
from tests.pipeline.run_unmeasured import bare


def run(arguments: Sequence[str]) -> None:
    """Run it on the CPU."""
    running.measure_run = bare
    sys.argv = ["bert-compress", "run", "--device", "cpu", *arguments]
    main()


if __name__ == "__main__":
    run(sys.argv[1:])
