"""Parameters that stand in several layers: told, saved once, tied again."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import compress as cp
from compress.errors import InputError
from compress.models.factors import set_embedding_rank, set_rank
from compress.models.quantizers import with_quantizers
from compress.models.sharing import share, shared_parameters
from compress.models.structure import apply_structure, read_structure
from compress.models.surgery import keep_heads, keep_layers, keep_neurons
from compress.models.traits import why_not_cut
from compress.pruning.width import keep_width
from tests.tiny_models import logits_of, tiny_bert, tokens

FIRST, SECOND, THIRD = (f"bert.encoder.layer.{index}.output.dense.weight" for index in range(3))


def tied(layers: int = 3) -> Any:
    """The second and third layer read the first one's weight."""
    model = tiny_bert(layers=layers)
    share(model, dict.fromkeys((SECOND, THIRD), FIRST))
    return model


def test_a_parameter_is_told_under_every_name_but_its_first() -> None:
    assert shared_parameters(tiny_bert()) == {}
    assert shared_parameters(tied()) == {SECOND: FIRST, THIRD: FIRST}


def test_a_shared_parameter_learns_from_all_its_places() -> None:
    model = tied()
    model(**tokens()).logits.sum().backward()
    alone = tiny_bert(layers=3)
    for name in (SECOND, THIRD):
        alone.get_parameter(name).data.copy_(alone.get_parameter(FIRST))
    alone(**tokens()).logits.sum().backward()
    gradient = sum(alone.get_parameter(name).grad for name in (FIRST, SECOND, THIRD))
    torch.testing.assert_close(model.get_parameter(FIRST).grad, gradient)


def test_a_saved_model_keeps_each_tensor_once_and_ties_it_again(tmp_path: Path) -> None:
    model = tied()
    again = cp.load(cp.save(model, tmp_path / "saved"))
    assert shared_parameters(again) == {SECOND: FIRST, THIRD: FIRST}
    assert torch.equal(logits_of(again), logits_of(model))
    with safe_open(tmp_path / "saved" / "model.safetensors", "pt") as file:
        assert FIRST in file.keys()  # noqa: SIM118
        assert not {SECOND, THIRD} & set(file.keys())


def test_layers_that_stay_stay_tied() -> None:
    fewer = keep_layers(tied(), [0, 2])
    assert shared_parameters(fewer) == {SECOND: FIRST}
    assert not shared_parameters(keep_layers(tiny_bert(layers=3), [0, 0, 2]))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (tied(), "share their weights; prune it before share_layers"),
        (with_quantizers(tiny_bert(), per_channel=True, symmetric=True), "quantizes; prune it before quantize_aware"),
    ],
)
def test_what_cannot_be_cut_is_refused_everywhere(model: Any, said: str) -> None:
    count = len(model.bert.encoder.layer)
    assert said in str(why_not_cut(model))
    for cut in (
        lambda: keep_heads(model, [[0]] * count),
        lambda: keep_neurons(model, [[0]] * count),
        lambda: keep_width(model, range(8)),
    ):
        with pytest.raises(InputError, match=said):
            cut()


def test_a_model_of_low_rank_cannot_be_cut_and_a_factorized_table_not_narrowed() -> None:
    thin, factorized = tiny_bert(), tiny_bert()
    set_rank(thin, "bert.encoder.layer.0.output.dense", 3)
    set_embedding_rank(factorized, 4)
    assert "prune it before low_rank" in str(why_not_cut(thin))
    assert why_not_cut(factorized) is None
    assert "prune it before factorize_embedding" in str(why_not_cut(factorized, width=True))
    assert why_not_cut(tiny_bert(), width=True) is None


@pytest.mark.parametrize(
    "shared",
    [
        [SECOND],
        {SECOND: 1},
        {SECOND: "bert.nothing.weight"},
        {"bert.nothing.weight": FIRST},
        {SECOND: "bert.pooler.dense.weight"},
        {SECOND: THIRD, THIRD: FIRST},
    ],
)
def test_a_structure_that_ties_what_cannot_be_is_refused(shared: Any) -> None:
    model = tiny_bert(layers=3)
    with pytest.raises(InputError, match=re.escape("structure.json: shared names")):
        apply_structure(model, read_structure(copy.deepcopy(model)) | {"shared": shared})
