from __future__ import annotations

import pytest

from compress.models.layout import distinct_layers, head_count, neuron_count
from compress.pruning.guesses import cut_to, left_unevenly, with_fewer
from compress.training.step_context import Guess
from tests.tiny_models import differences, state_of, tiny_bert


@pytest.mark.parametrize(
    ("gone", "most_from", "options", "left"),
    [
        (6, 0, {}, [1, 2, 3, 4]),  # 3, 2, 1 and 0 go
        (6, 2, {}, [3, 4, 1, 2]),
        (1, 3, {}, [4, 4, 4, 3]),
        (12, 1, {}, [1, 1, 1, 1]),  # no layer is emptied where that can be
        (14, 0, {}, [0, 0, 0, 2]),
        (16, 0, {}, [0, 0, 0, 0]),
        (4, 0, {"at_least": 3}, [3, 3, 3, 3]),
        (0, 0, {}, [4, 4, 4, 4]),
    ],
)
def test_so_many_go_more_from_some_layers_than_from_others(
    gone: int, most_from: int, options: dict[str, int], left: list[int]
) -> None:
    assert left_unevenly([4, 4, 4, 4], gone, most_from, **options) == left


def test_what_is_left_is_a_multiple_or_all() -> None:
    assert left_unevenly([24, 24, 10], 20, 0, multiple_of=8) == [8, 16, 10]


def test_one_layer_loses_all_of_it() -> None:
    assert left_unevenly([8], 3, 0) == [5]
    assert left_unevenly([0, 8], 8, 0) == [0, 0]


def test_the_first_heads_and_neurons_stay() -> None:
    model = tiny_bert(layers=2)
    before = state_of(model)
    cut = with_fewer(model, 0.25, 0.5, 0, multiple_of=4)
    assert [head_count(layer) for layer in distinct_layers(cut)] == [2, 4]
    assert [neuron_count(layer) for layer in distinct_layers(cut)] == [4, 20]
    assert not differences(before, state_of(model))
    kept, own = (network.bert.encoder.layer[0].attention.self.query.weight for network in (cut, model))
    assert kept.equal(own[: len(kept)])
    assert not differences(before, state_of(cut_to(model)))


def test_a_guess_notes_the_most_choices_that_it_was_asked_for() -> None:
    guess = Guess(3)
    assert [guess.among(4), guess.among(2), guess.among(1)] == [3, 1, 0]
    assert guess.choices == 4
