"""See test_masked_words.py for the value; here, what is alike costs nothing."""

from __future__ import annotations

from compress.objectives.masked_logits import masked_logits
from tests.objectives.rows import close, outputs
from tests.objectives.test_masked_words import head, hiding


def test_a_student_that_is_its_teacher_has_nothing_to_learn() -> None:
    same = outputs(1, ("hidden", 2))
    assert masked_logits(same, same, hiding(), pairs=((2, 2),), head=head(6)).item() == close(0.0)
