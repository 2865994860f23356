"""RUN: key, reuse or compute, save, export, measure."""

from __future__ import annotations

from compress.pipeline.running import Surroundings, run

__all__ = ["Surroundings", "run"]
