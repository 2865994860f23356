"""A graph is taken from before for a module that is the same, and for no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.models.attention.kernel import attention_kernel
from compress.models.first_token import first_token_only
from compress.models.quantizers import quantized_linears, with_quantizers
from tests.exported_once import exported_once, identity
from tests.tiny_models import tiny_bert, tiny_of


def _other_weight(model: Any) -> None:
    model.classifier.weight.data[0, 0] += 1e-3


def _other_function(model: Any) -> None:
    model.bert.encoder.layer[0].intermediate.intermediate_act_fn = torch.nn.ReLU()


def _other_number(model: Any) -> None:
    model.bert.encoder.layer[0].attention.self.scaling *= 2


def _other_epsilon(model: Any) -> None:
    model.bert.embeddings.LayerNorm.eps = 1e-3


def test_models_that_are_made_alike_are_the_same() -> None:
    assert identity(tiny_bert()) == identity(tiny_bert())
    named = tiny_bert()
    named.label, named.config.id2label = "teacher", {0: "no", 1: "yes"}
    assert identity(named) == identity(tiny_bert())


@pytest.mark.parametrize("change", [_other_weight, _other_function, _other_number, _other_epsilon])
def test_a_model_that_answers_otherwise_is_another(change: Callable[[Any], None]) -> None:
    model = tiny_bert()
    change(model)
    assert identity(model) != identity(tiny_bert())


def test_so_is_one_of_another_family_kernel_or_way_to_compute() -> None:
    model = tiny_bert()
    known = identity(model)
    assert identity(tiny_of("albert")) != known
    with attention_kernel(model, "eager"):
        assert identity(model) != known
    with first_token_only(model):
        assert identity(model) != known
    quantizing = with_quantizers(model, per_channel=True, symmetric=True)
    before = identity(quantizing)
    next(iter(quantized_linears(quantizing).values())).qmax = 63
    assert len({known, before, identity(quantizing)}) == 3


def test_the_exporter_works_once_for_one_module_and_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worked: list[str] = []

    def export(module: Any, example: Any, path: str, **_: Any) -> None:
        worked.append(path)
        Path(path).write_text(f"graph {len(worked)}")

    monkeypatch.setattr("torch.onnx.export", export)
    module, example = torch.nn.Linear(2, 3), (torch.ones(1, 2),)
    with exported_once(tmp_path / "graphs"):
        for name in ("a", "b"):
            torch.onnx.export(module, example, str(tmp_path / name), verbose=False)
        torch.onnx.export(module, (torch.ones(4, 2),), str(tmp_path / "c"), verbose=False)
        torch.onnx.export(module, example, str(tmp_path / "d"), verbose=True)
    assert [Path(path).name for path in worked] == ["a", "c", "d"]
    assert (tmp_path / "b").read_text() == "graph 1"
    assert torch.onnx.export is export
