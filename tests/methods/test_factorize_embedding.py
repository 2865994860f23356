"""The word table becomes two factors that keep most of what frequent pieces say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import compress as cp
from compress.errors import InputError, NoEffect
from compress.methods.factorize_embedding import factorize_embedding
from compress.models.factors import embedding_rank, word_table
from compress.models.layout import parameter_count
from compress.models.quantizers import with_quantizers
from compress.tasks.labelled import Task
from compress.tasks.words import counted
from compress.training.step_context import StepContext
from tests.methods.ranges import forbid_forward_passes
from tests.tiny_models import PIECES, logits_of, tiny_bert, tiny_of, toy_task


@pytest.fixture(scope="module")
def toy() -> Task:
    return toy_task()


def rows_of(model: Any) -> torch.Tensor:
    rows: torch.Tensor = model.get_input_embeddings().weight.detach()
    return rows


def flat(rank: int) -> Any:
    """A model whose rows lie in so many dimensions about their mean."""
    model: Any = tiny_bert()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        rows = torch.randn(len(PIECES), rank, generator=random) @ torch.randn(rank, 16, generator=random) + 0.5
        model.get_input_embeddings().weight.copy_(rows)
    return model


@pytest.mark.parametrize("weighting", ["frequency", "none"])
def test_rows_of_so_many_dimensions_are_kept_whole(toy: Task, weighting: Any) -> None:
    model, run = flat(3), StepContext()
    student = factorize_embedding(model, task=toy, rank=3, weighting=weighting, run=run)
    torch.testing.assert_close(rows_of(student), rows_of(model), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits_of(student), logits_of(model), rtol=1e-3, atol=1e-3)
    assert run.facts["embedding"]["rank"] == 3
    assert run.facts["embedding"]["energy"] == pytest.approx(1)
    assert parameter_count(student) < parameter_count(model)


def test_the_energy_chooses_the_smallest_rank_that_keeps_it(toy: Task) -> None:
    model = tiny_bert()
    centred = (rows_of(model) - rows_of(model).mean(0)).double()
    for energy in (0.3, 0.6):
        run = StepContext()
        student = factorize_embedding(model, task=toy, energy=energy, weighting="none", run=run)
        values = torch.linalg.svdvals(centred).square()
        kept = values.cumsum(0) / values.sum()
        assert embedding_rank(student) == int((kept < energy).sum()) + 1
        lost = (rows_of(student) - rows_of(model)).double().square().sum() / centred.square().sum()
        assert 1 - float(lost) == pytest.approx(run.facts["embedding"]["energy"], abs=1e-5)
        assert float(lost) <= 1 - energy


def test_frequent_pieces_are_kept_best(toy: Task) -> None:
    model = tiny_bert()
    counts, lost = counted(model.tokenizer, toy.train.texts), {}
    often = torch.tensor([counts[piece] + 40 * (PIECES[piece] in ("[CLS]", "[SEP]")) for piece in range(len(PIECES))])
    for weighting in ("frequency", "none"):
        student = factorize_embedding(model, task=toy, rank=4, weighting=weighting)  # type: ignore[arg-type]
        lost[weighting] = (rows_of(student) - rows_of(model)).square().sum(1)
    assert (often * lost["frequency"]).sum() < 0.9 * (often * lost["none"]).sum()
    assert lost["frequency"].sum() > lost["none"].sum()


@pytest.mark.parametrize("kind", ["bert", "distilbert", "mobilebert", "albert"])
def test_every_family_factorizes_and_a_smaller_rank_can_follow(toy: Task, kind: str, tmp_path: Path) -> None:
    student = factorize_embedding(tiny_of(kind), task=toy, rank=4)
    assert torch.equal(logits_of(cp.load(cp.save(student, tmp_path / "saved"))), logits_of(student))
    assert embedding_rank(factorize_embedding(student, task=toy, rank=2)) == 2
    with pytest.raises(NoEffect, match="4 columns already, and rank 4"):
        factorize_embedding(student, task=toy, rank=4)


def test_pieces_can_go_before_and_after(toy: Task) -> None:
    before = cp.trim_vocabulary(factorize_embedding(tiny_bert(), task=toy, rank=4), task=toy, min_count=20)
    after = factorize_embedding(cp.trim_vocabulary(tiny_bert(), task=toy, min_count=20), task=toy, rank=4)
    assert word_table(before).weight.shape == word_table(after).weight.shape
    assert len(word_table(before).weight) < len(PIECES)


def test_a_trial_takes_the_largest_rank_that_there_is(toy: Task) -> None:
    assert embedding_rank(factorize_embedding(tiny_bert(), task=toy, rank=128, run=StepContext(tiny=True))) == 8


def test_training_reaches_both_factors(toy: Task) -> None:
    student = factorize_embedding(tiny_bert(), task=toy, rank=4)
    tuned: Any = cp.fine_tune(student, task=toy, epochs=1, batch_size=8, learning_rate=1e-3, run=StepContext(device="cpu"))
    for end in ("table.weight", "up.weight", "up.bias"):
        name = f"bert.embeddings.word_embeddings.{end}"
        assert not torch.equal(tuned.get_parameter(name), student.get_parameter(name))


@pytest.mark.parametrize(
    ("model", "arguments", "said"),
    [
        (tiny_bert(), {}, "rank is missing, and so is energy"),
        (tiny_bert(), {"rank": 2, "energy": 0.5}, "are both given"),
        (tiny_bert(), {"rank": 0}, r"factorize_embedding\.rank"),
        (tiny_bert(), {"energy": 1.0}, r"factorize_embedding\.energy"),
        (tiny_bert(), {"rank": 16}, "17 x 16; use at most 8"),
        (with_quantizers(tiny_bert(), per_channel=True, symmetric=True), {"rank": 2}, "before quantize_aware"),
    ],
)
def test_what_makes_no_sense_is_refused(toy: Task, model: Any, arguments: Any, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        factorize_embedding(forbid_forward_passes(model), task=toy, **arguments)
    assert caught.value.exit_code == 2
