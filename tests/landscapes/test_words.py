"""What is said of a landscape."""

from __future__ import annotations

from typing import Any

import pytest

from compress.landscapes.words import answer, around_words, between_words, number, order_words


def entry(name: str, rises: list[float], traces: list[float] | None = None, **more: Any) -> dict[str, Any]:
    """A model of landscape.json; errors are not what is tested."""
    estimates = [
        None if samples is None else {"mean": sum(samples) / len(samples), "standard_error": 0.1, "samples": samples}
        for samples in (rises, traces)
    ]
    assert estimates[0] is not None
    return {
        "name": name,
        "loss": 0.5,
        "quantizes": traces is None,
        "rise": {"radius": 0.25, **estimates[0]},
        "trace": estimates[1],
        **more,
    }


def way(losses: list[float], barrier: float, hill: float) -> dict[str, Any]:
    """A line of landscape.json."""
    return {
        "from": "a",
        "to": "b",
        "alphas": [0.0, 0.5, 1.0],
        "losses": losses,
        "barrier": barrier,
        "barrier_at": 0.5,
        "hill": hill,
    }


MODELS = {"a": entry("a", [1.0], [1.0]), "b": entry("b", [1.0], [1.0])}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (way([0.7, 0.4, 0.2], 0.0, 0.0), "the loss falls from 0.7 to 0.2, with no barrier on the way."),
        (way([0.2, 0.452, 0.7], 0.002, 0.0), "the loss rises from 0.2 to 0.7, with no barrier on the way."),
        (
            way([0.7, 0.9, 0.2], 0.45, 0.2),
            "over a barrier: it rises 0.2 above the higher end, and 0.45 above the straight line between the two, 50% of",
        ),
        (way([0.7, 0.6, 0.2], 0.15, 0.0), "not above the higher end, but 0.15 above the straight line between the two"),
    ],
)
def test_a_line_tells_its_ends_and_its_barrier(line: dict[str, Any], said: str) -> None:
    assert said in between_words(line, MODELS)


def test_a_line_to_a_model_that_quantizes_tells_which_weights_it_leads_to() -> None:
    words = between_words(way([0.2, 0.2, 0.21], 0.0, 0.0), {**MODELS, "b": entry("b", [1.0])})
    assert words.endswith("; b with the weights that the integers tell, and activations in float.")


def test_a_model_tells_how_wide_it_stands() -> None:
    words = around_words(entry("tuned", [0.1, 0.3], [10.0, 20.0]))
    assert "a random step of 25% of each filter's length raises the loss by 0.2 \u00b1 0.1 (2 directions)" in words
    assert words.endswith("the trace of the Hessian is 15 \u00b1 0.1 (2 probes).")
    assert around_words(entry("start", [0.1], [-5.0])).endswith("below 0, so that it stands in no valley.")
    assert around_words(entry("int8", [0.1])).endswith("no second derivatives, so that it has no trace.")


def test_large_numbers_have_no_power_of_ten() -> None:
    assert [number(value) for value in (12345.0, 0.12345, -8.6149e-05)] == ["12300", "0.123", "-8.61e-05"]
    assert number(187.0, 2) == "190"


def test_models_are_put_in_order_and_what_chance_explains_is_said() -> None:
    entries = [entry("sharp", [4.0, 4.1, 3.9]), entry("wide", [1.0, 1.1, 0.9]), entry("like it", [1.0, 1.2, 0.85])]
    said = order_words(entries, "rise")
    assert said.startswith(
        "By the rise at that radius, from wide to sharp: wide, like it, sharp; sharp is 3.9 times as sharp as"
    )
    assert said.endswith("not told apart by so many draws: wide and like it.")


def test_the_widest_that_has_learned_least_is_told_of() -> None:
    start, tuned = entry("start", [0.01, 0.02]), entry("tuned", [0.3, 0.4])
    assert order_words([{**start, "loss": 0.7}, {**tuned, "loss": 0.2}], "rise").endswith(
        "; the loss of start is the highest, and what has learned little has little to lose."
    )
    assert "learned little" not in order_words([{**start, "loss": 0.2}, {**tuned, "loss": 0.7}], "rise")
    assert "learned little" not in order_words([{**start, "loss": 0.21}, {**tuned, "loss": 0.2}], "rise")


def test_a_measure_that_one_model_alone_has_orders_nothing() -> None:
    assert order_words([entry("int8", [1.0, 1.1]), entry("dense", [1.0, 1.1], [3.0, 3.1])], "trace") == ""


def test_below_zero_nothing_is_so_many_times_as_sharp() -> None:
    said = order_words([entry("a", [1.0], [-1.0, -1.1]), entry("b", [1.0], [3.0, 3.1])], "trace")
    assert said == "By the trace, from wide to sharp: a, b; b is sharper than a."


def test_the_answer_tells_what_is_apart_and_what_a_plane_holds() -> None:
    record = {
        "models": list(MODELS.values()),
        "lines": [],
        "apart": [{"from": "a", "to": "b", "why": "they are built otherwise (ranks)"}],
        "sample": {"examples": 8, "part": "train"},
        "plane": {"explained": [0.7, 0.2]},
    }
    said = answer(record)
    assert said[0] == "a has a loss of 0.5 on 8 examples of the train part."
    assert "No line from a to b: they are built otherwise (ranks)." in said
    assert said[-1] == "The plane holds 90% of what the models differ by (squared)."
