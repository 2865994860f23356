"""The activation that folders of cross-encoders state: read wherever it stands, kept by students, written for others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import compress as cp
from compress.models.activation import IDENTITY, SIGMOID, STATED, activation_of, state_activation
from compress.models.checkpoint.labels import activation_in_folder, head_in_folder
from compress.models.from_teacher import student_of
from compress.models.head import REGRESSION, Head
from compress.models.heads import aligned, head_of, outputs_stated
from compress.tasks.kind import kind_for
from tests.tiny_models import tiny_bert

RANKS = Head(problem_type=REGRESSION, ranks=True)


@pytest.mark.parametrize(
    ("values", "beside", "activation"),
    [
        ({STATED: {"activation_fn": SIGMOID}}, None, SIGMOID),
        ({"sbert_ce_default_activation_function": IDENTITY}, None, IDENTITY),
        ({}, {"model_type": "CrossEncoder", "activation_fn": SIGMOID}, SIGMOID),
        ({STATED: {"activation_fn": IDENTITY}}, {"model_type": "CrossEncoder", "activation_fn": SIGMOID}, IDENTITY),
        ({}, {"model_type": "SentenceTransformer", "activation_fn": SIGMOID}, None),
        ({STATED: {"version": "4.0.0"}}, None, None),
        ({STATED: "none"}, None, None),
        ({}, None, None),
    ],
)
def test_an_activation_is_read_wherever_it_stands(
    values: dict[str, Any], beside: dict[str, Any] | None, activation: str | None, tmp_path: Path
) -> None:
    folder = cp.save(tiny_bert(labels=("LABEL_0",)), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | values
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if beside is not None:
        (folder / "config_sentence_transformers.json").write_text(json.dumps(beside), encoding="utf-8")
    assert activation_in_folder(folder, config) == activation
    model = cp.load(folder)
    assert activation_of(model.config) == activation
    ranks = activation is not None
    for head in (head_of(model), head_in_folder(folder, config)):
        assert head == Head(problem_type=REGRESSION, ranks=ranks)
        assert kind_for(head) == ("reranking" if ranks else "regression")
    saved = json.loads((cp.save(model, tmp_path / "again") / "config.json").read_text(encoding="utf-8"))
    assert saved.get(STATED, {}).get("activation_fn") == activation


def test_a_new_head_forgets_what_was_stated(tmp_path: Path) -> None:
    model = tiny_bert(labels=("LABEL_0",))
    state_activation(model.config, SIGMOID)
    folder = cp.save(model, tmp_path / "model")
    assert activation_of(cp.load(folder, labels=["a", "b"], new_head=True).config) is None


def test_a_model_that_begins_to_rank_states_that_its_output_is_taken_as_it_is() -> None:
    model = tiny_bert(labels=("score",))
    ready = aligned(model, ["LABEL_0"], RANKS)
    assert activation_of(ready.config) == IDENTITY
    assert activation_of(model.config) is None
    assert aligned(ready, ["LABEL_0"], RANKS) is ready
    state_activation(ready.config, SIGMOID)
    assert activation_of(aligned(ready, ["other"], RANKS).config) == SIGMOID


def test_students_of_other_families_state_the_same() -> None:
    model = tiny_bert(labels=("LABEL_0",), problem_type=REGRESSION)
    state_activation(model.config, SIGMOID)
    assert outputs_stated(model.config)[STATED] == {"activation_fn": SIGMOID}
    assert activation_of(student_of(model, "bilstm", random=True).config) == SIGMOID
    assert activation_of(cp.build_student(model, kind="distilbert", layers=1, initial="random").config) == SIGMOID
    assert STATED not in outputs_stated(tiny_bert().config)


def test_sentence_transformers_reads_the_folder_and_applies_what_it_states(tmp_path: Path) -> None:
    cross_encoder = pytest.importorskip("sentence_transformers").CrossEncoder
    pairs = [("a film", "the plot was good"), ("a film", "dull")]
    model = tiny_bert(labels=("LABEL_0",), problem_type=REGRESSION)
    read = model.tokenizer([list(pair) for pair in pairs], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**read).logits[:, 0].numpy()
    for activation, expected in ((IDENTITY, logits), (SIGMOID, 1 / (1 + np.exp(-logits)))):
        state_activation(model.config, activation)
        folder = cp.save(model, tmp_path / activation)
        assert cross_encoder(str(folder), device="cpu").predict(pairs) == pytest.approx(expected, abs=1e-5)
    encoder = cross_encoder(str(folder), device="cpu")
    encoder.save_pretrained(str(tmp_path / "theirs"))
    assert activation_of(cp.load(tmp_path / "theirs").config) == SIGMOID
