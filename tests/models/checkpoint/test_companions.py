"""The files beside a model are what those who read them ask for: TEI, fastembed, transformers 4 and 5."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import AddedToken, Tokenizer
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerFast

from compress.methods.drop_layers import drop_layers
from compress.methods.prune_ffn import prune_ffn
from compress.methods.swap_attention import swap_attention
from compress.models.checkpoint import load, save
from compress.models.checkpoint.companions import write_companions
from compress.models.families import KNOWN, encoders, first_position, fitted_tokenizer
from tests.targets.onnx.test_versions import model_of
from tests.tiny_models import ALIKE, LONGEST, PIECES, logits_of, tiny_bert, tiny_of, toy_task

LIKE_BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
SIZES: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64},
    "distilbert": {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 24,
        "dim": 16,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 24,
    },
    "mobilebert": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24},
    "albert": LIKE_BERT,
    **dict.fromkeys(
        (
            "modernbert",
            "roberta",
            "electra",
            "mpnet",
            "deberta-v2",
            "ernie",
            "megatron-bert",
            "nomic_bert",
            "eurobert",
            *ALIKE,
        ),
        LIKE_BERT,
    ),
    "bilstm": {"hidden_size": 12, "num_hidden_layers": 1, "lstm_size": 6},
    "static": {"hidden_size": 8, "num_hidden_layers": 0, "embedding_size": 8},
}
"""What config.json tells of a tiny model's sizes, for each family."""


def written(model: Any, folder: Path, **how: Any) -> Path:
    folder.mkdir()
    write_companions(model, folder, **how)
    return folder


def told_by(folder: Path, file: str = "config.json") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / file).read_text(encoding="utf-8"))
    return content


def read_as_fastembed_does(folder: Path) -> Tokenizer:
    """What fastembed 0.9.1 demands of a folder (common/preprocessor_utils.py), in our own words."""
    config = told_by(folder, "tokenizer_config.json")
    limits = [config[key] for key in ("model_max_length", "max_length") if key in config]
    usable = [limit for limit in limits if type(limit) is int and 0 < limit <= sys.maxsize]
    assert usable, "Could not determine the maximum context length"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(max_length=min(usable))
    for token in told_by(folder, "special_tokens_map.json").values():
        tokenizer.add_special_tokens([AddedToken(**token) if isinstance(token, dict) else token])
    padding = tokenizer.padding or {}
    tokenizer.enable_padding(pad_id=padding.get("pad_id", told_by(folder).get("pad_token_id")), pad_token=config["pad_token"])
    return tokenizer


def read_as_tei_does(folder: Path) -> None:
    """What Text Embeddings Inference demands of config.json (router/src/lib.rs, backends/ort/src/lib.rs)."""
    config = told_by(folder)
    for name in ("hidden_size", "num_hidden_layers", "max_position_embeddings", "pad_token_id"):
        assert type(config[name]) is int, name
        assert config[name] >= 0
    assert type(config["model_type"]) is str
    assert config["architectures"][0].endswith("Classification")
    assert all(type(name) is str for name in config["id2label"].values())
    assert sorted(config["label2id"].values()) == list(range(len(config["id2label"])))


@pytest.mark.parametrize("kind", KNOWN)
def test_every_family_s_folder_is_what_its_readers_ask_for(kind: str, tmp_path: Path) -> None:
    model = model_of(kind)
    folder = save(model, tmp_path / "model")
    read_as_tei_does(folder)
    assert told_by(folder).items() >= SIZES[kind].items()
    assert told_by(folder)["max_position_embeddings"] == LONGEST + first_position(model)
    tokenizer = read_as_fastembed_does(folder)
    texts = ["a good film", "the plot " * 100]
    first, second = tokenizer.encode_batch(texts)
    assert first.ids[: sum(first.attention_mask)] == model.tokenizer(texts[0])["input_ids"]
    assert len(second.ids) == len(first.ids) == LONGEST


@pytest.mark.parametrize("kind", encoders())
def test_transformers_reads_the_same_configuration(kind: str, tmp_path: Path) -> None:
    model = model_of(kind)
    folder = save(model, tmp_path / "model")
    config = AutoConfig.from_pretrained(folder)
    for key in model.config.to_dict():
        if key not in ("transformers_version", "_name_or_path", "dtype"):
            assert getattr(config, key) == getattr(model.config, key), key
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    torch.testing.assert_close(logits_of(theirs), logits_of(model))


@pytest.mark.parametrize("kind", KNOWN)
def test_a_folder_is_loaded_and_written_again_as_it_was(kind: str, tmp_path: Path) -> None:
    first = save(model_of(kind), tmp_path / "first")
    second = save(load(first), tmp_path / "second")
    for file in ("config.json", "tokenizer_config.json", "tokenizer.json", "special_tokens_map.json"):
        assert told_by(first, file) == told_by(second, file)


def test_both_spellings_follow_the_model_when_it_is_cut(tmp_path: Path) -> None:
    model = load(save(tiny_of("distilbert"), tmp_path / "whole"))
    cut = load(save(prune_ffn(model, task=toy_task(), fraction=0.5, multiple_of=4), tmp_path / "cut"))
    config = told_by(save(cut, tmp_path / "again"))
    assert config["hidden_dim"] == config["intermediate_size"]
    shorter = drop_layers(cut, task=toy_task(), keep=[0])
    config = told_by(save(shorter, tmp_path / "shorter"))
    assert config["n_layers"] == config["num_hidden_layers"] == 1


def test_the_default_names_of_two_labels_are_told_too(tmp_path: Path) -> None:
    """transformers leaves them out of config.json, and TEI then finds no labels at all."""
    model = tiny_bert(labels=("LABEL_0", "LABEL_1"))
    config = told_by(save(model, tmp_path / "model"))
    assert config["id2label"] == {"0": "LABEL_0", "1": "LABEL_1"}
    assert config["label2id"] == {"LABEL_0": 0, "LABEL_1": 1}


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification", "regression"])
def test_the_problem_type_reaches_the_folder(problem: str, tmp_path: Path) -> None:
    model = tiny_bert(problem_type=problem)
    assert told_by(save(model, tmp_path / "model"))["problem_type"] == problem
    assert told_by(written(model, tmp_path / "served", for_serving=True))["problem_type"] == problem


def test_padding_is_told_as_a_number_where_a_folder_is_served(tmp_path: Path) -> None:
    model = tiny_bert(pad_token_id=None)
    assert told_by(written(model, tmp_path / "served", for_serving=True))["pad_token_id"] == 0
    assert told_by(written(model, tmp_path / "trained_on"))["pad_token_id"] is None
    assert model.config.pad_token_id is None


@pytest.mark.parametrize("limit", [int(1e30), 512, 8])
def test_the_longest_text_is_what_the_model_has_positions_for(limit: int, tmp_path: Path) -> None:
    model = tiny_bert()
    model.tokenizer.model_max_length = limit
    assert told_by(save(model, tmp_path / "model"), "tokenizer_config.json")["model_max_length"] == LONGEST
    assert model.tokenizer.model_max_length == limit


def test_the_longest_text_grows_with_the_positions(tmp_path: Path) -> None:
    model = swap_attention(tiny_bert(), task=toy_task(max_length=96), max_length=96, kind="longformer", window=8)
    assert told_by(save(model, tmp_path / "model"), "tokenizer_config.json")["model_max_length"] == 96


def test_how_a_tokenizer_was_called_last_is_not_written(tmp_path: Path) -> None:
    """A reader of tokenizer.json alone would cut every text to the length that training used."""
    model = tiny_bert()
    model.tokenizer(["a good film"], truncation=True, max_length=5, padding="max_length")
    folder = save(model, tmp_path / "model")
    content = told_by(folder, "tokenizer.json")
    assert content["truncation"] is None
    assert content["padding"] is None
    assert len(Tokenizer.from_file(str(folder / "tokenizer.json")).encode("a good film and a bad plot").ids) == 9
    assert model.tokenizer.backend_tokenizer.truncation["max_length"] == 5  # it stays as it is in memory
    again = AutoTokenizer.from_pretrained(folder)
    again("a good film", truncation=True, max_length=4)
    kept = PreTrainedTokenizerFast(
        tokenizer_object=again.backend_tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    model.tokenizer = fitted_tokenizer(kept, model.config)
    content = told_by(save(model, tmp_path / "again"), "tokenizer_config.json")
    assert not {"max_length", "stride", "truncation_strategy"} & content.keys()
    assert content["tokenizer_class"] == "PreTrainedTokenizerFast"  # transformers 4 does not know the name TokenizersBackend
    assert AutoTokenizer.from_pretrained(tmp_path / "again")("a good film")["input_ids"] == [2, 5, 13, 7, 3]


def test_added_tokens_are_told_in_words_that_transformers_4_and_5_read(tmp_path: Path) -> None:
    """Of a list called extra_special_tokens transformers 4 says "'list' object has no attribute 'keys'"."""
    model = tiny_bert(vocab_size=len(PIECES) + 2)
    model.tokenizer.add_special_tokens({"extra_special_tokens": ["[E1]", "[E2]"]})
    folder = save(model, tmp_path / "model")
    config = told_by(folder, "tokenizer_config.json")
    assert config["additional_special_tokens"] == ["[E1]", "[E2]"]
    assert "extra_special_tokens" not in config
    again = AutoTokenizer.from_pretrained(folder)
    assert again.extra_special_tokens == ["[E1]", "[E2]"]
    assert again("[E2] a film")["input_ids"] == [2, len(PIECES) + 1, 5, 7, 3]
    assert told_by(save(load(folder), tmp_path / "again"), "tokenizer_config.json") == config


def test_a_special_token_that_takes_the_space_before_it_keeps_it(tmp_path: Path) -> None:
    model = tiny_bert(vocab_size=len(PIECES) + 1)
    model.tokenizer.add_special_tokens({"mask_token": AddedToken("<m>", lstrip=True, special=True)})
    folder = save(model, tmp_path / "model")
    tokens = told_by(folder, "special_tokens_map.json")
    assert tokens["mask_token"] == {
        "content": "<m>",
        "lstrip": True,
        "rstrip": False,
        "single_word": False,
        "normalized": False,
    }
    assert tokens["cls_token"] == "[CLS]"
    assert AutoTokenizer.from_pretrained(folder).mask_token == "<m>"
    assert read_as_fastembed_does(folder).encode("a <m> film").ids == model.tokenizer("a <m> film")["input_ids"]
