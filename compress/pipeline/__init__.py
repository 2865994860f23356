"""RUN: key, reuse or compute, save, export, measure."""

from __future__ import annotations

from compress.pipeline.options import RunOptions
from compress.pipeline.running import raise_for_gates, run, run_folder
from compress.pipeline.seeds import results_path, run_seeds, write_results

__all__ = ["RunOptions", "raise_for_gates", "results_path", "run", "run_folder", "run_seeds", "write_results"]
