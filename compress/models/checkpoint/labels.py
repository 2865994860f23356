"""The labels of a model at rest: what its head is for, and what a folder says that its outputs are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from compress.errors import InputError, first_line
from compress.labels import listed, order_of, read_names
from compress.log import libraries_silenced
from compress.models.activation import ACTIVATION, STATED
from compress.models.checkpoint.json_file import read_object
from compress.models.checkpoint.pair import is_pair, reader_values
from compress.models.checkpoint.sentence_folder import is_embedder
from compress.models.families import KNOWN
from compress.models.head import (
    LAST_LINEARS,
    NO_CLASSIFIERS,
    OF_SENTENCES,
    OF_TOKENS,
    SEQUENCE,
    WRITER,
    Head,
    head_named,
    problem_type,
)
from compress.models.heads import aligned, head_of, label_names, set_names

BESIDE, CROSS_ENCODER = "config_sentence_transformers.json", "CrossEncoder"
BEFORE_4 = "sbert_ce_default_activation_function"
"""Where sentence-transformers states the activation of a CrossEncoder: beside config.json, and in it before version 4."""


def settle_labels(
    config: PretrainedConfig,
    weight: torch.Tensor | None,
    labels: Sequence[str] | None,
    folder: Path,
    wanted: Head | None,
    architecture: str,
) -> None:
    """Let a configuration name each output of the head that there is, or of the new one that will be made, and what it is.

    Args:
        config: Is changed.
        weight: Of the head's last Linear; None where there is no head.
        labels: The task's; None takes what the head has.
        folder: For messages.
        wanted: The head that the task needs; None takes the one that there is.
        architecture: Of the head that there is or will be.

    Raises:
        InputError: The head is for another number of labels, or for another kind of task, or its outputs' names do not fit it.
    """
    count = weight.shape[0] if weight is not None and weight.ndim else 0
    head = wanted or head_named(architecture, config.problem_type or problem_type(count))
    if not head.is_named:
        set_names(config, [], head)
        return
    if weight is None:
        set_names(config, list(labels) if labels is not None else list(head.names), head)
        return
    if wanted is not None and config.problem_type not in (None, wanted.problem_type):
        raise InputError(
            f"{folder}: config.json says that the head is for {config.problem_type}; a head for "
            f"{wanted.problem_type or 'labels of each token'} is needed. Use one, or begin with a new head (fine_tune's "
            "new_head: true)."
        )
    if labels is not None and count != len(labels):
        raise InputError(
            f"{folder} has a head for {count} labels, but the task has {len(labels)} ({listed(labels)}); use a checkpoint of "
            "this task, or a base checkpoint without a head, or let fine_tune begin with a new one (new_head: true)."
        )
    try:
        set_names(config, read_names(config, count), head)
    except InputError as err:
        raise InputError(f"{folder}: {err}") from err


def without_head(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights but for those of the last Linear."""
    return {name: tensor for name, tensor in weights.items() if name.rpartition(".")[0] not in LAST_LINEARS}


def in_order(model: PreTrainedModel, labels: Sequence[str]) -> PreTrainedModel:
    """Bring the outputs into the order of these labels, where their names tell it; else the model is left as it is."""
    head = head_of(model)
    if not head.is_named or order_of(label_names(model), labels) is None:
        return model
    return aligned(model, labels, head)


def head_in_folder(folder: Path, values: Mapping[str, Any]) -> Head:
    """What the head of the model or file in a folder is for, as its config.json tells, or its modules.json.

    Args:
        folder: May state an activation in another file, or modules behind an encoder.
        values: The content of config.json.
    """
    if is_embedder(folder):
        return OF_SENTENCES
    if is_pair(values):
        return OF_TOKENS[WRITER]
    architectures = values.get("architectures")
    if isinstance(architectures, list) and architectures:
        for architecture, head in NO_CLASSIFIERS.items():
            if str(architectures[0]).endswith(f"For{architecture}"):
                return head
    names, kind = values.get("id2label"), values.get("problem_type")
    count = len(names) if isinstance(names, dict) else 2
    problem = kind if isinstance(kind, str) else problem_type(count)
    return head_named(SEQUENCE, problem, activation_in_folder(folder, values))


def activation_in_folder(folder: Path, values: Mapping[str, Any]) -> str | None:
    """Read what a folder states to be done to a model's outputs; None where it states nothing.

    Args:
        folder: Where config_sentence_transformers.json may lie.
        values: The content of its config.json.

    Raises:
        InputError: A file that there is cannot be read.
    """
    stated = values.get(STATED)
    beside: Mapping[str, Any] = read_object(folder / BESIDE) if (folder / BESIDE).is_file() else {}
    candidates = (
        stated.get(ACTIVATION) if isinstance(stated, dict) else None,
        values.get(BEFORE_4),
        beside.get(ACTIVATION) if beside.get("model_type") == CROSS_ENCODER else None,
    )
    return next((activation for activation in candidates if isinstance(activation, str)), None)


def names_in_folder(folder: Path, values: dict[str, Any], outputs: int | None = None) -> list[str]:
    """Read what the outputs of the model or file in a folder are called, in order, as transformers would.

    Args:
        folder: For messages.
        values: The content of its config.json.
        outputs: How many there are; None takes as many as are named.

    Raises:
        InputError: It is no configuration, or its names do not fit each other.
    """
    values = dict(reader_values(values))
    family = KNOWN.get(str(values.get("model_type")))
    label_values = {key: value for key, value in values.items() if key in ("id2label", "label2id", "num_labels")}
    try:
        with libraries_silenced():
            config = (family.config if family else PretrainedConfig).from_dict(label_values)
        return read_names(config, outputs)
    except InputError as err:
        raise InputError(f"{folder}: {err}") from err
    except Exception as err:  # transformers' configurations raise many kinds
        raise InputError(f"{folder}: config.json does not name the labels (id2label): {first_line(err)}. Restore it.") from err
