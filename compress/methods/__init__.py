"""CHANGE: one file, one method, one public function of the same name."""

from __future__ import annotations

from compress.plugins import with_plugins

METHODS = with_plugins(
    "methods",
    {
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
    },
)
