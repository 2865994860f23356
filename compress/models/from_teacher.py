"""Make a student without an encoder out of a teacher with one."""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.embedder import take_prompts
from compress.models.families import KNOWN, fitted_tokenizer, longest_text
from compress.models.heads import head_of, outputs_stated
from compress.models.token_vectors import principal, token_vectors


def student_of(
    teacher: PreTrainedModel,
    kind: str,
    *,
    tokenizer: Any = None,
    vectors: torch.Tensor | None = None,
    random: bool = False,
    seed: int = 13,
    **sizes: Any,
) -> PreTrainedModel:
    """A new student whose vectors of pieces are what the teacher's encoder says of each alone, or such that are given, cut to
    the student's width.

    Args:
        teacher: Gives vectors, labels and the longest text; stays as it is.
        kind: "bilstm" or "static".
        tokenizer: The student's, with a padding token; the teacher's if None.
        vectors: Of the tokenizer's pieces, (pieces, width), which stay as they are in a student that is as wide.
        random: Whether the vectors are random instead.
        seed: For the other weights.
        sizes: Values of the student's configuration; if nothing tells, its vectors are as wide as those given, and else at
            most as the teacher.

    Returns:
        The student in evaluation mode, with `.tokenizer`, `.label` and `.has_new_head`.

    Raises:
        InputError: The vectors are to be wider than those that they come from, or sizes do not fit each other.
    """
    family, own = KNOWN[kind], teacher.tokenizer if tokenizer is None else tokenizer
    usual = min(family.config().embedding_size, teacher.config.hidden_size) if vectors is None else vectors.shape[1]
    sizes.setdefault("embedding_size", usual)
    config = family.config(
        vocab_size=teacher.config.vocab_size if tokenizer is None else len(tokenizer),
        **outputs_stated(teacher.config),
        pad_token_id=own.pad_token_id,
        max_position_embeddings=longest_text(teacher.config),
        **sizes,
    )
    if problem := family.check(config):
        raise InputError(f"build_student: {problem}; change one of the sizes.")
    take_prompts(teacher.config, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student: Any = family.classes[head_of(teacher).architecture](config)
    if not random:
        first = token_vectors(teacher, tokenizer) if vectors is None else vectors
        as_given = vectors is not None and vectors.shape[1] == config.embedding_size
        student.begin_with(first if as_given else principal(first, config.embedding_size))
    student.tokenizer, student.label, student.has_new_head = fitted_tokenizer(copy.deepcopy(own), config), kind, True
    ready: PreTrainedModel = student.eval()
    return ready
