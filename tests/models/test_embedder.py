"""Poolings against each text worked out by itself, and embedders of every family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModel

import compress as cp
from compress.errors import InputError
from compress.models.embedder import (
    POOLINGS,
    Pooling,
    Projection,
    finished,
    pooling_of,
    set_pooling,
    unfinished,
    with_projection,
)
from compress.models.families import FAMILIES, KNOWN, WITHOUT_ENCODER
from compress.models.from_teacher import student_of
from compress.models.head import OF_SENTENCES, SENTENCES
from compress.models.heads import head_of, label_names, output_count
from compress.tasks import task
from compress.tasks.labelled import Task
from tests.tasks.kinds import ROWS
from tests.tiny_models import tiny_of, tokens

LENGTHS = (5, 2, 1)


def states() -> tuple[torch.Tensor, torch.Tensor]:
    mask = (torch.arange(5) < torch.tensor(LENGTHS)[:, None]).long()
    return torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1)), mask


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Task:
    path = ROWS["sentence-embedding"](tmp_path_factory.mktemp("rows"), 120)
    return task({"train": str(path)}, kind="sentence-embedding", max_length=24, allow_unknown=True)


@pytest.mark.parametrize("name", POOLINGS)
def test_a_pooling_is_that_of_each_text_by_itself(name: str) -> None:
    given, mask = states()
    by_hand = {
        "cls": lambda rows: rows[0],
        "max": lambda rows: rows.max(0),
        "mean": lambda rows: rows.mean(0),
        "mean_sqrt_len_tokens": lambda rows: rows.sum(0) / np.sqrt(len(rows)),
        "weightedmean": lambda rows: (rows * np.arange(1, len(rows) + 1)[:, None]).sum(0) / np.arange(1, len(rows) + 1).sum(),
        "lasttoken": lambda rows: rows[-1],
    }
    expected = [by_hand[name](given[row, :length].numpy()) for row, length in enumerate(LENGTHS)]
    assert np.allclose(POOLINGS[name](given, mask).numpy(), np.stack(expected), atol=1e-6)


def test_projections_stand_behind_the_pooling_and_a_length_of_one_comes_last() -> None:
    vectors = torch.tensor([[3.0, 4.0]])
    assert torch.allclose(finished(vectors, Pooling(), []), torch.tensor([[0.6, 0.8]]))
    assert torch.equal(finished(vectors, Pooling(normalize=False), []), vectors)
    doubled = nn.Linear(2, 1, bias=False)
    doubled.weight.data.fill_(2.0)
    assert finished(vectors, Pooling(normalize=False), [doubled]).tolist() == [[14.0]]
    assert finished(torch.zeros(1, 2), Pooling(), []).tolist() == [[0.0, 0.0]]  # no division by nothing


@pytest.mark.parametrize("kind", FAMILIES)
def test_an_embedder_of_every_family_is_saved_and_reads_back(kind: str, pairs: Task, tmp_path: Path) -> None:
    teacher = tiny_of("bert", task=pairs)
    model = student_of(teacher, kind, seed=4) if kind in WITHOUT_ENCODER else tiny_of(kind, task=pairs)
    assert head_of(model) == OF_SENTENCES
    assert label_names(model) == []
    batch = tokens()
    batch = {name: values for name, values in batch.items() if name in KNOWN[kind].inputs}
    batch["input_ids"] %= model.config.vocab_size
    with torch.no_grad():
        vectors = model(**batch).sentence_embedding
    assert vectors.shape == (4, output_count(model))
    assert torch.allclose(vectors.norm(dim=1), torch.ones(4), atol=1e-5)
    again = cp.load(cp.save(model, tmp_path / "saved"))
    assert type(again) is KNOWN[kind].classes[SENTENCES]
    with torch.no_grad():
        assert torch.equal(again(**batch).sentence_embedding, vectors)
    if kind not in WITHOUT_ENCODER:
        plain = AutoModel.from_pretrained(tmp_path / "saved").eval()
        with torch.no_grad():
            states = plain(**batch).last_hidden_state
        mean = POOLINGS["mean"](states, batch["attention_mask"])
        assert torch.allclose(nn.functional.normalize(mean, dim=-1), vectors, atol=1e-5)


def test_padding_and_batch_mates_change_nothing(pairs: Task) -> None:
    model, batch = tiny_of("bert", task=pairs), tokens()
    for name in POOLINGS:
        set_pooling(model.config, Pooling((name, "mean")))
        with torch.no_grad():
            together = model(**batch).sentence_embedding
            for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
                alone = model(**{key: values[row : row + 1, :length] for key, values in batch.items()}).sentence_embedding
                assert torch.allclose(alone[0], together[row], atol=1e-5), name


def test_a_projection_is_added_saved_and_loaded(pairs: Task, tmp_path: Path) -> None:
    model = tiny_of("bert", task=pairs)
    linear = nn.Linear(16, 5)
    student = with_projection(model, linear, "Tanh")
    assert output_count(student) == 5
    assert output_count(model) == 16
    assert not pooling_of(model.config).projections
    again = cp.load(cp.save(student, tmp_path / "saved"))
    batch = tokens()
    with torch.no_grad():
        pooled = unfinished(model)(**batch).sentence_embedding
        expected = nn.functional.normalize(torch.tanh(linear(pooled)), dim=-1)
        assert torch.allclose(again(**batch).sentence_embedding, expected, atol=1e-5)


def test_a_configuration_that_tells_nonsense_is_refused(pairs: Task, tmp_path: Path) -> None:
    student = student_of(tiny_of("bert", task=pairs), "static", seed=4)
    student.config.embedder = {"projections": [{"width": 3}]}
    with pytest.raises(InputError, match=r"config\.json: embedder is"):
        pooling_of(student.config)


def test_a_student_of_another_width_pools_as_its_teacher(pairs: Task) -> None:
    teacher = tiny_of("bert", task=pairs)
    set_pooling(teacher.config, Pooling(("mean", "cls"), (Projection(32, 6),)))
    teacher = type(teacher)(teacher.config)
    teacher.tokenizer, teacher.label, teacher.has_new_head = tiny_of("bert", task=pairs).tokenizer, "tiny", False
    student = cp.build_student(teacher.eval(), kind="bert", layers=1, width=8, heads=2, task=pairs)
    assert pooling_of(student.config).projections == (Projection(16, 6),)
    assert output_count(student) == 6
    assert student(**tokens()).sentence_embedding.shape == (4, 6)
