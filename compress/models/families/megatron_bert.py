"""Megatron-BERT: BERT with normalization before each part, and once more behind the last layer.

Source: Shoeybi et al. 2019, "Megatron-LM: Training Multi-Billion Parameter Language Models Using Model Parallelism",
arXiv 1909.08053, section 3.1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import (
    MegatronBertConfig,
    MegatronBertForMaskedLM,
    MegatronBertForQuestionAnswering,
    MegatronBertForSequenceClassification,
    MegatronBertForTokenClassification,
    MegatronBertModel,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPastAndCrossAttentions
from transformers.models.megatron_bert.modeling_megatron_bert import (
    MegatronBertEncoder,
    MegatronBertLayer,
    MegatronBertSelfAttention,
)

from compress.models.attention.kernel import attended, by_head, take_over
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
        parts = (self.query, self.key, self.value)
        query, key, value = (by_head(part(hidden_states), self.attention_head_size) for part in parts)
        return attended(self, query, key, value, attention_mask, scaling=self.scaling), None


class PlainLayer(MegatronBertLayer):
    """The layer, which answers a tensor, as those of other families do.

    Args:
        plain: See KernelAttention.
        config: See KernelAttention.
    """

    def __init__(self, plain: MegatronBertLayer, config: Any) -> None:
        take_over(self, plain)
        own: Any = self.attention
        own.self = KernelAttention(own.self, config)

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any) -> torch.Tensor:
        output: torch.Tensor = self.feed_forward_chunk(self.attention(hidden_states, attention_mask)[0])
        return output


class PlainEncoder(MegatronBertEncoder):
    """The encoder of such layers.

    Args:
        plain: See KernelAttention.
        config: See KernelAttention.
    """

    def __init__(self, plain: MegatronBertEncoder, config: Any) -> None:
        take_over(self, plain)
        self.layer = nn.ModuleList([PlainLayer(layer, config) for layer in plain.layer])

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        **_: Any,
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        states = [hidden_states]
        layers: Any = self.layer
        for layer in layers:
            states.append(layer(states[-1], attention_mask))
        states[-1] = self.ln(states[-1])
        return BaseModelOutputWithPastAndCrossAttentions(
            last_hidden_state=states[-1], hidden_states=tuple(states) if output_hidden_states else None
        )


def _adapted(model: PreTrainedModel) -> None:
    base: Any = model.base_model
    base.encoder = PlainEncoder(base.encoder, model.config)


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
    abilities=frozenset(),
    why_not={"share": "a megatron-bert normalizes before each part, and what is shared is fitted to normalized states"},
    prunes_by_config=False,
    masked_words=(MegatronBertForMaskedLM, "cls.predictions."),
    student=None,
    as_shared=None,
)
