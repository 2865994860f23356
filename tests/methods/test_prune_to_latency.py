"""A model is pruned until it takes no longer than asked, by a table that is given; what cannot be had is refused."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

import compress as cp
from compress.benchmark.block_times import BlockTimes, Setting, shapes_of
from compress.errors import InputError
from compress.methods import prune_to_latency as module
from compress.methods.prune_to_latency import prune_to_latency
from compress.methods.quantize_aware import quantize_aware
from compress.pruning.latency_target import wrong_times
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext
from tests.methods.ranges import forbid_forward_passes
from tests.pruning.times import milliseconds_of, ms_of, stand_in_for_timing, table_of
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tiny_of, tiny_tokenizer, toy_task


@pytest.fixture(autouse=True)
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is timed."""
    stand_in_for_timing(monkeypatch)


_prune = partial(prune_to_latency, length=8)


@pytest.mark.parametrize("speedup", [1.01, 2.0, 4.0])
def test_it_takes_no_longer_than_asked(toy: Task, speedup: float) -> None:
    model = tiny_bert(layers=4)
    run = StepContext(device="cpu")
    pruned = _prune(model, task=toy, speedup=speedup, trials=4, run=run)
    dense_ms = table_of(model).dense_ms
    assert ms_of(pruned, model) <= dense_ms / speedup
    assert shapes_of(pruned) != shapes_of(model)
    facts = run.facts["latency"]
    assert facts["speedup"]["asked"] == speedup
    assert facts["speedup"]["predicted"] >= speedup - 1e-3
    assert facts["cuts"][0]["budget_ms"] == pytest.approx(dense_ms / speedup, abs=1e-3)
    assert facts["cuts"][0]["predicted_ms"] == pytest.approx(ms_of(pruned, model), abs=1e-3)
    assert facts["cuts"][0]["heads"] == [shape[0] for shape in shapes_of(pruned)]
    assert facts["measured_ms"]["pruned"] == pytest.approx(ms_of(pruned, model), abs=1e-3)


def test_a_table_that_is_off_is_made_up_for(toy: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pruned files take a fifth more than the table says."""
    model = tiny_bert(layers=4)
    wanted_ms = table_of(model).dense_ms / 2

    def slower(models: Any, *_: Any, **__: Any) -> dict[str, float]:
        milliseconds = milliseconds_of(models)
        return milliseconds | {"pruned": 1.2 * milliseconds["pruned"]}

    monkeypatch.setattr(module, "model_times", slower)
    run = StepContext(device="cpu")
    pruned = _prune(model, task=toy, speedup=2.0, trials=4, run=run)
    assert 0.9 * wanted_ms < 1.2 * ms_of(pruned, model) <= 1.03 * wanted_ms
    facts = run.facts["latency"]
    assert facts["cuts"][0]["predicted_ms"] == pytest.approx(1.2 * ms_of(pruned, model), rel=0.05)
    assert facts["speedup"]["measured"] == pytest.approx(2.0, rel=0.03)


def test_a_time_says_the_same_as_a_speedup(toy: Task) -> None:
    model = tiny_bert(layers=3)
    by_speed = _prune(model, task=toy, speedup=2.0, trials=3)
    by_time = _prune(model, task=toy, p50_ms=table_of(model).dense_ms / 2, trials=3)
    assert not differences(state_of(by_speed), state_of(by_time))


def test_more_trials_come_nearer_to_the_model_s_answers(toy: Task) -> None:
    divergences = []
    for trials in (1, 30):
        run = StepContext(device="cpu")
        _prune(tiny_bert(layers=4), task=toy, speedup=2.0, trials=trials, run=run)
        divergences.append(run.facts["latency"]["cuts"][0]["divergence"])
    assert divergences[1] < divergences[0]


def test_the_best_time_that_there_is_can_be_asked(toy: Task) -> None:
    model = tiny_bert(layers=3)
    pruned = _prune(model, task=toy, p50_ms=module.fastest_ms(table_of(model)), trials=2)
    assert shapes_of(pruned) == [(1, 0)]
    assert torch.isfinite(logits_of(pruned)).all()


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_a_result_of_either_family_is_saved_and_loaded(toy: Task, kind: str, tmp_path: Path) -> None:
    pruned = _prune(tiny_of(kind, layers=3), task=toy, speedup=2.0, trials=2)
    again = cp.load(cp.save(pruned, tmp_path / "saved"))
    batch = {"input_ids": torch.arange(5, 12)[None], "attention_mask": torch.ones((1, 7), dtype=torch.long)}
    assert torch.equal(logits_of(pruned, **batch), logits_of(again, **batch))
    assert all(parameter.requires_grad for parameter in pruned.parameters())


def test_on_the_way_it_learns_from_the_layers_that_it_has_left(toy: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each cut but the last: from the incoming model's logits, and from the same layers' states."""
    model = tiny_bert(layers=4)
    taught: list[tuple[Any, list[int]]] = []
    learn = module.training_loss_of

    def watched(method: str, objectives: Any, how: Any, **others: Any) -> Any:
        taught.append((how.layers, [len(others["student"].bert.encoder.layer), len(others["teacher"].bert.encoder.layer)]))
        assert set(objectives) == {"logits", "hidden"}
        return learn(method, objectives, how, **others)

    monkeypatch.setattr(module, "training_loss_of", watched)
    run = StepContext(device="cpu")
    pruned = _prune(
        model, task=toy, speedup=6.0, schedule=[1.5, 3.0], epochs=1, batch_size=8, learning_rate=1e-3, trials=2, run=run
    )
    cuts = run.facts["latency"]["cuts"]
    assert [layers for layers, _ in taught] == [[index + 1 for index in cut["layers"]] for cut in cuts[:2]]
    assert [depths for _, depths in taught] == [[len(cut["layers"]), 4] for cut in cuts[:2]]
    assert len(cuts) == 3
    assert set(cuts[2]["layers"]) <= set(cuts[1]["layers"]) <= set(cuts[0]["layers"])
    assert ms_of(pruned, model) <= table_of(model).dense_ms / 6
    assert "selection_accuracy" in run.facts["metrics"]


def test_checkpoints_of_two_cuts_are_apart(toy: Task, tmp_path: Path) -> None:
    run = StepContext(device="cpu", folder=tmp_path / "checkpoint", checkpoint_seconds=0.0)
    arguments: dict[str, Any] = {"speedup": 4.0, "schedule": [1.5, 2.0], "trials": 2, "batch_size": 8}
    first = _prune(tiny_bert(layers=3), task=toy, run=run, **arguments)
    assert sorted(path.name for path in (tmp_path / "checkpoint").iterdir()) == ["cut-1", "cut-2"]
    again = _prune(tiny_bert(layers=3), task=toy, run=run, **arguments)
    assert not differences(state_of(first), state_of(again))


def test_a_teacher_of_another_depth_teaches_too(toy: Task) -> None:
    arguments: dict[str, Any] = {"speedup": 3.0, "schedule": [1.5], "trials": 2, "batch_size": 8}
    pruned = _prune(tiny_bert(layers=3), task=toy, teacher=tiny_bert(layers=5, seed=8), **arguments)
    alone = _prune(tiny_bert(layers=3), task=toy, **arguments)
    assert differences(state_of(pruned), state_of(alone))


def test_the_log_says_what_can_be_reached_and_what_pays(toy: Task, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="compress")
    _prune(tiny_bert(layers=3), task=toy, speedup=2.0, trials=1)
    assert "today, of which 1 ms cannot be pruned; with one head in one layer it would take 1.05 ms" in caplog.text
    assert "half the heads and neurons make a layer 4" in caplog.text
    assert "times faster was asked" in caplog.text


def test_narrow_layers_that_do_not_pay_are_told_of(
    toy: Task, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flat(model: PreTrainedModel, *_: Any, **__: Any) -> BlockTimes:
        heads, neurons = ((0, 0.1), (1, 0.95), (4, 1.0)), ((0, 0.1), (1, 0.95), (24, 1.0))
        return BlockTimes(0.5, 6.5, heads, neurons, heads, neurons)

    monkeypatch.setattr("compress.pruning.deployed.block_times", flat)
    pruned = _prune(tiny_bert(layers=3), task=toy, speedup=1.4, trials=8)
    assert "make a layer only" in caplog.text
    assert "narrower layers do not pay" in caplog.text
    assert sum(not size for shape in shapes_of(pruned) for size in shape) + 2 * (3 - len(shapes_of(pruned))) >= 2


def _refused(model: PreTrainedModel, toy: Task, said: str, **arguments: Any) -> None:
    with pytest.raises(InputError, match=said) as caught:
        _prune(forbid_forward_passes(model), task=toy, **arguments)
    assert caught.value.exit_code == 2


def test_a_speedup_that_cannot_be_reached_is_refused_with_what_can_be(toy: Task) -> None:
    model = tiny_bert(layers=3)
    today = table_of(model).dense_ms
    _refused(
        model,
        toy,
        rf"speedup is 50, which is {today / 50:.3g} ms.* at least 1\.05 ms.* {today / 1.05:.3g} times less",
        speedup=50.0,
    )
    _refused(model, toy, r"p50_ms is 1\.04, but onnxruntime-cpu at batch 1, length 9, 1 thread", p50_ms=1.04, length=9)


def test_a_time_that_is_kept_already_is_refused(toy: Task) -> None:
    model = tiny_bert(layers=3)
    _refused(model, toy, r"p50_ms is 99, but the model takes .* ms already", p50_ms=99.0)
    _refused(model, toy, r"p50_ms is", p50_ms=table_of(model).dense_ms)
    teacher = tiny_bert(layers=3)
    half = _prune(teacher, task=toy, speedup=2.0, trials=2)
    _refused(half, toy, r"speedup is 1\.5, which is .* ms already", speedup=1.5, teacher=teacher, against="teacher")


def test_a_family_of_models_is_pruned_one_after_the_other(toy: Task) -> None:
    """Each to a speed that counts against the first."""
    first = tiny_bert(layers=4)
    dense_ms = table_of(first).dense_ms
    second = _prune(first, task=toy, speedup=2.0, trials=3)
    run = StepContext(device="cpu")
    third = _prune(
        second, task=toy, speedup=4.0, schedule=[3.0], trials=3, batch_size=8, teacher=first, against="teacher", run=run
    )
    assert dense_ms / 5 < ms_of(third, first) <= 1.001 * dense_ms / 4
    facts = run.facts["latency"]
    assert facts["speedup"]["asked"] == 4.0
    assert facts["dense_ms"] == pytest.approx(dense_ms, abs=1e-3)
    assert facts["measured_ms"]["dense"] == pytest.approx(dense_ms, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "speedup is missing, and so is p50_ms; give one"),
        ({"speedup": 2.0, "p50_ms": 1.0}, "speedup and p50_ms are both given; give one"),
        ({"speedup": 1.0}, r"prune_to_latency\.speedup"),
        ({"speedup": 0.5}, r"prune_to_latency\.speedup"),
        ({"speedup": float("inf")}, r"prune_to_latency\.speedup"),
        ({"p50_ms": 0.0}, r"prune_to_latency\.p50_ms"),
        ({"speedup": 2.0, "target": "tensorrt-int8"}, r"prune_to_latency\.target"),
        ({"speedup": 2.0, "target": "onnxruntime"}, r"prune_to_latency\.target"),
        ({"speedup": 2.0, "batch": 0}, r"prune_to_latency\.batch"),
        ({"speedup": 2.0, "length": 25}, "length is 25, but the model reads at most 24 tokens"),
        ({"speedup": 2.0, "threads": 0}, r"prune_to_latency\.threads"),
        ({"speedup": 2.0, "examples": 15}, r"prune_to_latency\.examples"),
        ({"speedup": 2.0, "trials": 0}, r"prune_to_latency\.trials"),
        ({"speedup": 2.0, "epochs": 0}, r"prune_to_latency\.epochs"),
        ({"speedup": 4.0, "schedule": []}, r"prune_to_latency\.schedule"),
        ({"speedup": 4.0, "schedule": [1.0]}, r"prune_to_latency\.schedule"),
        ({"speedup": 4.0, "schedule": [3.0, 2.0]}, r"schedule is \[3\.0, 2\.0\]; speed-ups rise, the last below speedup"),
        ({"speedup": 4.0, "schedule": [2.0, 4.0]}, "the last below speedup, which is 4"),
        ({"p50_ms": 2.0, "schedule": [3.0, 3.0]}, "speed-ups rise: correct the list"),
        ({"p50_ms": 4.0, "schedule": [2.0, 3.0]}, "names 3, but the model is 1 times as fast already, and p50_ms is 4"),
        ({"speedup": 2.0, "against": "teacher"}, "against is teacher, but there is none"),
        ({"speedup": 2.0, "teacher": tiny_bert(hidden_size=32)}, "teacher has another width"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_forward_pass(toy: Task, arguments: dict[str, Any], said: str) -> None:
    _refused(tiny_bert(layers=3), toy, said, **arguments)


def test_a_runtime_that_is_missing_is_named(toy: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.runtimes.runtime.importlib.util.find_spec", lambda name: None)
    _refused(tiny_bert(), toy, r"pip install 'bert-compress\[openvino\]'", speedup=2.0, target="openvino-cpu")


def test_models_that_cannot_be_pruned_are_refused(toy: Task) -> None:
    _refused(tiny_of("albert"), toy, "a albert cannot be timed part by part; allowed: bert, distilbert", speedup=2.0)
    quantized = quantize_aware(tiny_bert(), task=toy, epochs=1, batch_size=8)
    _refused(quantized, toy, "prune it before quantize_aware", speedup=2.0)


def test_without_calibration_data_it_is_refused() -> None:
    _refused(
        tiny_bert(), toy_task(others=15), "calibration part has 15 examples; prune_to_latency needs at least 16", speedup=2.0
    )


def test_a_teacher_with_other_words_is_refused(toy: Task) -> None:
    teacher = tiny_bert()
    teacher.tokenizer = tiny_tokenizer(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "film"))
    _refused(tiny_bert(), toy, "another width, tokenizer or other labels", speedup=2.0, teacher=teacher)


def test_every_mistake_in_the_times_is_told() -> None:
    assert wrong_times(4.0, None, [2.0], "model", None) == []
    assert wrong_times(None, 1.0, None, "teacher", "first") == []
    assert len(wrong_times(None, None, [3.0, 2.0], "teacher", None)) == 3


def test_a_trial_of_a_tiny_model_takes_the_middle_of_what_can_be_reached(toy: Task) -> None:
    run = StepContext(device="cpu", max_steps=2, tiny=True)
    model = tiny_bert(layers=3)
    pruned = _prune(model, task=toy, speedup=80.0, schedule=[20.0], batch_size=8, trials=2, run=run)
    middle = (table_of(model).dense_ms + module.fastest_ms(table_of(model))) / 2
    assert ms_of(pruned, model) <= middle
    assert len(run.facts["latency"]["cuts"]) == 2


@pytest.mark.matrix
@pytest.mark.slow
def test_a_tiny_model_is_really_timed(toy: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asserted about times, which a busy machine may make into anything."""
    monkeypatch.undo()
    run = StepContext(device="cpu", max_steps=2, tiny=True, answers=tmp_path)
    pruned = _prune(tiny_bert(), task=toy, speedup=1.5, trials=2, run=run)
    assert shapes_of(pruned) != [(4, 24)] * 2
    facts = run.facts["latency"]
    assert {"dense_ms", "base_ms", "fastest_ms", "cuts", "speedup", "measured_ms"} <= facts.keys()
    assert len(list((tmp_path / "times").glob("*.json"))) == 1
    assert str(Setting("onnxruntime-cpu", length=8)) == "onnxruntime-cpu at batch 1, length 8, 1 thread"
