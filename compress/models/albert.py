"""A BERT whose layers are alike in groups, written as an ALBERT, which transformers loads."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PreTrainedModel

from compress.models.layout import encoder_layers
from compress.models.students import StudentShape, copy_layers, embedding_tables, new_student, write_embeddings


@torch.no_grad()
def as_albert(model: PreTrainedModel, groups: int) -> PreTrainedModel:
    """The ALBERT that answers as a BERT does whose layers are equal in so many groups of one size.

    Its embeddings are as wide as its states, and the Linear between them is the identity.

    Args:
        model: A BERT classifier with layers of the sizes that config.json tells; stays as it is.
        groups: How many; they divide the number of layers.
    """
    config, depth = model.config, len(encoder_layers(model))
    shape = StudentShape(
        layers=depth,
        width=config.hidden_size,
        intermediate=config.intermediate_size,
        heads=config.num_attention_heads,
        embedding=config.hidden_size,
        bottleneck=0,
        feed_forwards=0,
        normalization="",
        groups=groups,
    )
    student = new_student("albert", model, shape, seed=0)
    base, old = student.base_model, model.base_model
    write_embeddings(student, embedding_tables(model))
    base.embeddings.LayerNorm.load_state_dict(old.embeddings.LayerNorm.state_dict())
    nn.init.eye_(base.encoder.embedding_hidden_mapping_in.weight)
    nn.init.zeros_(base.encoder.embedding_hidden_mapping_in.bias)
    copy_layers(model, student, [group * depth // groups for group in range(groups)])
    base.pooler.load_state_dict(old.pooler.dense.state_dict())
    student.classifier.load_state_dict(model.classifier.state_dict())
    student.config.classifier_dropout_prob = student.dropout.p = model.dropout.p
    student.label = model.label
    return student
