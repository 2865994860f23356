"""How right each file of a bundle is, beside the torch model that it was made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from transformers import PreTrainedModel

from compress.benchmark.accuracy import predict
from compress.benchmark.runners import Runner
from compress.runtimes.foreign_file import ForeignFile
from compress.training.predict import predict as predict_in_torch
from compress.training.predict import settled_by

if TYPE_CHECKING:
    from compress.tasks.encoding import Encoded
    from compress.tasks.labelled import Task


@dataclass(frozen=True)
class Judge:
    """The torch model's answers to the evaluation part, computed once, with which those of each file are compared.

    Args:
        task: As the model reads it.
        tokenizer: The model's.
        encoded: The evaluation part.
        answers: The torch model's.
        settled: What turns outputs into answers, such as thresholds; empty where nothing is to be chosen.
    """

    task: Task
    tokenizer: Any
    encoded: Encoded
    answers: np.ndarray
    settled: tuple[float, ...]

    @classmethod
    def of(cls, model: PreTrainedModel, task: Task) -> Judge:
        """Let the torch model answer."""
        task = task.read_by(model)
        encoded = task.encode(task.evaluation.require("evaluation"), model.tokenizer)
        return cls(task, model.tokenizer, encoded, predict_in_torch(model, encoded), settled_by(model, task))

    def torch_scores(self) -> dict[str, Any]:
        """Score the torch model: `metrics`, and `metrics_ci95`."""
        return self._scores(self.answers)

    def scores(self, path: Path, runtime: str) -> dict[str, Any]:
        """Let a file answer the evaluation part.

        Args:
            path: Any file that the runtime opens.
            runtime: See `compress.runtimes.table`.

        Returns:
            `metrics`, `metrics_ci95`, and against the torch model `drop`, `agreement` and `relative_error`.
        """
        file = ForeignFile(path, runtime)
        with Runner(file.run, self.tokenizer, process=file.process) as runner:
            answers = predict(runner, self.encoded)
        rules, targets = self.task.rules, self.encoded.labels
        return {
            **self._scores(answers),
            **rules.compare(self._settled(self.answers), self._settled(answers), targets, self.task.metric),
            "relative_error": rules.relative_error(self.answers, answers),
        }

    def _scores(self, answers: np.ndarray) -> dict[str, Any]:
        return self.task.rules.judge(self._settled(answers), self.encoded.labels, self.task.metric)

    def _settled(self, answers: np.ndarray) -> np.ndarray:
        return self.task.rules.settled(answers, self.settled, self.encoded.labels)
