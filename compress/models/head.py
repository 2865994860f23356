"""What a model's head is for."""

from __future__ import annotations

from dataclasses import dataclass

SEQUENCE, TOKENS = "SequenceClassification", "TokenClassification"
SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
REGRESSION = "regression"


@dataclass(frozen=True)
class Head:
    """A head, as transformers names it.

    Args:
        architecture: How the name of the model's class ends behind "For".
        problem_type: What config.json says that the outputs are; None where the architecture tells.
        reads_tokens: Whether there are outputs for each token; else there are for the text.
    """

    architecture: str = SEQUENCE
    problem_type: str | None = SINGLE_LABEL
    reads_tokens: bool = False


SINGLE_LABEL_HEAD = Head()


def problem_type(outputs: int) -> str:
    """What so many outputs for a text are where nobody tells, as transformers takes them."""
    return REGRESSION if outputs == 1 else SINGLE_LABEL
