"""Make a student without an encoder out of a teacher with one."""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers import PreTrainedModel

from compress.models.embedder import take_prompts
from compress.models.families import KNOWN, fitted_tokenizer, longest_text
from compress.models.heads import head_of, outputs_stated
from compress.models.token_vectors import principal, token_vectors


def student_of(
    teacher: PreTrainedModel,
    kind: str,
    *,
    tokenizer: Any = None,
    random: bool = False,
    seed: int = 13,
    **sizes: Any,
) -> PreTrainedModel:
    """A new student whose vectors of pieces are what the teacher's encoder says of each alone, cut to the student's width.

    Args:
        teacher: Gives vectors, labels and the longest text; stays as it is.
        kind: "bilstm" or "static".
        tokenizer: The student's, with a padding token; the teacher's if None.
        random: Whether the vectors are random instead.
        seed: For the other weights.
        sizes: Values of the student's configuration; the width of its vectors is at most the teacher's if nothing tells.

    Returns:
        The student in evaluation mode, with `.tokenizer`, `.label` and `.has_new_head`.

    Raises:
        InputError: The vectors are to be wider than the teacher.
    """
    family, own = KNOWN[kind], teacher.tokenizer if tokenizer is None else tokenizer
    sizes.setdefault("embedding_size", min(family.config().embedding_size, teacher.config.hidden_size))
    config = family.config(
        vocab_size=teacher.config.vocab_size if tokenizer is None else len(tokenizer),
        **outputs_stated(teacher.config),
        pad_token_id=own.pad_token_id,
        max_position_embeddings=longest_text(teacher.config),
        **sizes,
    )
    take_prompts(teacher.config, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student: Any = family.classes[head_of(teacher).architecture](config)
    if not random:
        student.begin_with(principal(token_vectors(teacher, tokenizer), config.embedding_size))
    student.tokenizer, student.label, student.has_new_head = fitted_tokenizer(copy.deepcopy(own), config), kind, True
    ready: PreTrainedModel = student.eval()
    return ready
