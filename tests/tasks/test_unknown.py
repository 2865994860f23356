"""The share of a text that a tokenizer does not know is measured, and above a third of it nothing goes on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import compress as cp
from compress.errors import InputError
from compress.tasks.split import Split
from compress.tasks.unknown import check_known, unknown_share
from tests.tiny_models import tiny_bert, tiny_tokenizer, toy_task


def part(*texts: str, pairs: tuple[str, ...] | None = None) -> Split:
    """A part of these texts."""
    return Split("train", texts, pairs, np.zeros(len(texts), dtype=np.int64))


def test_the_share_is_that_of_the_tokens_special_ones_left_out() -> None:
    assert unknown_share(part("a good film", "a strange film"), tiny_tokenizer()) == pytest.approx(1 / 6)
    assert unknown_share(part("a", pairs=("strange strange strange",)), tiny_tokenizer()) == pytest.approx(3 / 4)
    assert unknown_share(part("", "  "), tiny_tokenizer()) == 0


def test_a_script_that_the_vocabulary_lacks_is_refused_unless_it_is_allowed() -> None:
    with pytest.raises(InputError, match=r"100.0% of the tokens of the train texts are unknown \(\[UNK\]\).*allow_unknown"):
        check_known(part("очень хороший фильм"), tiny_tokenizer(), "the model")
    assert check_known(part("очень хороший фильм"), tiny_tokenizer(), "the model", allow_unknown=True) == 1.0
    assert check_known(part("a good strange"), tiny_tokenizer(), "the model") == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "act",
    [
        lambda task, _: cp.fine_tune(tiny_bert(), task=task, epochs=1),
        lambda task, _: cp.distill(tiny_bert(), teacher=tiny_bert(), task=task, objectives={"logits": 1.0}, epochs=1),
        lambda task, folder: cp.export(tiny_bert(), folder / "out", target="onnxruntime-cpu", task=task),
        lambda task, _: cp.measure([tiny_bert()], task=task, length=[8]),
    ],
)
def test_nothing_trains_ships_or_measures_on_text_that_is_mostly_unknown(act, tmp_path) -> None:  # type: ignore[no-untyped-def]
    task = toy_task()
    parts = {split.role: dataclasses.replace(split, texts=tuple("слово" for _ in split.texts)) for split in task.splits()}
    with pytest.raises(InputError, match="are unknown"):
        act(dataclasses.replace(task, **parts), tmp_path)
