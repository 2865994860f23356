"""Every way in which a JSON file can be wrong is told with the file and the place, shortened."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel

from compress.errors import InputError, shown
from compress.models.checkpoint import load, save
from compress.models.checkpoint.json_file import read_object
from tests.models.checkpoint.changing import set_json
from tests.tiny_models import tiny_of


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is no JSON"),
        (b"\xef\xbb\xbf{}", "is UTF-8 with a byte order mark; save it as plain UTF-8"),
        ("{}".encode("utf-16"), "is UTF-16"),
        ("{}".encode("utf-16-be"), "is no JSON|key"),
        (b'{"a": "\xfc"}', "is no JSON"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands there twice"),
        (b'{"a": NaN}', "a is nan, no finite number"),
        (b'{"a": {"b": [0, -Infinity]}}', r"a\.b\.1 is -inf"),
        (b'{"a": 1e999}', "a is inf"),
        (b'{"a": %s}' % (b"9" * 6000), "a is inf"),
        (b'{"a": -%s}' % (b"9" * 6000), "a is -inf"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"a": [1, 2}', "is no JSON"),
        (b"[1]", "holds a list, not an object"),
        (b'{"%s": 1, "%s": 2}' % (b"k" * 9000, b"k" * 9000), "stands there twice"),
    ],
)
def test_a_file_that_is_no_plain_object_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_object(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match=r"has 1099511627776 bytes, at most \d+ are read"):
        read_object(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text("{}")
    path.chmod(0)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        read_object(path)


@pytest.mark.parametrize(
    "value", ["x" * 10**6, ["x"] * 10**6, {str(index): 1 for index in range(10**5)}, 10**300, [["x" * 10**6]]]
)
def test_values_are_shortened_in_messages(value: Any) -> None:
    assert len(shown(value)) < 200
    assert shown("short") == "'short'"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_position_embeddings": "x"}, "max_position_embeddings"),
        ({"hidden_act": ["gelu"]}, "hidden_act"),
        ({"hidden_act": "wishful"}, "hidden_act is 'wishful'; allowed: gelu"),
        ({"hidden_act": "prelu"}, "hidden_act is 'prelu'"),
        ({"layer_norm_eps": 0}, "layer_norm_eps"),
        ({"layer_norm_eps": 0.0}, r"layer_norm_eps is 0\.0; allowed: a number above 0"),
        ({"layer_norm_eps": -1e-5}, "layer_norm_eps"),
        ({"layer_norm_eps": "1e-12"}, "layer_norm_eps"),
        ({"layer_norm_eps": True}, "layer_norm_eps"),
        ({"hidden_dropout_prob": -0.1}, "hidden_dropout_prob"),
        ({"hidden_dropout_prob": 1.5}, r"hidden_dropout_prob is 1\.5; allowed: a number from 0 to 1"),
        ({"hidden_dropout_prob": None}, "hidden_dropout_prob"),
        ({"classifier_dropout": 7}, "classifier_dropout is 7"),
        ({"attention_probs_dropout_prob": True}, "attention_probs_dropout"),
        ({"pad_token_id": "0"}, "pad_token_id"),
        ({"initializer_range": 1e30}, r"initializer_range is 1e\+30"),
        ({"initializer_range": -1.0}, "initializer_range"),
        ({"pad_token_id": -1}, "pad_token_id is -1; allowed: a whole number from 0 to 16, or null"),
        ({"pad_token_id": 17}, "pad_token_id is 17"),
        ({"pad_token_id": 10**299}, "pad_token_id"),
        ({"pad_token_id": True}, "pad_token_id"),
        ({"eos_token_id": [3, 99]}, r"eos_token_id is \[3, 99\]"),
        ({"id2label": ["bad", "good"]}, "id2label is .*no object from ids to names"),
        ({"id2label": {"9" * 6000: "x"}}, "config"),
        ({"vocab_size": 10**299}, "vocab_size"),
        ({"vocab_size": True}, "vocab_size"),
        ({"hidden_size": "x" * 10**5}, "hidden_size"),
        ({"pruned_heads": {"9" * 50: [0]}}, "pruned_heads"),
        ({"pruned_heads": ["x"] * 10**5}, r"pruned_heads is \['x'.* \(100,000 entries\)"),
    ],
)
def test_a_value_that_a_model_cannot_have_is_refused_with_its_field(
    changes: dict[str, Any], said: str, model: PreTrainedModel, tmp_path: Path
) -> None:
    folder = save(model, tmp_path / "saved")
    set_json(folder / "config.json", **changes)
    with pytest.raises(InputError, match=said) as caught:
        load(folder)
    assert f"{folder / 'config.json'}" in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "changes",
    [
        {"pad_token_id": None},
        {"pad_token_id": 5},
        {"classifier_dropout": None},
        {"hidden_dropout_prob": 1},
        {"hidden_dropout_prob": 0},
        {"eos_token_id": [3, 4]},
        {"initializer_range": 0.0},
        {"hidden_act": "gelu_new"},
    ],
)
def test_a_value_that_a_model_can_have_is_taken(changes: dict[str, Any], model: PreTrainedModel, tmp_path: Path) -> None:
    folder = save(model, tmp_path / "saved")
    set_json(folder / "config.json", **changes)
    config = load(folder).config
    assert {key: getattr(config, key) for key in changes} == changes


def test_the_other_families_values_are_checked_under_their_own_names(tmp_path: Path) -> None:
    cases: list[tuple[str, dict[str, Any]]] = [
        ("distilbert", {"activation": "wishful"}),
        ("distilbert", {"seq_classif_dropout": 2}),
        ("mobilebert", {"normalization_type": "rms"}),
        ("albert", {"classifier_dropout_prob": -1}),
    ]
    for kind, changes in cases:
        folder = save(tiny_of(kind), tmp_path / f"{kind}{next(iter(changes))}")
        set_json(folder / "config.json", **changes)
        with pytest.raises(InputError, match=f"{next(iter(changes))} is"):
            load(folder)
