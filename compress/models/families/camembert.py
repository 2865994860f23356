"""CamemBERT: RoBERTa in French.

Source: Martin et al. 2020, "CamemBERT: a Tasty French Language Model", arXiv 1911.03894.
"""

from __future__ import annotations

from transformers import (
    CamembertConfig,
    CamembertForMaskedLM,
    CamembertForQuestionAnswering,
    CamembertForSequenceClassification,
    CamembertForTokenClassification,
    CamembertModel,
)
from transformers.models.camembert.modeling_camembert import CamembertLayer

from compress.models.embedder import embedder
from compress.models.families.roberta import like_roberta
from compress.models.head import MASKED, SENTENCES, SEQUENCE, SPANS, TOKENS

FAMILY = like_roberta(
    CamembertConfig,
    {
        SEQUENCE: CamembertForSequenceClassification,
        TOKENS: CamembertForTokenClassification,
        SPANS: CamembertForQuestionAnswering,
        MASKED: CamembertForMaskedLM,
        SENTENCES: embedder(CamembertModel),
    },
    CamembertLayer,
)
