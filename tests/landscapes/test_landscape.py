"""The loss around models and between them, as a whole: the same every time, computed once, and no model changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

import compress as cp
from compress.errors import InputError
from compress.landscapes.landscape import landscape
from compress.landscapes.loss import SampleLoss
from compress.models.quantizers import quantized_linears, with_quantizers
from compress.models.surgery import keep_neurons
from compress.tasks import TASKS
from compress.tasks.labelled import Task
from compress.training.predict import predict
from tests.contract.support import model_of, task_of
from tests.tiny_models import differences, state_of, tiny_bert, toy_task

FEW: dict[str, Any] = {"examples": 8, "points": 3, "directions": 2, "probes": 2, "plane_points": 3}


def halved(model: PreTrainedModel) -> PreTrainedModel:
    """A copy in which half of the weights of each Linear of the encoder are zero."""
    student = tiny_bert()
    student.load_state_dict(model.state_dict())
    with torch.no_grad():
        for name, tensor in student.named_parameters():
            if "encoder" in name and tensor.ndim > 1:
                tensor[:, ::2] = 0
    return student


def rounded(model: PreTrainedModel) -> PreTrainedModel:
    """A copy that rounds to eight bits."""
    student = with_quantizers(model, per_channel=True, symmetric=True)
    for linear in quantized_linears(student).values():
        linear.set_range(-4.0, 4.0)
    return student


def test_a_landscape_tells_each_model_and_what_lies_between(model: PreTrainedModel, toy: Task) -> None:
    models = {"start": tiny_bert(seed=4), "dense": model, "half": halved(model), "int8": rounded(model)}
    before = {name: state_of(given) for name, given in models.items()}
    record = landscape(models, task=toy, **FEW)
    assert not [name for name, state in before.items() if differences(state, state_of(models[name]))]
    entries = {entry["name"]: entry for entry in record["models"]}
    assert [f"{line['from']} {line['to']}" for line in record["lines"]] == ["start dense", "dense half", "half int8"]
    for line in record["lines"][:2]:
        ends = [line["losses"][line["alphas"].index(place)] for place in (0.0, 1.0)]
        assert ends == pytest.approx([entries[line["from"]]["loss"], entries[line["to"]]["loss"]], abs=1e-5)
    assert entries["half"]["free_weights"] < entries["dense"]["free_weights"]
    assert entries["int8"]["trace"] is None
    assert entries["dense"]["trace"]["samples"] != entries["half"]["trace"]["samples"]
    assert [len(entry["curve"]) for entry in record["models"]] == [4] * 4
    assert record["sample"]["examples"] == 8
    assert record["plane"] is None
    assert record["around"] == []
    assert any("Around int8" in sentence for sentence in record["answer"])


def test_the_same_seed_gives_the_same_and_another_one_does_not(model: PreTrainedModel, toy: Task) -> None:
    first, again, other = (landscape([model], task=toy, around=True, seed=seed, **FEW) for seed in (3, 3, 4))
    assert first == again
    assert first["around"][0]["losses"] != other["around"][0]["losses"]
    assert first["around"][0]["losses"][1][1] == pytest.approx(first["models"][0]["loss"], abs=1e-6)  # the middle


def test_what_was_stopped_goes_on_and_what_was_whole_computes_nothing(
    model: PreTrainedModel, toy: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {"a": model, "b": tiny_bert(seed=4)}
    whole = landscape(models, task=toy, **FEW)
    computed: list[str] = []

    def stopping(what: str, done: int, total: int, **_: float) -> None:
        computed.append(what)
        if len(computed) == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        landscape(models, task=toy, cache=tmp_path / "cache", progress=stopping, **FEW)
    assert landscape(models, task=toy, cache=tmp_path / "cache", progress=stopping, **FEW) == whole
    monkeypatch.setattr(SampleLoss, "_of", lambda *_: pytest.fail("computed again"))
    assert landscape(models, task=toy, cache=tmp_path / "cache", **FEW) == whole


def test_models_of_other_shapes_have_no_line_and_surroundings_each(model: PreTrainedModel, toy: Task) -> None:
    narrow = keep_neurons(model, [range(4), range(4)])
    record = landscape({"wide": model, "narrow": narrow}, task=toy, **FEW)
    assert record["lines"] == []
    (pair,) = record["apart"]
    assert "their weights have other shapes" in pair["why"]
    assert "intermediate" in pair["why"]
    assert all(len(entry["rise"]["samples"]) == 2 for entry in record["models"])


def test_three_models_span_a_plane_and_more_are_a_trajectory(model: PreTrainedModel, toy: Task) -> None:
    models = [tiny_bert(seed=seed) for seed in (4, 5, 6)]
    three = landscape([model, *models[:2]], task=toy, plane=True, **FEW)["plane"]
    assert three["explained"] is None
    assert [place["name"] for place in three["places"]] == ["tiny", "tiny-2", "tiny-3"]
    assert (three["places"][0]["x"], three["places"][0]["y"]) == (0, 0)
    four = landscape([model, *models], task=toy, plane=True, **FEW)["plane"]
    assert 0.5 < sum(four["explained"]) < 1
    assert (four["places"][-1]["x"], four["places"][-1]["y"]) == (0, 0)


def test_the_sample_may_be_of_the_part_that_picks_epochs(model: PreTrainedModel, toy: Task) -> None:
    record = landscape([model], task=toy, part="selection", **{**FEW, "examples": 100})
    assert (record["sample"]["part"], record["sample"]["examples"]) == ("selection", len(toy.selection))
    logits = predict(model, toy.encode(toy.selection, model.tokenizer))
    own = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(toy.selection.labels))
    assert record["models"][0]["loss"] == pytest.approx(own.item(), abs=1e-5)


def test_files_are_written_whole_and_nobody_else_s_is_overwritten(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    (tmp_path / "rise.svg").write_text("mine")
    models = {"a": model, "b": tiny_bert(seed=4), "c": tiny_bert(seed=5)}
    record = cp.landscape(models, task=toy, out=tmp_path, plane=True, around=True, **FEW)
    assert json.loads((tmp_path / "landscape.json").read_text()) == record
    names = {path.name for path in tmp_path.iterdir() if path.is_file()}
    figures = {"rise.svg", "lines.svg", "plane.svg", "around-1.svg", "around-2.svg", "around-3.svg"}
    assert names == {"landscape.json", "rise.svg.kept", *figures}
    assert (tmp_path / "rise.svg.kept").read_text() == "mine"
    cp.landscape(models, task=toy, out=tmp_path, **FEW)  # its own files it writes anew
    assert not list(tmp_path.glob("*.kept-2"))


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"points": 1}, "landscape.points is 1; allowed: a whole number from 2 to 1,001."),
        ({"examples": 0}, "landscape.examples is 0"),
        ({"directions": True}, "landscape.directions is True"),
        ({"probes": 1.5}, "landscape.probes is 1.5"),
        ({"radius": 0}, "landscape.radius is 0; allowed: a number above 0, at most 10."),
        ({"radius": float("nan")}, "landscape.radius is nan"),
        ({"part": "evaluation"}, "landscape.part is 'evaluation'; allowed: train or selection"),
        ({"plane": True}, "landscape.plane needs three models or more, but there are 1"),
        ({"points": 0, "seed": -1}, "landscape.seed is -1"),
    ],
)
def test_numbers_out_of_range_are_refused(model: PreTrainedModel, toy: Task, wrong: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        landscape([model], task=toy, **wrong)
    assert expected in str(caught.value)


def test_no_model_and_models_that_no_plane_holds_are_refused(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"models is empty; give a model"):
        landscape({}, task=toy)
    narrow = keep_neurons(model, [range(4), range(4)])
    with pytest.raises(InputError, match=r"plane cannot hold a and c: their weights have other shapes"):
        landscape({"a": model, "b": tiny_bert(seed=4), "c": narrow}, task=toy, plane=True, out=tmp_path / "out", **FEW)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"do not stand on one line, but a, b, c do"):
        landscape({"a": model, "b": tiny_bert(seed=4), "c": model}, task=toy, plane=True, **FEW)


def test_a_model_for_other_labels_or_without_a_finite_loss_is_refused(model: PreTrainedModel) -> None:
    with pytest.raises(InputError, match=r"^tiny: the model has 2 labels, but the task has 3"):
        landscape([model], task=toy_task(labels=("a", "b", "c")))
    with torch.no_grad():
        model.classifier.bias.fill_(torch.nan)
    with pytest.raises(InputError, match=r"^the loss of tiny on the sample is nan"):
        landscape([model], task=toy_task(), **FEW)


def test_figures_without_matplotlib_are_refused_before_any_work(
    model: PreTrainedModel, toy: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("compress.landscapes.landscape.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'bert-compress\[figures\]'"):
        landscape([model], task=toy, out=tmp_path / "out", **FEW)
    assert not (tmp_path / "out").exists()
    landscape([model], task=toy, out=tmp_path / "out", figures=False, **FEW)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["landscape.json"]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "family"), [*((kind, "bert") for kind in TASKS), ("text-classification", "bilstm")])
def test_every_kind_of_task_has_a_landscape(kind: str, family: str) -> None:
    task, model = task_of(kind), model_of(kind, family)
    (entry,) = landscape([model], task=task, **FEW)["models"]
    assert entry["loss"] > 0
    assert all(abs(sample) > 0 for sample in entry["trace"]["samples"])
