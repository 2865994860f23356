"""A model of entailment in the place of a classifier: how well each label's hypothesis follows from a text.

Source: Yin et al. 2019, "Benchmarking zero-shot text classification", arXiv 1909.00161; the numbers are those of transformers'
zero-shot-classification pipeline, and of the script that distils it (examples/research_projects/zero-shot-distillation).
Differs: which output says entailment, and which contradiction, is read off the labels' names and never guessed by position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from transformers import PreTrainedModel

from compress.errors import InputError, shown
from compress.models.checkpoint.loading import load
from compress.models.families import longest_text
from compress.models.head import SINGLE_LABEL_HEAD
from compress.models.heads import check_head, label_names
from compress.tasks import texts
from compress.tasks.labels import names_shown
from compress.tasks.unknown import check_known
from compress.training.answers import KnownAnswers
from compress.training.step_context import StepContext
from compress.training.teacher_cache import logits_for

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

PLACE = "{}"
"""Where a template takes a label."""
ENTAILED, CONTRADICTED = ("entail",), ("contradict", "not_entail", "not-entail", "not entail", "non_entail", "non-entail")
"""How the names of the labels begin, in any letter case."""


@dataclass(frozen=True)
class ZeroShot:
    """Answers texts by hypotheses.

    Args:
        model: Tells of a pair of texts whether the second follows from the first.
        hypotheses: Of each of the task's labels, in their order.
        entailed: The output that says that it follows.
        contradicted: The output that says that it does not.
    """

    model: PreTrainedModel
    hypotheses: tuple[str, ...]
    entailed: int
    contradicted: int

    def answers(self, task: Task, run: StepContext, cache_bytes: int) -> KnownAnswers:
        """Answer the texts of a task's training part, as a classifier for the task does.

        Args:
            task: Its texts are the premises; its labels are not looked at.
            run: Device, progress, and the folder of answers, in which those to each hypothesis are kept for other runs.
            cache_bytes: The largest answers, of one hypothesis, that are kept there.
        """
        split, tokenizer = task.train.require("train"), self.model.tokenizer
        check_known(split, tokenizer, self.model.label, allow_unknown=task.allow_unknown)
        longest = task.max_length + 1 + max(map(self._tokens_of, self.hypotheses))
        logits = []
        for hypothesis in self.hypotheses:
            pairs = split.paired_with(hypothesis)
            encoded = texts.encode(pairs, tokenizer, min(longest, longest_text(self.model.config)), task.kind)
            logits.append(logits_for(self.model, encoded, run, cache_bytes))
        outputs = np.stack(logits, axis=1)  # (examples, labels, outputs of the model)
        answers = task.rules.zero_shot(outputs[..., self.entailed], outputs[..., self.contradicted])
        assert answers is not None
        return KnownAnswers(answers, {})

    def _tokens_of(self, hypothesis: str) -> int:
        return len(self.model.tokenizer(hypothesis, add_special_tokens=False)["input_ids"])

    def check_lengths(self, method: str) -> None:
        """Raise InputError where a hypothesis leaves less than half of what the model reads to the text."""
        most = longest_text(self.model.config)
        for hypothesis in self.hypotheses:
            count = self._tokens_of(hypothesis)
            if 2 * count > most - 3:
                raise InputError(
                    f"{method}.hypotheses: {shown(hypothesis)} has {count} tokens, but {self.model.label} reads {most} with "
                    "the text; write a shorter one."
                )


def zero_shot_by(method: str, checkpoint: str, hypotheses: Mapping[str, str] | str, task: Task) -> ZeroShot:
    """Load a model of entailment, to answer a task's texts by hypotheses.

    Args:
        method: The step's, for messages.
        checkpoint: The model.
        hypotheses: A sentence for each label, or a template in which {} stands for the label's name.
        task: Has the labels.

    Raises:
        InputError: The task has no labels of texts, or pairs of them; a label has no hypothesis, or another one has; or the
            model does not tell entailment.
    """
    none = np.zeros((0, len(task.labels)))
    if task.rules.zero_shot(none, none) is None:
        raise InputError(
            f"{method}.hypotheses say what each label of a text means, but a task of {task.kind} has none; leave them and nli "
            "out."
        )
    if task.train.pairs is not None:
        raise InputError(f"{method}.hypotheses are about one text each, but the task has pairs; leave hypotheses and nli out.")
    sentences = _sentences(method, hypotheses, task.labels)
    model = load(checkpoint)
    check_head(model, SINGLE_LABEL_HEAD, checkpoint)
    names = label_names(model)
    places = [
        [place for place, name in enumerate(names) if name.lower().startswith(begins)] for begins in (ENTAILED, CONTRADICTED)
    ]
    if model.has_new_head or [len(numbers) for numbers in places] != [1, 1]:
        has = "has no trained head" if model.has_new_head else f"has the labels {names_shown(names)}"
        raise InputError(
            f"{method}.nli is {checkpoint}, which {has}; one label has to begin with entail, and one with contradict or "
            "not_entail: use a model that was trained to tell entailment, or write the names into id2label of its config.json."
        )
    teacher = ZeroShot(model, sentences, places[0][0], places[1][0])
    teacher.check_lengths(method)
    return teacher


def _sentences(method: str, hypotheses: Mapping[str, str] | str, labels: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(hypotheses, str):
        if hypotheses.count(PLACE) != 1:
            raise InputError(
                f"{method}.hypotheses is {shown(hypotheses)}; a template has {PLACE} once, where the label's name stands: "
                '"This text is about {}."'
            )
        return tuple(hypotheses.replace(PLACE, label) for label in labels)
    unknown = [name for name in hypotheses if name not in labels]
    missing = [name for name in labels if name not in hypotheses]
    if unknown or missing:
        what = f"names {names_shown(unknown)}" if unknown else f"has none for {names_shown(missing)}"
        raise InputError(f"{method}.hypotheses {what}; give one sentence for each label: {names_shown(labels)}.")
    empty = [name for name in labels if not hypotheses[name].strip()]
    if empty:
        raise InputError(f"{method}.hypotheses.{empty[0]} is empty; write a sentence that is true of such a text.")
    return tuple(hypotheses[name].strip() for name in labels)
