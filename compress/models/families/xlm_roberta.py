"""XLM-RoBERTa: RoBERTa in a hundred languages.

Source: Conneau et al. 2020, "Unsupervised Cross-lingual Representation Learning at Scale", arXiv 1911.02116.
"""

from __future__ import annotations

from transformers import (
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    XLMRobertaForQuestionAnswering,
    XLMRobertaForSequenceClassification,
    XLMRobertaForTokenClassification,
    XLMRobertaModel,
)
from transformers.models.xlm_roberta.modeling_xlm_roberta import XLMRobertaLayer

from compress.models.embedder import embedder
from compress.models.families.roberta import like_roberta
from compress.models.head import MASKED, SENTENCES, SEQUENCE, SPANS, TOKENS

FAMILY = like_roberta(
    XLMRobertaConfig,
    {
        SEQUENCE: XLMRobertaForSequenceClassification,
        TOKENS: XLMRobertaForTokenClassification,
        SPANS: XLMRobertaForQuestionAnswering,
        MASKED: XLMRobertaForMaskedLM,
        SENTENCES: embedder(XLMRobertaModel),
    },
    XLMRobertaLayer,
)
