"""Students that learn from their teacher's states: narrower ones, in turns, and with answers kept on disk."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel

from compress.errors import InputError
from compress.methods.distill import distill
from compress.tasks.labelled import Task
from compress.training.step_context import StepContext
from tests.methods.ranges import forbid_forward_passes
from tests.tiny_models import PIECES, differences, state_of, tiny_bert, tiny_tokenizer, toy_task, without_dropout

QUICK: dict[str, Any] = {"epochs": 1, "batch_size": 8}
MIX = dict.fromkeys(("hidden", "embedding", "attention_scores", "first_token", "relations", "logits", "labels"), 1.0)


def test_any_mix_teaches_a_narrower_student_and_the_result_keeps_no_projection(model: PreTrainedModel, toy: Task) -> None:
    student = tiny_bert(layers=2, hidden_size=8, intermediate_size=12)
    learned = distill(student, teacher=model, task=toy, objectives=MIX, **QUICK)
    assert state_of(learned).keys() == state_of(student).keys()
    assert differences(state_of(learned), state_of(student))


@pytest.mark.parametrize("objectives", [{"hidden": 1.0}, {"relations": 1.0, "embedding": 1.0}, {"attention": 1.0}])
def test_a_student_comes_nearer_to_the_states_that_it_learns_from(objectives: dict[str, float]) -> None:
    task = toy_task(train=64)
    teacher, student = tiny_bert(layers=2), tiny_bert(seed=9, layers=2, **without_dropout())
    run = StepContext()
    distill(student, teacher=teacher, task=task, objectives=objectives, epochs=8, batch_size=8, learning_rate=1e-2, run=run)
    losses = [epoch["loss"] for epoch in run.facts["epochs"]]
    assert losses[-1] < 0.6 * losses[0]
    assert run.facts["best_epoch"] == 8


@pytest.mark.parametrize(("last_tokens", "computed"), [("all", 0), ("first", 2)])
def test_the_last_layer_can_be_compared_at_its_first_token_alone(
    model: PreTrainedModel, toy: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last_tokens: Any, computed: int
) -> None:
    """Then neither the student nor the teacher computes its other tokens, but one has the loss of a teacher as it is."""
    cut: list[PreTrainedModel] = []
    for place in ("compress.training.loop", "compress.training.answers"):
        used = importlib.import_module(place).first_token_only
        monkeypatch.setattr(f"{place}.first_token_only", lambda network, used=used: (cut.append(network), used(network))[1])
    student = tiny_bert(seed=9, **without_dropout())
    run = StepContext(answers=tmp_path, max_steps=1)
    wanted = {"hidden": 1.0, "cosine": 1.0, "feature_map": 1.0, "feature_statistics": 1.0, "embedding": 1.0}
    distill(student, teacher=model, task=toy, objectives=wanted, last_tokens=last_tokens, **QUICK, run=run)
    assert len({id(network) for network in cut}) == computed
    kept = {path.name for path in tmp_path.glob("*/*") if path.suffix == ""} - {"lock"}
    assert kept == {"logits", "hidden_0", "hidden_1", "hidden_2" if last_tokens == "all" else "first_2"}


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_first_tokens(toy: Task) -> None:
    teacher, run = tiny_bert(**without_dropout()), StepContext(max_steps=1)
    distill(teacher, teacher=teacher, task=toy, objectives={"hidden": 1.0}, last_tokens="first", **QUICK, run=run)
    assert run.facts["epochs"][0]["loss"] < 1e-3  # in bfloat16


def test_answers_from_disk_teach_as_live_ones_do(model: PreTrainedModel, toy: Task, tmp_path: Path, exact: None) -> None:
    student, objectives = tiny_bert(seed=9, **without_dropout()), {"hidden": 1.0, "attention_scores": 0.1, "logits": 1.0}
    live, first, again = (
        distill(student, teacher=model, task=toy, objectives=objectives, **QUICK, run=StepContext(answers=answers))
        for answers in (None, tmp_path, tmp_path)
    )
    assert not differences(state_of(first), state_of(again))
    apart = [(state_of(live)[name] - tensor).abs().max().item() for name, tensor in state_of(first).items()]
    assert max(apart) < 2e-3  # float16 against float32, over five steps of AdamW


def test_lower_layers_stay_while_a_higher_one_learns(
    model: PreTrainedModel, toy: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten steps, five for each layer; the embeddings learn with the first."""
    learning = []

    def watched(student: PreTrainedModel, **options: Any) -> PreTrainedModel:
        for step in range(10):
            options["before_step"](student, step, 10)
            layers = student.bert.encoder.layer
            parts = (student.bert.embeddings, *layers)
            learning.append([all(parameter.requires_grad for parameter in part.parameters()) for part in parts])
        return student

    monkeypatch.setattr("compress.methods.distill.trained", watched)
    distill(tiny_bert(seed=9), teacher=model, task=toy, objectives={"feature_map": 1.0}, progressive=True)
    assert learning == [[True, True, True]] * 5 + [[False, False, True]] * 5


def test_layers_learn_in_turns_and_the_head_not_at_all(model: PreTrainedModel, toy: Task) -> None:
    student = tiny_bert(seed=9, **without_dropout())
    objectives = {"feature_map": 100.0, "feature_statistics": 5.0, "attention": 1.0, "embedding": 1.0}
    learned = distill(student, teacher=model, task=toy, objectives=objectives, progressive=True, **QUICK)
    assert all(parameter.requires_grad for parameter in learned.parameters())
    moved = differences(state_of(student), state_of(learned))
    assert {name.split(".layer.")[1][0] for name in moved if ".layer." in name} == {"0", "1"}
    assert not any(name.startswith(("classifier", "bert.pooler")) for name in moved)


def test_patience_needs_a_metric_to_watch(model: PreTrainedModel, toy: Task) -> None:
    student = forbid_forward_passes(tiny_bert(seed=9))
    with pytest.raises(InputError, match=r"distill\.patience is 1, but these objectives do not teach the logits"):
        distill(student, teacher=model, task=toy, objectives={"hidden": 1.0}, patience=1, **QUICK)


# -- other texts


def test_copies_with_other_words_are_learned_from_too(model: PreTrainedModel, toy: Task) -> None:
    run, plain = StepContext(), StepContext()
    options = {"teacher": tiny_bert(seed=8), "task": toy, "objectives": {"logits": 1.0}, **QUICK}
    distill(model, **options, augment={"copies": 3, "probability": 1.0, "candidates": 3}, run=run)
    distill(model, **options, run=plain)
    assert run.facts["examples"] > 2 * plain.facts["examples"] == 80


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        ({"copies": 0}, r"augment\.copies"),
        ({"kind": "tiny"}, r"augment\.kind"),
        ({"copy": 3}, r"augment\.copy"),
        ({"mask": 0.1}, r"augment\.mask is 0\.1, which is for kind masking"),
    ],
)
def test_rules_of_copies_that_cannot_be_are_refused(
    model: PreTrainedModel, toy: Task, augment: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        distill(forbid_forward_passes(model), teacher=model, task=toy, objectives={"logits": 1.0}, augment=augment)


def test_texts_without_labels_can_be_learned_from_before_the_task(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    file, run = tmp_path / "texts.txt", StepContext()
    file.write_text("\n".join(f"the {word} film was good" for word in ("very", "fine", "dull", "plot")), encoding="utf-8")
    student = tiny_bert(seed=9)
    learned = distill(
        student, teacher=model, task=toy, objectives={"hidden": 1.0, "attention": 1.0}, text=str(file), run=run, **QUICK
    )
    assert run.facts["examples"] == 4
    assert differences(state_of(learned), state_of(student))


def test_labels_that_texts_do_not_have_are_refused(model: PreTrainedModel, toy: Task, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"names 'labels', but distill\.text has none"):
        distill(forbid_forward_passes(model), teacher=model, task=toy, objectives={"labels": 1.0}, text="x.txt")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A pre-trained model with its head for masked words, as wide as the teacher."""
    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=24,
        max_position_embeddings=24,
        initializer_range=0.25,
    )
    torch.manual_seed(1)
    BertForMaskedLM(config).save_pretrained(tmp_path / "checkpoint")
    tiny_tokenizer().save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.mark.parametrize("width", [16, 8])
def test_hidden_words_teach_a_student_of_any_width(model: PreTrainedModel, toy: Task, checkpoint: Path, width: int) -> None:
    student = tiny_bert(seed=9, hidden_size=width, intermediate_size=24, **without_dropout())
    objectives, run = {"masked_words": 1.0, "masked_logits": 1.0}, StepContext()
    options = {"task": toy, "objectives": objectives, "masked_lm": str(checkpoint), "epochs": 6, "batch_size": 8}
    learned = distill(student, teacher=model, learning_rate=1e-2, mlm_probability=0.3, run=run, **options)
    losses = [epoch["loss"] for epoch in run.facts["epochs"]]
    assert losses[-1] < 0.95 * losses[0]
    assert state_of(learned).keys() == state_of(student).keys()


def test_hidden_words_need_the_checkpoint_that_tells_them(model: PreTrainedModel, toy: Task, checkpoint: Path) -> None:
    with pytest.raises(InputError, match=r"'masked_words', which needs a head for masked words; give masked_lm"):
        distill(forbid_forward_passes(model), teacher=model, task=toy, objectives={"masked_words": 1.0})
    wide = tiny_bert(hidden_size=32)
    with pytest.raises(InputError, match=r"whose pieces or width \(16\) are not the teacher's \(32\)"):
        distill(wide, teacher=wide, task=toy, objectives={"masked_words": 1.0}, masked_lm=str(checkpoint))
