"""A file that says something else than the torch model is not accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compress.targets.onnx.graph import in_onnxruntime
from compress.targets.onnx.parity import Reference, real_batches
from compress.tasks.labelled import Task
from tests.targets.graphs import NAMES, BagOfWords, plain_answers, write_bag_of_words
from tests.tiny_models import tiny_tokenizer, toy_task


@pytest.fixture
def bag() -> Any:
    """A model simple enough to be written as a graph by hand."""
    return BagOfWords().eval()


def judged(bag: Any, task: Task, path: Path, relative: float = 1e-3, flips: float = 0.0) -> Any:
    return Reference(bag, task).judge("export", in_onnxruntime(path), max_relative_error=relative, max_flips=flips)


def test_the_same_weights_are_accepted(bag: Any, toy: Task, tmp_path: Path) -> None:
    stage = judged(bag, toy, write_bag_of_words(tmp_path / "model.onnx", bag.table, bag.matrix))
    assert stage.accepted
    assert stage.label_flips == 0
    assert stage.max_abs_error < 1e-4
    assert stage.integer_ops == 0


def test_other_weights_are_rejected(bag: Any, toy: Task, tmp_path: Path) -> None:
    spoilt = bag.matrix.detach().clone()
    spoilt[2, 0] += 0.5
    assert not judged(bag, toy, write_bag_of_words(tmp_path / "model.onnx", bag.table, spoilt)).accepted


def test_one_wrong_word_is_rejected(bag: Any, toy: Task, tmp_path: Path) -> None:
    table = bag.table.detach().clone()
    table[tiny_tokenizer().convert_tokens_to_ids("dull")] += 0.5
    assert not judged(bag, toy, write_bag_of_words(tmp_path / "model.onnx", table, bag.matrix)).accepted


def test_a_graph_that_reads_padding_is_rejected(bag: Any, toy: Task, tmp_path: Path) -> None:
    path = write_bag_of_words(tmp_path / "model.onnx", bag.table, bag.matrix, masked=False)
    assert not judged(bag, toy, path).accepted


def test_swapped_labels_are_rejected_however_loose_the_error(bag: Any, toy: Task, tmp_path: Path) -> None:
    path = write_bag_of_words(tmp_path / "model.onnx", bag.table, bag.matrix.flip(1))
    stage = judged(bag, toy, path, relative=1e9)
    assert not stage.accepted
    assert stage.label_flips == stage.compared
    assert judged(bag, toy, path, relative=1e9, flips=1.0).accepted


def test_answers_that_are_not_numbers_are_rejected_however_loose_the_limits(bag: Any, toy: Task, tmp_path: Path) -> None:
    path = write_bag_of_words(tmp_path / "model.onnx", bag.table, bag.matrix, padding=float("nan"))
    assert not judged(bag, toy, path, relative=1e9, flips=1.0).accepted


def test_errors_are_those_worked_out_by_hand(bag: Any, toy: Task, tmp_path: Path) -> None:
    """Every logit is too large by 0.25: the root mean square of the errors is 0.25, and no label flips."""
    reference = Reference(bag, toy)
    path = write_bag_of_words(tmp_path / "model.onnx", bag.table, bag.matrix, padding=0.25)
    stage = reference.judge("export", in_onnxruntime(path), max_relative_error=10, max_flips=0)
    logits = np.concatenate([plain_answers(bag, batch) for batch in reference.batches]).astype(np.float64)
    spread = logits - logits.mean(axis=1, keepdims=True)
    assert stage.max_abs_error == pytest.approx(0.25, abs=1e-5)
    assert stage.relative_error == pytest.approx(0.25 / np.sqrt((spread**2).mean()), rel=1e-3)
    assert stage.label_flips == 0
    assert stage.compared == len(logits)
    assert stage.as_dict()["why"].startswith(f"relative error {stage.relative_error:.2g} (allowed 10), 0 of {len(logits)}")


def test_a_tokenizer_that_gives_no_sentence_types_is_no_obstacle(bag: Any, toy: Task, tmp_path: Path) -> None:
    """The exported file always has three inputs, but the tokenizers of some checkpoints give two."""
    bag.tokenizer.model_input_names = ["input_ids", "attention_mask"]
    path = write_bag_of_words(tmp_path / "model.onnx", bag.table, bag.matrix, inputs=NAMES)
    assert judged(bag, toy, path).accepted


def test_the_calibration_part_alone_is_compared_on(bag: Any, toy: Task) -> None:
    for place in ("train", "selection", "evaluation"):
        object.__setattr__(toy, place, None)
    assert len(Reference(bag, toy).batches) > 1


def test_batches_differ_in_size_in_length_and_in_padding(toy: Task) -> None:
    task = toy_task(others=40)
    encoded = task.encode(task.calibration, tiny_tokenizer())
    batches = [batch for _, batch in real_batches(encoded, 24)]
    shapes = [batch["input_ids"].shape for batch in batches]
    assert {rows for rows, _ in shapes} == {1, 2, 8, 16}
    singles = [length for rows, length in shapes if rows == 1]
    assert (min(singles), max(singles)) == (encoded.lengths.min(), encoded.lengths.max())
    assert len(singles) == 8
    assert shapes[-1] == (2, 24)
    assert any((batch["attention_mask"] == 0).any() for batch in batches[:-1])
    assert any((batch["attention_mask"] == 1).all() for batch in batches)
    assert sum(rows for rows, _ in shapes[8:-1]) == 40


def test_one_sentence_is_enough_to_compare_on(bag: Any, tmp_path: Path) -> None:
    path = write_bag_of_words(tmp_path / "model.onnx", bag.table, bag.matrix)
    assert judged(bag, toy_task(others=1), path).accepted


def test_the_model_s_mode_does_not_matter_to_its_answers(bag: Any, toy: Task) -> None:
    """Nothing here may leave a gradient behind."""
    Reference(bag, toy)
    assert bag.matrix.grad is None
    assert torch.is_grad_enabled()
