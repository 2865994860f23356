"""Megatron-BERT: BERT with normalization before each part, and once more behind the last layer.

Source: Shoeybi et al. 2019, "Megatron-LM: Training Multi-Billion Parameter Language Models Using Model Parallelism",
arXiv 1909.08053, section 3.1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from transformers import (
    MegatronBertConfig,
    MegatronBertForMaskedLM,
    MegatronBertForQuestionAnswering,
    MegatronBertForSequenceClassification,
    MegatronBertForTokenClassification,
    MegatronBertModel,
    PreTrainedModel,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.bert.modeling_bert import eager_attention_forward
from transformers.models.megatron_bert.modeling_megatron_bert import MegatronBertLayer, MegatronBertSelfAttention

from compress.models.attention.kernel import take_over
from compress.models.embedder import embedder
from compress.models.families.bert import FAMILY as BERT
from compress.models.head import MASKED, SENTENCES, SEQUENCE, SPANS, TOKENS


class KernelAttention(MegatronBertSelfAttention):
    """The attention by one of transformers' kernels, which has in transformers one of its own.

    Args:
        plain: The module as it is there, whose parts this one takes over.
        config: The model's, which tells the kernel.
    """

    def __init__(self, plain: MegatronBertSelfAttention, config: Any) -> None:
        take_over(self, plain)
        self.config, self.is_causal = config, False
        self.scaling = self.attention_head_size**-0.5

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, None]:
        shape = (*hidden_states.shape[:-1], -1, self.attention_head_size)
        parts = (self.query, self.key, self.value)
        query, key, value = (part(hidden_states).view(shape).transpose(1, 2) for part in parts)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.dropout.p if self.training else 0.0
        context, _weights = attend(self, query, key, value, attention_mask, dropout=dropout, scaling=self.scaling)
        return context.flatten(2), None


def _adapted(model: PreTrainedModel) -> None:
    base: Any = model.base_model
    for layer in base.encoder.layer:
        layer.attention.self = KernelAttention(layer.attention.self, model.config)


FAMILY = replace(
    BERT,
    config=MegatronBertConfig,
    classes={
        SEQUENCE: MegatronBertForSequenceClassification,
        TOKENS: MegatronBertForTokenClassification,
        SPANS: MegatronBertForQuestionAnswering,
        MASKED: MegatronBertForMaskedLM,
        SENTENCES: embedder(MegatronBertModel),
    },
    layer=MegatronBertLayer,
    attention_norm="attention.ln",
    output_norm="ln",
    norms_behind=False,
    decoder_layers=None,
    base_parts=("pooler.", "encoder.ln."),
    embeddings_norm="",
    adapted=_adapted,
    after_attention=None,
    abilities=frozenset({"share"}),
    prunes_by_config=False,
    masked_words=(MegatronBertForMaskedLM, "cls.predictions."),
    student=None,
    as_shared=None,
)
