"""LEARN: one file, one loss term, one public function of the same name.

Beside its function, each module states NEEDS: "teacher" if it looks at the teacher's answers, and the kinds of states that it
compares. One that compares states states PAIRS, which layers by default, and what must be alike in both models, SAME; one with
PROJECTS compares states of different widths through a learned projection; one with MASKS wants words to be hidden. One with
READS_LABELS cannot do without the data's labels, and one with READS_GROUPS compares examples with one another, as the passages
of a query. OF_VECTORS are those of vectors of texts, of which PROJECTS_VECTORS compares ones of different widths, and NESTS
lets their beginnings be vectors too.
"""

from __future__ import annotations

from compress.plugins import with_plugins

OBJECTIVES = with_plugins(
    "objectives",
    {
        "labels": "compress.objectives.labels",
        "logits": "compress.objectives.logits",
        "logit_mse": "compress.objectives.logit_mse",
        "margin_mse": "compress.objectives.margin_mse",
        "hidden": "compress.objectives.hidden",
        "embedding": "compress.objectives.embedding",
        "attention_scores": "compress.objectives.attention_scores",
        "attention": "compress.objectives.attention",
        "value_relations": "compress.objectives.value_relations",
        "relations": "compress.objectives.relations",
        "first_token": "compress.objectives.first_token",
        "cosine": "compress.objectives.cosine",
        "feature_map": "compress.objectives.feature_map",
        "feature_statistics": "compress.objectives.feature_statistics",
        "masked_words": "compress.objectives.masked_words",
        "masked_logits": "compress.objectives.masked_logits",
        "vectors": "compress.objectives.vectors",
        "similarities": "compress.objectives.similarities",
        "contrastive": "compress.objectives.contrastive",
    },
)
