"""Whatever stands in config.json, a folder loads as the same model, or is refused as input.

`HYPOTHESIS_PROFILE=thorough` tries 2,000 of them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig

from compress.errors import InputError
from compress.models.checkpoint import load, save
from tests.models.checkpoint.test_switches import SWITCHES
from tests.tiny_models import SHAPES, logits_of, tiny_of

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 30),
    st.floats(),
    st.lists(st.integers(-1, 3), max_size=3),
    st.sampled_from([2**31, 2**63, 10**18, -(10**18), 10**400, (1 << 24) - 1]),
    st.sampled_from(["", "x", "gelu", "bert", "16", "\ud800", "x" * 10_000]),
    st.dictionaries(
        st.sampled_from(["", "0", "1", "x"]), st.one_of(st.none(), st.integers(-1, 9), st.text(max_size=3)), max_size=3
    ),
)
"""Values of every type, small and huge."""
NAMES = st.one_of(
    st.none(),
    st.dictionaries(
        st.integers(-1, 4).map(str), st.one_of(st.none(), st.integers(0, 3), st.sampled_from(["a", "a", "b", "0"])), max_size=5
    ),
    st.lists(st.sampled_from(["a", "b"]), max_size=3),
    st.just({str(index): "x" for index in range(5000)}),
)
"""Names of labels: missing, null, short, double, numbers, too many, no mapping."""
NAMING = ("id2label", "label2id", "num_labels", "problem_type")
HARMLESS = {
    **SWITCHES,
    **{key: [value] for key, value in GenerationConfig(num_beams=3).to_dict().items() if not key.endswith("_token_id")},
}
FIELDS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "hidden_act",
    "activation",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "classifier_dropout",
    "layer_norm_eps",
    "initializer_range",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "is_decoder",
    "add_cross_attention",
    "model_type",
    "architectures",
    "auto_map",
    "pruned_heads",
    "embedding_size",
    "position_embedding_type",
    "num_hidden_groups",
    "inner_group_num",
    "normalization_type",
    "use_bottleneck",
    "dim",
    "trigram_input",
    "n_heads",
    "num_feedforward_networks",
    "key_query_shared_bottleneck",
    "classifier_activation",
    "per_layer_config",
    "transformers_version",
    "tokenizer_class",
    *NAMING,
)
BATCH = {"input_ids": torch.arange(5, 12)[None], "attention_mask": torch.ones((1, 7), dtype=torch.long)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str, torch.Tensor]]:
    """A saved model of each family, its config.json, and what it answers."""
    root, made = tmp_path_factory.mktemp("saved"), {}
    for kind in SHAPES:
        model = tiny_of(kind)
        folder = save(model, root / kind)
        made[kind] = (folder, (folder / "config.json").read_text(), logits_of(model, **BATCH))
    return made


def switched(draw: st.DrawFn) -> dict[str, Any]:
    """A few switches."""
    keys = draw(st.lists(st.sampled_from(sorted(HARMLESS)), min_size=1, max_size=5, unique=True))
    return {key: draw(st.sampled_from(HARMLESS[key])) for key in keys}


@st.composite
def harmless(draw: st.DrawFn) -> dict[str, Any]:
    """Changes that say nothing of the model."""
    return switched(draw) | (draw(st.fixed_dictionaries({"id2label": NAMES})) if draw(st.booleans()) else {})


@st.composite
def anything(draw: st.DrawFn) -> dict[str, Any]:
    """Changes of any key to any value."""
    keys = draw(st.lists(st.sampled_from(FIELDS), min_size=1, max_size=4, unique=True))
    return {key: draw(NAMES if key == "id2label" else ODD) for key in keys} | (switched(draw) if draw(st.booleans()) else {})


def loaded(folder: Path, content: str, changes: dict[str, Any]) -> torch.Tensor | None:
    """What the changed model answers; None where it is refused."""
    (folder / "config.json").write_text(json.dumps(json.loads(content) | changes))
    try:
        model = load(folder)
    except InputError as err:
        said = str(err)
    else:
        said = ""
    finally:
        (folder / "config.json").write_text(content)
    assert len(said) < 4000  # values are shortened
    if said:
        return None
    return logits_of(model, **BATCH)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(kind=st.sampled_from(sorted(SHAPES)), changes=harmless())
def test_switches_and_names_change_no_answer(
    folders: dict[str, tuple[Path, str, torch.Tensor]], kind: str, changes: dict[str, Any]
) -> None:
    folder, content, expected = folders[kind]
    logits = loaded(folder, content, changes)
    assert torch.equal(logits, expected) if logits is not None else changes.keys() & {"id2label"}


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(kind=st.sampled_from(sorted(SHAPES)), changes=anything())
def test_any_configuration_is_a_model_or_an_input_error(
    folders: dict[str, tuple[Path, str, torch.Tensor]], kind: str, changes: dict[str, Any]
) -> None:
    folder, content, _ = folders[kind]
    logits = loaded(folder, content, changes)
    assert logits is None or (logits.shape == (1, 2) and bool(torch.isfinite(logits).all()))
