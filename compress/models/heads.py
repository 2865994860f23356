"""A classifier's head: its outputs in the order of a task's labels, or a new one."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from compress.errors import InputError
from compress.labels import are_numbers, check_names, listed, order_of
from compress.models.activation import ACTIVATION, IDENTITY, STATED, activation_of, state_activation
from compress.models.embedder import pooling_of
from compress.models.exits import exits_of
from compress.models.families import known_family
from compress.models.head import NO_CLASSIFIERS, SEQUENCE, SINGLE_LABEL_HEAD, Head, head_named, problem_type

logger = logging.getLogger(__name__)


def label_names(model: PreTrainedModel) -> list[str]:
    """The names of a loaded model's outputs, in order; none where they have no names."""
    return list(model.config.id2label.values()) if head_of(model).is_named else []


def output_count(model: PreTrainedModel) -> int:
    """How many numbers a model answers for each text, or for each token."""
    head = head_of(model)
    if head.of_pieces:
        return int(model.config.vocab_size)
    if head.is_named:
        return len(model.config.id2label)
    return pooling_of(model.config).width(model.state_width)


def head_of(model: PreTrainedModel) -> Head:
    """What a model's head is for."""
    classes = known_family(model).classes
    architecture = next((name for name in NO_CLASSIFIERS if name in classes and isinstance(model, classes[name])), SEQUENCE)
    problem = model.config.problem_type or problem_type(model.config.num_labels)
    return head_named(architecture, problem, activation_of(model.config))


def logits_of(output: Any) -> torch.Tensor:
    """What a model's head answers, (batch, outputs), or (batch, length, outputs) where there are outputs for each token."""
    if "sentence_embedding" in output:
        vectors: torch.Tensor = output.sentence_embedding
        return vectors
    logits: torch.Tensor = (
        torch.stack([output.start_logits, output.end_logits], -1) if "start_logits" in output else output.logits
    )
    return logits


def last_linear(model: PreTrainedModel) -> nn.Module:
    """The Linear whose rows are the outputs, or the module that ends in it."""
    return model.get_submodule(known_family(model).last(head_of(model).architecture))


def set_names(config: PretrainedConfig, names: Sequence[str], head: Head = SINGLE_LABEL_HEAD) -> None:
    """Let a configuration say what the outputs are called, in order, and what they are; of one that ranks, that it is taken as
    it is, unless it states something else. The numbers of a vector have no names, and pieces are the tokenizer's."""
    config.problem_type = head.problem_type
    if not head.is_named:
        return
    config.id2label = dict(enumerate(names))
    config.label2id = {name: index for index, name in enumerate(names)}
    if head.ranks and activation_of(config) is None:
        state_activation(config, IDENTITY)


def outputs_stated(config: PretrainedConfig) -> dict[str, Any]:
    """What a configuration says of its outputs, for another one to say the same."""
    activation = activation_of(config)
    return {
        "id2label": dict(config.id2label),
        "label2id": dict(config.label2id),
        "problem_type": config.problem_type,
        **({STATED: {ACTIVATION: activation}} if activation is not None else {}),
    }


@torch.no_grad()
def aligned(
    model: PreTrainedModel,
    labels: Sequence[str],
    head: Head = SINGLE_LABEL_HEAD,
    *,
    who: str = "the model",
    trains: bool = False,
) -> PreTrainedModel:
    """Bring a classifier's outputs into the order of a task's labels, and give them their names.

    Args:
        model: Stays as it is.
        labels: The task's, in the order of their ids.
        head: What the task needs.
        who: What messages call it.
        trains: Whether its head is only where training begins. One for as many other labels then keeps its rows and takes the
            names, with a warning; else it is refused.

    Returns:
        The model itself where nothing is to be done, else a copy.

    Raises:
        InputError: The head is for other labels, or for something else than labels of this sort.
    """
    check_head(model, head, who)
    if not head.is_named:
        return model
    names = label_names(model)
    states = not head.ranks or activation_of(model.config) is not None
    if names == list(labels) and model.config.problem_type == head.problem_type and states:
        return model
    order = order_of(names, labels)
    if order is None and trains and len(names) == len(labels):
        logger.warning(
            "the head of %s was trained for other labels (%s); training goes on from its rows for %s. "
            "fine_tune's new_head: true begins with a new head.",
            who,
            listed(names),
            listed(labels),
        )
        order = list(range(len(labels)))
    elif order is None:
        order = check_names(
            who, names, labels, "use a checkpoint of this task, or let fine_tune begin with a new head (new_head: true)."
        )
    elif order != list(range(len(labels))):
        logger.info("the outputs of %s are put into the task's order: %s.", who, listed(labels))
    if names != list(labels) and are_numbers(names) and not are_numbers(labels):
        logger.info("%s does not name its labels; they are read as the task's: %s.", who, listed(labels))
    student = copy.deepcopy(model)
    _reorder_rows(student, order)
    set_names(student.config, labels, head)
    return student


def check_head(model: PreTrainedModel, head: Head, who: str = "the model") -> None:
    """Raise InputError where a model's head is for something else than a task needs."""
    own = head_of(model)
    if own.architecture != head.architecture:
        raise InputError(
            f"{who} has a head for {own.architecture}, but the task needs one for {head.architecture}; use a checkpoint of "
            "such a task, or the one that it was fine-tuned from."
        )
    if head.is_named and model.config.problem_type not in (None, head.problem_type):
        raise InputError(
            f"{who} has a head for {own.problem_type}, but the task is {head.problem_type or 'of another kind'}; use a "
            "checkpoint of such a task, or let fine_tune begin with a new head (new_head: true)."
        )


def check_reads_whole(who: str, model: PreTrainedModel) -> None:
    """Raise InputError where a model answers for tokens, or with vectors, and what is to be done needs a classifier of
    texts."""
    head = head_of(model)
    if head.architecture != SEQUENCE:
        what = "answers for each token" if head.reads_tokens else "answers with vectors"
        raise InputError(f"{who} needs a head for whole texts, but the model {what}; remove the step.")


def _last_linear(model: PreTrainedModel) -> nn.Linear:
    return [module for module in last_linear(model).modules() if isinstance(module, nn.Linear)][-1]


@torch.no_grad()
def divided(model: PreTrainedModel, divisor: float) -> PreTrainedModel:
    """Copy a model with its outputs divided by a number: the last Linear's weight and bias are, whose integers stay the same
    where it quantizes, since their scale goes with the weight."""
    student = copy.deepcopy(model)
    last = _last_linear(student)
    for tensor in (last.weight, last.bias):
        if tensor is not None:
            tensor.div_(divisor)
    return student


def _reorder_rows(model: Any, order: Sequence[int]) -> None:
    if list(order) == list(range(len(order))):
        return
    rows = torch.tensor(order)
    exits = exits_of(model)
    last = [_last_linear(model), *(exits.classifiers if exits else ())]
    for tensor in (tensor for linear in last for tensor in linear.parameters(recurse=False)):  # a quantizer may have more
        if tensor.ndim and len(tensor) == len(order):
            tensor.copy_(tensor[rows.to(tensor.device)].clone())


@torch.no_grad()
def with_new_head(model: PreTrainedModel, labels: Sequence[str], seed: int, head: Head = SINGLE_LABEL_HEAD) -> PreTrainedModel:
    """Copy a classifier with a new last Linear, of random weights, that has an output for each label.

    Args:
        model: Stays as it is.
        labels: The task's.
        seed: For the weights, which are drawn as transformers does (normal, of `initializer_range`; biases are 0).
        head: What the task needs.

    Raises:
        InputError: The head quantizes, or is of another architecture.
    """
    check_head(model, Head(head.architecture, model.config.problem_type))
    if exits_of(model):
        raise InputError(
            "new_head is true, but the model has exits, which are heads for the same labels; let fine_tune be first."
        )
    if head.of_pieces:
        raise InputError(
            "new_head is true, but the head for masked words is tied to the word table, and has no labels; leave it out."
        )
    if not head.is_named:
        raise InputError("new_head is true, but the task's answers are vectors, for which no head is learned; leave it out.")
    if head.writes:
        raise InputError(
            "new_head is true, but a decoder is made by build_decoder; let that go before, and leave new_head out."
        )
    if type(_last_linear(model)) is not nn.Linear:
        raise InputError("new_head is true, but the model quantizes, its head too; start from the float model.")
    student: Any = copy.deepcopy(model)
    last = _last_linear(student)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        linear = nn.Linear(last.in_features, len(labels), device=last.weight.device)
        linear.weight.normal_(0.0, getattr(model.config, "initializer_range", 0.02))
    linear.bias.zero_()
    student.set_submodule(known_family(student).last(head.architecture), linear)
    student.num_labels = len(labels)
    set_names(student.config, labels, head)
    student.has_new_head = True
    ready: PreTrainedModel = student.train(model.training)
    return ready
