"""The families of models that the toolkit knows: one file, one family. Each is imported when one of its models is."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from compress.errors import InputError
from compress.models.embedder import pooling_of, told_prompts
from compress.models.families.family import Ability, EncoderFree, Family
from compress.plugins import with_plugins

FAMILIES = with_plugins(
    "families",
    {
        "bert": "compress.models.families.bert",
        "distilbert": "compress.models.families.distilbert",
        "mobilebert": "compress.models.families.mobilebert",
        "albert": "compress.models.families.albert",
        "roberta": "compress.models.families.roberta",
        "xlm-roberta": "compress.models.families.xlm_roberta",
        "camembert": "compress.models.families.camembert",
        "electra": "compress.models.families.electra",
        "mpnet": "compress.models.families.mpnet",
        "deberta-v2": "compress.models.families.deberta_v2",
        "data2vec-text": "compress.models.families.data2vec_text",
        "ernie": "compress.models.families.ernie",
        "megatron-bert": "compress.models.families.megatron_bert",
        "nomic_bert": "compress.models.families.nomic_bert",
        "eurobert": "compress.models.families.eurobert",
        "modernbert": "compress.models.families.modernbert",
        "bilstm": "compress.models.families.bilstm",
        "static": "compress.models.families.static",
    },
)
WITHOUT_ENCODER = ("bilstm", "static")
MOST_TOLD = 3
"""Families that a message names of those that can do something."""


CANNOT: dict[Ability, str] = {
    "narrow": "the stream between the layers of a {kind} cannot be narrowed",
    "gate_width": "the width of a {kind} cannot be cut",
    "share": "the layers of a {kind} cannot share more",
    "attend_far": "the attention of a {kind} cannot be swapped",
    "teach": "no student is built from a {kind}",
}


@cache
def _family(module: str) -> Family | EncoderFree:
    family: Family | EncoderFree = importlib.import_module(module).FAMILY
    return family


class _Known(Mapping[str, Family | EncoderFree]):
    """FAMILIES with a family for the name of its file, which is imported when it is asked for."""

    def __getitem__(self, kind: str) -> Family | EncoderFree:
        return _family(FAMILIES[kind])

    def __contains__(self, kind: object) -> bool:
        return kind in FAMILIES

    def __iter__(self) -> Iterator[str]:
        return iter(FAMILIES)

    def __len__(self) -> int:
        return len(FAMILIES)


KNOWN = _Known()


def encoders() -> list[str]:
    """The names of the families with an encoder."""
    return [name for name in FAMILIES if name not in WITHOUT_ENCODER]


def encoder_family(kind: str) -> Family:
    """The family of a name, which has an encoder."""
    family = KNOWN[kind]
    assert isinstance(family, Family)
    return family


def known_family(model: PreTrainedModel) -> Family | EncoderFree:
    """The family of a model, with an encoder or without.

    Raises:
        InputError: The toolkit does not know it.
    """
    kind = getattr(model.config, "model_type", None)
    if not isinstance(kind, str) or kind not in KNOWN:
        raise InputError(
            f"model type {kind!r} is not supported; allowed: {', '.join(KNOWN)}. Start from a checkpoint of one of these."
        )
    return KNOWN[kind]


def family_of(model: PreTrainedModel) -> Family:
    """The family of a model with an encoder.

    Raises:
        InputError: The toolkit does not know it, or it has no encoder.
    """
    family = known_family(model)
    if isinstance(family, EncoderFree):
        others = ", ".join(encoders()[:MOST_TOLD])
        raise InputError(f"a {model.config.model_type} has no encoder; start from a checkpoint that has one: {others}, ...")
    return family


@cache
def _family_of_layers(layer: Any) -> Family:
    return next(family for family in map(encoder_family, encoders()) if issubclass(layer, family.layer))


def family_of_layer(layer: nn.Module) -> Family:
    """The family that an encoder layer is of."""
    kind: Any = type(layer)
    return _family_of_layers(kind)


def can(model: PreTrainedModel, ability: Ability) -> bool:
    """Whether a model's family can do something that only some can."""
    family = known_family(model)
    return isinstance(family, Family) and ability in family.abilities


def why_not(model: PreTrainedModel, ability: Ability) -> str | None:
    """Why a model's family cannot do something that only some can, and from what to start: the end of a message, or None."""
    family = family_of(model)
    if ability in family.abilities:
        return None
    others = [kind for kind in encoders() if ability in encoder_family(kind).abilities][:MOST_TOLD]
    why = family.why_not.get(ability, CANNOT[ability].format(kind=model.config.model_type))
    return f"{why}; start from a {' or '.join(others)}."


def first_position(model: PreTrainedModel) -> int:
    """Which row of a model's table of positions a text's first token has."""
    return known_family(model).first_position(model.config)


def longest_text(config: PretrainedConfig) -> int:
    """How many tokens a model of this configuration reads at most."""
    most: int = config.max_position_embeddings
    return most - KNOWN[config.model_type].first_position(config)


def inputs_of(config: PretrainedConfig) -> list[str]:
    """The names of what a model reads, in order; one whose table of token types has a single row reads none."""
    names = KNOWN[config.model_type].inputs
    return [name for name in names if name != "token_type_ids" or getattr(config, "type_vocab_size", 2) > 1]


def fitted_tokenizer(tokenizer: Any, config: PretrainedConfig) -> Any:
    """Let a tokenizer give what a model of this configuration reads and nothing else, when it is saved and loaded again as
    well."""
    tokenizer.model_input_names = inputs_of(config)
    tokenizer.prompts = told_prompts(pooling_of(config))
    tokenizer.init_kwargs["model_input_names"] = inputs_of(config)
    return tokenizer
