"""Turn a BERT checkpoint and a labelled task into a small, fast, measured model: read, change, export, measure."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "load": "compress.models.checkpoint",
    "save": "compress.models.checkpoint",
    "save_adapters": "compress.models.checkpoint",
    "load_adapters": "compress.models.checkpoint",
    "task": "compress.tasks",
    "fine_tune": "compress.methods.fine_tune",
    "drop_layers": "compress.methods.drop_layers",
    "build_student": "compress.methods.build_student",
    "load_student": "compress.methods.load_student",
    "build_decoder": "compress.methods.build_decoder",
    "distill": "compress.methods.distill",
    "theseus": "compress.methods.theseus",
    "prune_heads": "compress.methods.prune_heads",
    "prune_ffn": "compress.methods.prune_ffn",
    "prune_after_training": "compress.methods.prune_after_training",
    "prune_weights": "compress.methods.prune_weights",
    "prune_cofi": "compress.methods.prune_cofi",
    "prune_width": "compress.methods.prune_width",
    "prune_to_latency": "compress.methods.prune_to_latency",
    "trim_vocabulary": "compress.methods.trim_vocabulary",
    "share_layers": "compress.methods.share_layers",
    "factorize_embedding": "compress.methods.factorize_embedding",
    "spell_words": "compress.methods.spell_words",
    "low_rank": "compress.methods.low_rank",
    "swap_attention": "compress.methods.swap_attention",
    "quantize_aware": "compress.methods.quantize_aware",
    "calibrate": "compress.methods.calibrate",
    "early_exit": "compress.methods.early_exit",
    "export": "compress.targets.exporting",
    "landscape": "compress.landscapes.landscape",
    "measure": "compress.benchmark.measurement",
    "bundle": "compress.bundles.making",
    "push": "compress.bundles.pushing",
    "QuestionReader": "compress.runtimes.question_reader",
    "SegmentReader": "compress.runtimes.segment_reader",
    "TextWriter": "compress.runtimes.text_writer",
    "run": "compress.pipeline",
    "auto": "compress.search.auto",
    "Goals": "compress.search.goals",
    "sweep": "compress.search.sweep",
}
__all__ = [
    "Goals",
    "QuestionReader",
    "SegmentReader",
    "TextWriter",
    "auto",
    "build_decoder",
    "build_student",
    "bundle",
    "calibrate",
    "distill",
    "drop_layers",
    "early_exit",
    "export",
    "factorize_embedding",
    "fine_tune",
    "landscape",
    "load",
    "load_adapters",
    "load_student",
    "low_rank",
    "measure",
    "prune_after_training",
    "prune_cofi",
    "prune_ffn",
    "prune_heads",
    "prune_to_latency",
    "prune_weights",
    "prune_width",
    "push",
    "quantize_aware",
    "run",
    "save",
    "save_adapters",
    "share_layers",
    "spell_words",
    "swap_attention",
    "sweep",
    "task",
    "theseus",
    "trim_vocabulary",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `import compress` alone loads nothing heavy."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'compress' has no attribute {name!r}")
