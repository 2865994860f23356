"""data2vec for text: computes as RoBERTa does.

Source: Baevski et al. 2022, "data2vec: A General Framework for Self-supervised Learning in Speech, Vision and Language",
arXiv 2202.03555.
"""

from __future__ import annotations

from transformers import (
    Data2VecTextConfig,
    Data2VecTextForMaskedLM,
    Data2VecTextForQuestionAnswering,
    Data2VecTextForSequenceClassification,
    Data2VecTextForTokenClassification,
    Data2VecTextModel,
)
from transformers.models.data2vec.modeling_data2vec_text import Data2VecTextLayer

from compress.models.embedder import embedder
from compress.models.families.roberta import like_roberta
from compress.models.head import MASKED, SENTENCES, SEQUENCE, SPANS, TOKENS

FAMILY = like_roberta(
    Data2VecTextConfig,
    {
        SEQUENCE: Data2VecTextForSequenceClassification,
        TOKENS: Data2VecTextForTokenClassification,
        SPANS: Data2VecTextForQuestionAnswering,
        MASKED: Data2VecTextForMaskedLM,
        SENTENCES: embedder(Data2VecTextModel),
    },
    Data2VecTextLayer,
)
