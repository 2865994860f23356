"""What an argument brings into a result's key is read off its annotation."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypedDict

import pytest
from pydantic import Field

from compress.dependencies import Checkpoint, DependsOn, InputFile, dependencies
from compress.methods import METHODS
from compress.recipe.signatures import load_function, recipe_parameters


class _Options(TypedDict, total=False):
    copies: int
    masked_lm: Annotated[Checkpoint | None, Field(description="offers words")]


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (InputFile, "a.txt", [("file", "a.txt")]),
        (Annotated[InputFile | None, Field(description="texts")], "a.txt", [("file", "a.txt")]),
        (Annotated[InputFile | None, Field(description="texts")], None, []),
        (list[Checkpoint], ["a", "b"], [("checkpoint", "a"), ("checkpoint", "b")]),
        (_Options | None, {"copies": 2, "masked_lm": "bert"}, [("checkpoint", "bert")]),
        (_Options | None, {"copies": 2}, []),
        (
            Annotated[Literal["weights", "measured"], DependsOn("machine", when=("measured",))],
            "measured",
            [("machine", "measured")],
        ),
        (Annotated[Literal["weights", "measured"], DependsOn("machine", when=("measured",))], "weights", []),
        (float | None, 2.0, []),
        (dict[str, float], {"logits": 1.0}, []),
    ],
)
def test_a_value_brings_in_what_its_annotation_says(annotation: Any, value: Any, expected: list[tuple[str, Any]]) -> None:
    assert list(dependencies(annotation, value)) == expected


def test_every_argument_of_a_method_that_names_a_file_or_a_checkpoint_says_so() -> None:
    arguments = {
        (method, name, what)
        for method in METHODS
        for name, parameter in recipe_parameters(load_function(METHODS, method)).items()
        for what, _ in dependencies(parameter.annotation, {"masked_lm": "x"} if name == "augment" else "measured")
    }
    assert {argument for argument in arguments if argument[2] in ("file", "checkpoint")} == {
        ("trim_vocabulary", "text", "file"),
        ("distill", "text", "file"),
        ("quantize_aware", "text", "file"),
        ("distill", "masked_lm", "checkpoint"),
        ("distill", "nli", "checkpoint"),
        ("distill", "augment", "checkpoint"),
        ("load_student", "checkpoint", "checkpoint"),
        ("build_student", "vectors", "file"),
        ("spell_words", "font", "file"),
    }
    assert {argument[:2] for argument in arguments if argument[2] == "machine"} == {
        ("prune_after_training", "speedup"),
        ("prune_to_latency", "speedup"),
        ("prune_to_latency", "p50_ms"),
        ("low_rank", "break_even"),
    }
