from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from compress.benchmark.accuracy import invariance, predict
from compress.benchmark.runners import Runner
from compress.errors import CompressError, InputError
from compress.tasks.labelled import Task

Batch = Mapping[str, np.ndarray]


def judge_answers(task: Task, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    return task.rules.judge(logits, labels, task.metric)


def compare_answers(task: Task, baseline: np.ndarray, logits: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    return task.rules.compare(baseline, logits, labels, task.metric)


def answers(predictions: list[int]) -> np.ndarray:
    return np.eye(2, dtype=np.float32)[predictions]


def sums(batch: Batch) -> np.ndarray:
    """The sum of an example's ids, and how many ids are real."""
    total = (batch["input_ids"] * batch["attention_mask"]).sum(axis=1)
    return np.stack([total, batch["attention_mask"].sum(axis=1)], axis=1).astype(np.float32)


def padding_counter(batch: Batch) -> np.ndarray:
    """Label 0 for rows of more than 3 columns, padding included."""
    count, width = batch["input_ids"].shape
    return np.tile(np.array([width, 3.5], dtype=np.float32), (count, 1))


def test_logits_come_back_in_the_order_of_the_examples(rows: Callable[..., Any]) -> None:
    ids = [[index + 1] * (1 + index * 7 % 11) for index in range(70)]
    logits = predict(Runner(sums, None), rows(ids))
    assert logits.tolist() == [[float(sum(row)), float(len(row))] for row in ids]


def test_no_batch_holds_more_than_32_examples_and_each_example_runs_once(rows: Callable[..., Any]) -> None:
    counts: list[int] = []

    def run(batch: Batch) -> np.ndarray:
        counts.append(len(batch["input_ids"]))
        return sums(batch)

    predict(Runner(run, None), rows([[1]] * 70))
    assert sorted(counts) == [6, 32, 32]


def test_an_evaluation_part_without_examples_is_refused(rows: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match="no examples to measure on"):
        predict(Runner(sums, None), rows([]))


@pytest.mark.parametrize("shape", [(2,), (1, 2), (2, 4, 2)])
def test_answers_that_are_not_one_row_for_each_example_are_refused(rows: Callable[..., Any], shape: Any) -> None:
    with pytest.raises(CompressError, match="to 2 examples"):
        predict(Runner(lambda batch: np.zeros(shape, dtype=np.float32), None), rows([[1], [2]]))


def test_answers_whose_width_changes_are_refused(rows: Callable[..., Any]) -> None:
    """One logit for each token, say, and not one for each label."""
    with pytest.raises(CompressError, match="gives 3 logits to one example and 2 to another"):
        predict(Runner(lambda batch: batch["input_ids"].astype(np.float32), None), rows([[1] * 3] * 32 + [[1, 1]]))


def test_answers_that_are_not_finite_are_counted_by_example(rows: Callable[..., Any]) -> None:
    def run(batch: Batch) -> np.ndarray:
        logits = sums(batch)
        logits[batch["input_ids"][:, 0] == 2] = np.nan
        logits[batch["input_ids"][:, 0] == 3, 1] = np.inf
        return logits

    with pytest.raises(CompressError, match="answers to 2 of 3 examples are not finite"):
        predict(Runner(run, None), rows([[1], [2], [3]]))


def test_answers_that_padding_changes_are_counted_as_flips(rows: Callable[..., Any]) -> None:
    # widths alone: 2, 3, 5; together all 5. Labels alone: 1, 1, 0; together: 0, 0, 0. The largest change is 5 - 2.
    report = invariance(Runner(padding_counter, None), rows([[1, 1], [1, 1, 1], [1] * 5]))
    assert (report.flips, report.max_abs_error, report.compared) == (2, 3.0, 3)


def test_a_last_batch_of_short_examples_is_padded_like_the_others(rows: Callable[..., Any]) -> None:
    # the 33rd example stands in a batch of its own: 2 wide alone, 5 wide when compared
    report = invariance(Runner(padding_counter, None), rows([[1] * 5] * 32 + [[1, 1]]))
    assert (report.flips, report.max_abs_error, report.compared) == (1, 3.0, 33)


def test_long_examples_are_padded_in_smaller_batches(rows: Callable[..., Any]) -> None:
    sizes = []

    def run(batch: Any) -> np.ndarray:
        sizes.append(batch["input_ids"].shape)
        return sums(batch)

    invariance(Runner(run, None), rows([[1] * 4096] * 5 + [[1, 1]]))
    assert sizes == [(1, 4096)] * 5 + [(1, 2), (4, 4096), (2, 4096)]


def test_answers_that_ignore_padding_do_not_flip(rows: Callable[..., Any]) -> None:
    report = invariance(Runner(sums, None), rows([[1, 1], [3, 1, 1], [1] * 5]))
    assert (report.flips, report.max_abs_error, report.compared) == (0, 0.0, 3)


def test_answers_that_batch_mates_change_are_counted_as_flips(rows: Callable[..., Any]) -> None:
    def run(batch: Batch) -> np.ndarray:
        logits = sums(batch)
        return logits - logits.max(axis=0, keepdims=True) + np.array([0, 0.5], dtype=np.float32)

    # alone: (0, 0.5) for each, label 1; together (-2, 0.5) and (0, 0.5): the change of a logit is 2, no label flips
    report = invariance(Runner(run, None), rows([[1], [3]]))
    assert (report.flips, report.max_abs_error) == (0, 2.0)


def test_examples_compared_are_spread_over_the_split_and_padded_to_their_longest(rows: Callable[..., Any]) -> None:
    seen: list[tuple[list[int], int]] = []

    def run(batch: Batch) -> np.ndarray:
        seen.append((batch["input_ids"][:, 0].tolist(), batch["input_ids"].shape[1]))
        return sums(batch)

    encoded = rows([[index + 1] * (9 if index == 1 else 1 + index % 3) for index in range(10)])
    report = invariance(Runner(run, None), encoded, examples=4)
    assert report.compared == 4
    assert seen[:4] == [([1], 1), ([4], 1), ([7], 1), ([10], 1)]  # positions 0, 3, 6 and 9
    assert seen[4:] == [([1, 4, 7, 10], 1)]  # not padded to example 1, which is not compared


def test_accuracy_and_its_interval_are_those_of_the_score_test(task: Any) -> None:
    metrics = judge_answers(task, answers([1, 0, 1, 0]), np.array([1, 0, 1, 1]))
    assert metrics["metrics"] == {"accuracy": 0.75}
    interval = binomtest(3, 4).proportion_ci(method="wilson")
    assert metrics["metrics_ci95"]["accuracy"] == pytest.approx([interval.low, interval.high], abs=1e-9)


def test_a_task_that_f1_decides_is_judged_by_both(make_task: Callable[..., Any]) -> None:
    # label 1: 2 found rightly, 1 found wrongly, 1 missed: F1 = 2 * 2 / (2 * 2 + 1 + 1)
    metrics = judge_answers(make_task(metric="f1"), answers([1, 1, 1, 0, 0]), np.array([1, 1, 0, 1, 0]))
    assert metrics["metrics"] == pytest.approx({"accuracy": 3 / 5, "f1": 4 / 6})


def test_the_drop_is_in_the_metric_that_decides(make_task: Callable[..., Any]) -> None:
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    baseline = answers([1, 1, 0, 0, 0, 0, 0, 0])  # F1 = 4 / 5, accuracy 7 / 8
    other = answers([1, 1, 1, 1, 1, 0, 0, 0])  # F1 = 6 / 8, accuracy 6 / 8
    comparison = compare_answers(make_task(metric="f1"), baseline, other, labels)
    assert comparison["drop"]["value"] == pytest.approx(4 / 5 - 6 / 8)
    low, high = comparison["drop"]["ci95"]
    assert low < 0 < 4 / 5 - 6 / 8 < high
    assert judge_answers(make_task(metric="f1"), other, labels)["metrics_ci95"]["f1"][0] < 6 / 8


def test_a_worse_model_is_told_by_its_drop_agreement_and_p(task: Any) -> None:
    labels = np.zeros(10, dtype=int)
    baseline = answers([0] * 8 + [1] * 2)
    other = answers([1] * 4 + [0] * 5 + [1])  # loses 4, wins 1
    comparison = compare_answers(task, baseline, other, labels)
    assert comparison["drop"]["value"] == pytest.approx(0.3)
    assert comparison["agreement"] == pytest.approx(0.5)
    assert comparison["drop"]["p"] == pytest.approx(2 * (1 + 5) / 2**5)  # at most 1 of 5 on the smaller side
    low, high = comparison["drop"]["ci95"]
    assert low < 0.3 < high


def test_a_better_model_has_a_negative_drop(task: Any) -> None:
    labels = np.array([0, 1, 0, 1])
    assert compare_answers(task, answers([0, 0, 0, 0]), answers([0, 1, 0, 0]), labels)["drop"]["value"] == -0.25


def test_a_model_that_answers_as_the_baseline_has_no_drop_and_agrees(task: Any) -> None:
    labels = np.array([0, 1, 1])
    comparison = compare_answers(task, answers([0, 0, 1]), 3 * answers([0, 0, 1]), labels)
    assert comparison == {"drop": {"value": 0.0, "ci95": [0.0, 0.0], "p": 1.0}, "agreement": 1.0}


def test_two_wrong_answers_that_differ_do_not_agree(task: Any) -> None:
    three = np.eye(3, dtype=np.float32)
    comparison = compare_answers(task, three[[1, 0]], three[[2, 0]], np.array([0, 0]))
    assert comparison["drop"]["value"] == 0.0
    assert comparison["agreement"] == 0.5
