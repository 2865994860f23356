"""RoBERTa, and what its relatives share: BERT's layers, positions that are counted from the padding's number on, and a head of
two Linears.

Source: Liu et al. 2019, "RoBERTa: A Robustly Optimized BERT Pretraining Approach", arXiv 1907.11692.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn
from transformers import (
    PretrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForQuestionAnswering,
    RobertaForSequenceClassification,
    RobertaForTokenClassification,
    RobertaModel,
)
from transformers.models.roberta.modeling_roberta import RobertaLayer

from compress.models.embedder import embedder
from compress.models.families.bert import FAMILY as BERT
from compress.models.families.family import Family
from compress.models.head import MASKED, SENTENCES, SEQUENCE, SPANS, TEXT_LINEAR, TOKENS


def _first_position(config: Any) -> int:
    padding: int = config.pad_token_id
    return padding + 1


def _check(config: Any) -> str | None:
    padding, most = config.pad_token_id, config.max_position_embeddings
    if type(padding) is int and 0 <= padding < min(most - 1, config.vocab_size):
        return None
    return (
        f"pad_token_id is {padding!r}, but positions are counted from the padding's number on: a whole number from 0 on, of "
        f"the vocabulary and below {most - 1}, is needed"
    )


def like_roberta(
    config: type[PretrainedConfig], classes: Mapping[str, type[PreTrainedModel]], layer: type[nn.Module]
) -> Family:
    """A family that computes as RoBERTa does, with classes of its own."""
    return replace(
        BERT,
        config=config,
        classes=classes,
        layer=layer,
        head=("classifier.dense.", "classifier.out_proj."),
        text_linear=TEXT_LINEAR,
        masked_head=("lm_head", "lm_head.decoder"),
        decoder_layers=None,
        unread=(f"{classes[SEQUENCE].base_model_prefix}.pooler.",),
        pooler="classifier.dense",
        first_position=_first_position,
        check=_check,
        masked_words=(classes[MASKED], "lm_head."),
        student=None,
        as_shared=None,
    )


FAMILY = like_roberta(
    RobertaConfig,
    {
        SEQUENCE: RobertaForSequenceClassification,
        TOKENS: RobertaForTokenClassification,
        SPANS: RobertaForQuestionAnswering,
        MASKED: RobertaForMaskedLM,
        SENTENCES: embedder(RobertaModel),
    },
    RobertaLayer,
)
