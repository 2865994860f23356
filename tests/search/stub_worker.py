"""A process of a sweep whose trials are stubs: PARENT REQUEST as `compress.search.working`, or `sweep FILE OUT`."""

from __future__ import annotations

import sys

from compress.search import trial, working

trial.CHILD = "tests.search.stub_runs"

if __name__ == "__main__":
    if sys.argv[1] == "sweep":
        from compress.search.sweep import sweep

        sweep(sys.argv[2], out=sys.argv[3], cache=f"{sys.argv[3]}-cache", figures=False)
    else:
        working.main(*sys.argv[1:])
