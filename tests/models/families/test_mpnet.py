"""MPNet answers as in transformers, by their kernels, and its heads keep their bias of positions when others are cut."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel

import compress as cp
from compress.errors import InputError
from compress.models.attention.kernel import attention_kernel
from compress.models.families import longest_text
from compress.models.families.family import HEAD_TABLE
from compress.models.layout import attention_of, encoder_layers
from compress.models.surgery import keep_heads
from compress.training.step_context import StepContext
from tests.models.checkpoint.changing import set_json
from tests.tiny_models import LONGEST, in_transformers, logits_of, tiny_of, tokens, toy_task

CPU = StepContext(device="cpu")
LENGTHS = [(9, 4, 1, 7), (6, 6), (1,), (LONGEST,)]


@pytest.fixture
def model() -> PreTrainedModel:
    return tiny_of("mpnet")


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_it_answers_as_in_transformers(model: PreTrainedModel, kernel: str, lengths: tuple[int, ...]) -> None:
    batch = tokens(lengths=lengths)
    with attention_kernel(model, kernel):
        torch.testing.assert_close(logits_of(model, **batch), logits_of(in_transformers(model), **batch))


def test_its_states_are_given_where_they_are_asked_for(model: PreTrainedModel) -> None:
    batch = {name: values for name, values in tokens().items() if name != "token_type_ids"}
    with torch.no_grad():
        own = model(**batch, output_hidden_states=True).hidden_states
        other = in_transformers(model)(**batch, output_hidden_states=True).hidden_states
    assert len(own) == 3
    for state, wanted in zip(own, other, strict=True):
        torch.testing.assert_close(state, wanted)


def test_a_saved_model_is_read_by_transformers(model: PreTrainedModel, tmp_path: Path) -> None:
    folder = cp.save(model, tmp_path / "saved")
    read = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    torch.testing.assert_close(logits_of(read), logits_of(model))
    assert torch.equal(logits_of(cp.load(folder)), logits_of(model))


def test_positions_begin_at_2(model: PreTrainedModel) -> None:
    assert longest_text(model.config) == LONGEST == model.config.max_position_embeddings - 2


@torch.no_grad()
def silenced(model: PreTrainedModel, keep: list[list[int]]) -> PreTrainedModel:
    """The same model, in which what other heads answer is read with weight 0."""
    silent = keep_heads(model, [[0, 1, 2, 3]] * 2)
    for layer, heads in zip(encoder_layers(silent), keep, strict=True):
        for head in set(range(4)) - set(heads):
            attention_of(layer).o.weight[:, 4 * head : 4 * head + 4] = 0
    return silent


@pytest.mark.parametrize("keep", [[[1, 3], [0, 1, 2, 3]], [[2], [0, 3]], [[], [1]], [[3], []]])
def test_heads_that_stay_keep_their_columns(model: PreTrainedModel, keep: list[list[int]], tmp_path: Path) -> None:
    cut = keep_heads(model, keep)
    torch.testing.assert_close(logits_of(cut), logits_of(silenced(model, keep)))
    own = [hasattr(attention_of(layer), HEAD_TABLE) for layer in encoder_layers(cut)]
    assert own == [0 < len(heads) < 4 for heads in keep]
    loaded = cp.load(cp.save(cut, tmp_path / "cut"))
    assert torch.equal(logits_of(loaded), logits_of(cut))


def test_heads_are_cut_again(model: PreTrainedModel, tmp_path: Path) -> None:
    twice = keep_heads(keep_heads(model, [[1, 2, 3], [0, 2, 3]]), [[0, 2], [1, 2]])
    assert torch.equal(logits_of(twice), logits_of(keep_heads(model, [[1, 3], [2, 3]])))
    none = keep_heads(twice, [[], [0, 1]])
    torch.testing.assert_close(logits_of(none), logits_of(keep_heads(model, [[], [2, 3]])))
    assert torch.equal(logits_of(cp.load(cp.save(none, tmp_path / "cut"))), logits_of(none))


def test_it_is_refused_where_scores_are_asked_for_or_far_attention(model: PreTrainedModel) -> None:
    with pytest.raises(InputError, match="an mpnet adds a bias of positions to all scores"):
        cp.swap_attention(model, kind="longformer", window=8, task=toy_task(), run=CPU)
    with pytest.raises(InputError, match="scores of a mpnet depend on positions"):
        cp.distill(model, teacher=tiny_of("mpnet", seed=8), task=toy_task(), objectives={"attention_scores": 1.0}, run=CPU)


@pytest.mark.parametrize(("key", "value"), [("relative_attention_num_buckets", 16), ("max_position_embeddings", 2)])
def test_a_configuration_that_it_would_not_follow_is_refused(
    model: PreTrainedModel, key: str, value: int, tmp_path: Path
) -> None:
    folder = cp.save(model, tmp_path / "saved")
    set_json(folder / "config.json", **{key: value})
    with pytest.raises(InputError, match=key):
        cp.load(folder)
