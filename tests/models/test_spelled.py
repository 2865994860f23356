"""A network in the place of the word table answers by how pieces are spelled, and its rows are a table in every file."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from compress.errors import InputError
from compress.models.spelled import (
    SpelledEmbedding,
    letters_of,
    set_spelled,
    spelled_of,
    spelling_folded,
)
from compress.models.structure import apply_structure, read_structure
from tests.tiny_models import PIECES, logits_of, tiny_bert

LETTERS: dict[str, Any] = {"by": "letters", "longest": 6, "filters": [[1, 3], [2, 4]], "highways": 1}
GLYPHS: dict[str, Any] = {"by": "glyphs", "longest": 2, "pictures": 3, "size": 12, "channels": 8}


def network(sizes: dict[str, Any], pieces: int = 5, width: int = 7) -> SpelledEmbedding:
    """A random one whose buffers hold something."""
    torch.manual_seed(4)
    spelled = SpelledEmbedding(pieces, width, sizes)
    spellings = spelled.network.spellings
    if sizes["by"] == "letters":
        spellings.copy_(torch.randint(1, 256, spellings.shape))
    else:
        spellings.copy_(torch.tensor([[0, 1, 0], [1, 1, 0], [0, 1, 2], [0, 2, 3], [0, 0, 0]]))
        spelled.network.pictures[1:].uniform_()
    return spelled


def test_letters_are_bytes_between_marks_and_cut_where_they_are_too_many() -> None:
    rows = letters_of(["ab", "##é", "[PAD]", "abcdef"], frozenset({"[PAD]"}), "##", 6)
    assert rows == [
        [0xF8, 97, 98, 0xFA, 0, 0],
        [0xF9, 0xC3, 0xA9, 0xFA, 0, 0],
        [0xFB, *b"[PAD", 0xFA],
        [0xF8, *b"abcd", 0xFA],
    ]


def test_rows_of_letters_are_maxima_of_convolutions_behind_highways() -> None:
    """Worked out with plain products over each place."""
    spelled = network(LETTERS)
    own = spelled.network
    with torch.no_grad():
        codes = own.spellings[2].long()
        vectors = own.letters.weight[codes]  # (6, 16)
        maxima = []
        for convolution, reach in zip(own.convolutions, (1, 2), strict=True):
            windows = torch.stack([vectors[start : start + reach].T.flatten() for start in range(6 - reach + 1)])
            maxima.append(torch.relu(windows @ convolution.weight.flatten(1).T + convolution.bias).amax(0))
        values = torch.cat(maxima)
        both = own.highways[0].weight @ values + own.highways[0].bias
        gate = torch.sigmoid(both[7:])
        values = gate * torch.relu(both[:7]) + (1 - gate) * values
        expected = own.project.weight @ values + own.project.bias
        torch.testing.assert_close(spelled(torch.tensor([[2]]))[0, 0], expected, rtol=1e-5, atol=1e-6)


def test_a_piece_of_several_characters_is_the_mean_of_its_glyphs_and_one_inside_a_word_is_marked() -> None:
    spelled = network(GLYPHS)
    own, rows = spelled.network, spelled(torch.arange(5))
    outside, inside = own.inside.weight
    torch.testing.assert_close(rows[1] - rows[0], inside - outside)
    torch.testing.assert_close(rows[4], outside)  # no character has a picture
    single = SpelledEmbedding(3, 7, GLYPHS)
    single.load_state_dict(
        {name: tensor for name, tensor in spelled.state_dict().items() if "spellings" not in name}, strict=False
    )
    single.network.spellings.copy_(torch.tensor([[0, 1, 0], [0, 2, 0], [0, 3, 0]]))
    first, second, third = single(torch.arange(3)) - outside
    torch.testing.assert_close(rows[2] - outside, (first + second) / 2)
    torch.testing.assert_close(rows[3] - outside, (second + third) / 2)


@pytest.mark.parametrize("sizes", [LETTERS, GLYPHS])
def test_all_rows_are_those_of_single_ids(sizes: dict[str, Any]) -> None:
    spelled = network(sizes)
    ids = torch.tensor([[3, 3, 0], [1, 4, 3]])
    torch.testing.assert_close(spelled(ids), spelled.weight[ids])
    torch.testing.assert_close(spelled.as_table()(ids), spelled.weight[ids])
    assert spelled(ids).shape == (2, 3, 7)


@pytest.mark.parametrize("sizes", [LETTERS, GLYPHS])
def test_every_weight_learns(sizes: dict[str, Any]) -> None:
    spelled = network(sizes)
    spelled(torch.arange(5)).square().sum().backward()
    for name, parameter in spelled.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_the_rows_are_a_table_for_a_while_and_the_answers_stay() -> None:
    model = tiny_bert()
    spelled = set_spelled(model, LETTERS)
    spelled.network.spellings.copy_(torch.arange(len(PIECES) * 6).reshape(-1, 6) % 255)
    answers = logits_of(model)
    with spelling_folded(model):
        assert type(model.get_input_embeddings()) is nn.Embedding
        torch.testing.assert_close(logits_of(model), answers)
    assert spelled_of(model) is spelled
    plain = tiny_bert()
    with spelling_folded(plain):
        assert spelled_of(plain) is None


@pytest.mark.parametrize("sizes", [LETTERS, GLYPHS])
def test_structure_tells_the_sizes(sizes: dict[str, Any]) -> None:
    model, other = tiny_bert(), tiny_bert()
    set_spelled(model, sizes)
    assert read_structure(model)["spelling"] == sizes
    apply_structure(other, read_structure(model))
    assert {name: tensor.shape for name, tensor in other.state_dict().items()} == {
        name: tensor.shape for name, tensor in model.state_dict().items()
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"by": "sounds"},
        {"longest": 0},
        {"longest": 10**9},
        {"filters": []},
        {"filters": [[1]]},
        {"filters": [[1, -3]]},
        {"filters": [[1, 10**9]]},
        {"highways": -1},
        {"highways": "2"},
        {"by": "glyphs"},
    ],
)
def test_sizes_that_no_network_has_are_refused(changes: dict[str, Any]) -> None:
    structure = read_structure(tiny_bert()) | {"spelling": {**LETTERS, **changes}}
    with pytest.raises(InputError, match=r"structure\.json: spelling is .* which no network can have; restore the file"):
        apply_structure(tiny_bert(), structure, most=10_000)
