"""Parts in every size, and models that are put together of them."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from transformers import PreTrainedModel

from compress.benchmark.block_times import shapes_of
from compress.pruning.stitching import neuron_counts, parts_of, stitched
from tests.tiny_models import differences, logits_of, state_of, tiny_bert, tiny_of, tokens


def _silent(*_: object, **__: object) -> None:
    pass


@pytest.mark.parametrize(
    ("neurons", "first", "count"), [(3072, [0, 32, 48], 39), (24, [0, 1, 2], 18), (1, [0, 1], 2), (0, [0], 1)]
)
def test_neurons_fall_by_a_tenth_each_time_down_to_none(neurons: int, first: list[int], count: int) -> None:
    counts = neuron_counts(neurons)
    assert counts[: len(first)] == first
    assert counts[-1] == neurons
    assert abs(len(counts) - count) <= 3
    assert all(later <= 2 * earlier for earlier, later in pairwise(counts[1:]))


def test_wide_layers_keep_multiples_of_sixteen() -> None:
    assert all(count % 16 == 0 for count in neuron_counts(1536))


@pytest.mark.parametrize("kind", ["bert", "distilbert"])
def test_with_everything_kept_nothing_changes(kind: str) -> None:
    model = tiny_of(kind)
    before = state_of(model)
    batch = tokens()
    if kind == "distilbert":
        del batch["token_type_ids"]
    parts = parts_of(model, [batch], _silent)
    again = stitched(model, parts, shapes_of(model))
    assert not differences(state_of(again), before)
    assert not differences(state_of(model), before)
    assert [sorted(layer.heads) for layer in parts] == [[0, 1, 2, 3, 4]] * 2


def test_a_structure_is_what_it_says_and_a_layer_with_neither_is_gone() -> None:
    model = tiny_bert(layers=4)
    parts = parts_of(model, [tokens(lengths=(9, 24, 7)), tokens(seed=6)], _silent)
    pruned = stitched(model, parts, [(0, 24), (3, 0), (0, 0), (1, 2)])
    assert shapes_of(pruned) == [(0, 24), (3, 0), (1, 2)]
    assert torch.isfinite(logits_of(pruned)).all()


def test_neurons_that_the_others_can_stand_in_for_go_and_the_answers_stay() -> None:
    """Every neuron of the first layer stands there twice, so that half of them are enough."""
    model = tiny_bert()
    layer = model.bert.encoder.layer[0]
    with torch.no_grad():
        layer.intermediate.dense.weight[12:] = layer.intermediate.dense.weight[:12]
        layer.intermediate.dense.bias[12:] = layer.intermediate.dense.bias[:12]
    batches = [tokens(seed=seed, lengths=(20, 20, 15, 9)) for seed in range(4)]
    parts = parts_of(model, batches, _silent)
    count = max(number for number in parts[0].neurons if number <= 13)
    assert count >= 12
    pruned = stitched(model, parts, [(4, count), (4, 24)])
    torch.testing.assert_close(logits_of(pruned), logits_of(model), atol=1e-2, rtol=0)
    assert parts[0].neurons[count].error < 1e-4 < parts[1].neurons[count].error


def test_padding_is_not_looked_at() -> None:
    model = tiny_bert()
    short = tokens(lengths=(5, 5))
    padded = {name: torch.nn.functional.pad(values, (0, 7)) for name, values in short.items()}
    padded["input_ids"][:, 5:] = 9
    parts, padded_parts = (parts_of(model, [batch], _silent) for batch in (short, padded))
    for first, second in zip(parts, padded_parts, strict=True):
        for count in (1, 3):
            assert first.heads[count].error == pytest.approx(second.heads[count].error, abs=1e-5)


def test_a_pruned_model_can_be_pruned_further() -> None:
    model = tiny_bert(layers=3)
    once: PreTrainedModel = stitched(model, parts_of(model, [tokens()], _silent), [(0, 24), (4, 0), (2, 8)])
    parts = parts_of(once, [tokens()], _silent)
    assert parts[0].losses.heads == {0: 0.0}
    assert parts[1].losses.neurons == {0: 0.0}
    assert shapes_of(stitched(once, parts, [(0, 0), (1, 0), (1, 0)])) == [(1, 0), (1, 0)]
