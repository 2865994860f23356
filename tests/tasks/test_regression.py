"""A score for a text: how it is read, what is learned, how it is scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from compress.errors import InputError
from compress.tasks import task
from compress.tasks.regression import KIND


def written(folder: Path, scores: list[str], column: str = "score") -> dict[str, str]:
    """A file of 60 pairs whose scores come from these in turn."""
    lines = [f"text number {index}\tother {index}\t{scores[index % len(scores)]}" for index in range(60)]
    path = folder / "rows.tsv"
    path.write_text("\n".join([f"sentence1\tsentence2\t{column}", *lines]) + "\n", encoding="utf-8")
    return {"train": str(path)}


def noisy(count: int = 400, noise: float = 1.0, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Answers and true scores that go together but for noise."""
    random = np.random.default_rng(seed)
    targets = random.uniform(0, 5, count).astype(np.float32)
    return (targets + random.normal(0, noise, count)).astype(np.float32)[:, None], targets


def test_scores_are_read_as_numbers_on_their_own_scale(tmp_path: Path) -> None:
    read = task(written(tmp_path, ["5.000", "0", "-2.5", "1e1"]), kind="regression")
    assert read.labels == ("score",)
    assert set(read.train.labels.tolist()) == {5.0, 0.0, -2.5, 10.0}
    assert read.train.pairs is not None
    assert read.metric == "pearson"
    assert {"mean", "deviation"} <= read.describe()["splits"]["train"].keys()


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (["1.0", "high"], r"scores that are no numbers[\s\S]*line 3, column 'score': 'high'"),
        (["1.0", "inf"], r"scores that are no numbers[\s\S]*'inf'"),
        (["1.0", ""], "is empty"),
        (["2.5"], "every row has the score '2.5'; at least two scores are needed"),
    ],
)
def test_what_is_no_score_is_refused(scores: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        task(written(tmp_path, scores), kind="regression")


def test_names_of_several_outputs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a regression has one output"):
        task(written(tmp_path, ["1", "2"]), kind="regression", labels=["a", "b"])
    assert task(written(tmp_path, ["1", "2"]), kind="regression", labels=["likeness"]).labels == ("likeness",)


def test_correlations_are_those_of_scipy_ties_included() -> None:
    answers, targets = noisy()
    targets = np.round(targets)
    scores = KIND.score(answers, targets, "spearman")
    assert next(iter(scores)) == "spearman"
    assert scores["pearson"] == pytest.approx(pearsonr(answers[:, 0], targets)[0])
    assert scores["spearman"] == pytest.approx(spearmanr(answers[:, 0], targets)[0])
    assert KIND.score(answers * 0 + 1e6, targets, "pearson") == {"pearson": 0.0, "spearman": 0.0}
    shifted = KIND.score(answers * 3 + 1e4, targets, "pearson")["pearson"]
    assert shifted == pytest.approx(scores["pearson"], abs=1e-4)


def test_the_interval_is_that_of_fishers_transformation() -> None:
    answers, targets = noisy()
    metrics = KIND.judge(answers, targets, "pearson")
    r = metrics["metrics"]["pearson"]
    low, high = np.tanh(np.arctanh(r) + np.array([-1.96, 1.96]) / np.sqrt(len(targets) - 3))
    assert metrics["metrics_ci95"]["pearson"] == pytest.approx([low, high], abs=0.01)


def test_a_drop_is_the_difference_with_a_paired_interval() -> None:
    random = np.random.default_rng(5)
    good, targets = noisy(noise=0.5)
    worse = good + random.normal(0, 0.8, good.shape).astype(np.float32)
    comparison = KIND.compare(good, worse, targets, "pearson")
    expected = pearsonr(good[:, 0], targets)[0] - pearsonr(worse[:, 0], targets)[0]
    assert comparison["drop"]["value"] == pytest.approx(expected)
    low, high = comparison["drop"]["ci95"]
    assert 0 < low < expected < high < 3 * expected
    assert 0.2 < comparison["agreement"] < 0.9
    same = KIND.compare(good, good, targets, "spearman")
    assert (same["drop"]["value"], same["agreement"]) == (0.0, 1.0)


def test_the_losses_by_hand() -> None:
    outputs, targets = torch.tensor([[1.0], [4.0]]), torch.tensor([2.0, 2.0])
    assert KIND.loss(outputs, targets).item() == 2.5
    assert KIND.loss(outputs, targets, "sum").item() == 5.0
    teacher = torch.tensor([[1.0], [1.0]])
    assert KIND.distance(outputs, teacher, torch.ones(2, 1)).item() == 4.5
    assert KIND.divergence(outputs, teacher, torch.ones(2, 1), 3.0).item() * 9 == pytest.approx(4.5)


def test_a_flip_is_a_move_of_a_quarter_of_the_spread() -> None:
    values = np.array([[0.0], [2.0]])  # a standard deviation of 1
    assert KIND.flips(values, values + np.array([[0.24], [-0.26]])).tolist() == [False, True]
    assert KIND.relative_error(values, values + 0.5) == pytest.approx(0.5)


def test_a_model_whose_scores_go_nowhere_is_refused_unless_it_is_trained() -> None:
    answers, targets = noisy(60)
    with pytest.raises(InputError, match="do not go with those of 60 examples"):
        KIND.check_answers(-answers, targets, ("score",), trains=False)
    KIND.check_answers(-answers, targets, ("score",), trains=True)
    KIND.check_answers(answers, targets, ("score",), trains=False)


def test_few_examples_spread_over_the_scores(tmp_path: Path) -> None:
    read = task(written(tmp_path, [str(number) for number in range(10)]), kind="regression").capped(8)
    assert len(read.train) == 8
    assert read.train.labels.max() - read.train.labels.min() > 6
