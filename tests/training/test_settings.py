"""How a method trains, from its own arguments and the knobs that it was given."""

from __future__ import annotations

import pytest

from compress.training.settings import Settings, settings_of


def test_a_knob_that_is_not_given_has_its_default() -> None:
    assert settings_of(3, 1e-4) == Settings(
        epochs=3,
        learning_rate=1e-4,
        batch_size=64,
        accumulate=1,
        schedule="linear",
        warmup=0.1,
        weight_decay=0.01,
        clip_norm=1.0,
        dropout=None,
        layer_decay=1.0,
        average=0.0,
        patience=None,
    )


def test_a_knob_that_is_given_counts() -> None:
    settings = settings_of(1, 2e-5, batch_size=8, schedule="cosine", patience=2)
    assert settings == Settings(1, 2e-5, 8, 1, "cosine", 0.1, 0.01, 1.0, None, 1.0, 0.0, 2)


def test_a_misspelled_knob_is_refused() -> None:
    with pytest.raises(TypeError, match="bathc_size"):
        settings_of(1, 2e-5, bathc_size=8)  # type: ignore[call-arg]
