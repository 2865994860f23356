"""Folders of sentence-transformers, of every age, and what is wrong with some."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import compress as cp
from compress.errors import InputError
from compress.models.checkpoint.sentence_folder import modules_of, prompts_in, read_pooling
from compress.models.embedder import Pooling, Projection, pooling_of, set_pooling, with_projection
from compress.models.families import KNOWN
from compress.models.head import OF_SENTENCES, SENTENCES
from tests.tiny_models import tiny_bert, tiny_tokenizer, tokens

Change = Callable[[Path], None]


def tiny_embedder(**pooling: Any) -> Any:
    config = tiny_bert().config
    set_pooling(config, Pooling(**pooling))
    torch.manual_seed(2)
    model = KNOWN["bert"].classes[SENTENCES](config)
    model.tokenizer, model.label, model.has_new_head = tiny_tokenizer(), "tiny", False
    return model.eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An embedder with a projection and prompts."""
    model = with_projection(tiny_embedder(prompts={"query": "q: ", "document": "d: "}), nn.Linear(16, 8), "Tanh")
    return Path(cp.save(model, tmp_path / "saved"))


def changed(folder: Path, name: str, **values: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}), encoding="utf-8")


def test_a_folder_has_a_place_for_each_module(folder: Path) -> None:
    kinds = [(kind, place.name) for kind, place in modules_of(folder) or []]
    expected = [("Transformer", "saved"), ("Pooling", "1_Pooling"), ("Dense", "2_Dense"), ("Normalize", "3_Normalize")]
    assert kinds == expected
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["BertModel"]
    assert not {"id2label", "label2id", "embedder", "problem_type"} & config.keys()
    assert json.loads((folder / "1_Pooling/config.json").read_text())["pooling_mode_mean_tokens"] is True


def test_prompts_and_lengths_are_kept(folder: Path) -> None:
    pooling = pooling_of(cp.load(folder).config)
    assert pooling.prompts == {"query": "q: ", "document": "d: "}
    assert prompts_in(folder) == pooling.prompts
    changed(folder, "config_sentence_transformers.json", default_prompt_name="query")
    assert prompts_in(folder)[""] == "q: "
    assert cp.load(folder).tokenizer.prompts[""] == "q: "


def test_older_folders_have_the_encoder_below(folder: Path) -> None:
    expected = cp.load(folder)(**tokens()).sentence_embedding
    (folder / "0_Transformer").mkdir()
    for path in list(folder.iterdir()):
        if path.is_file() and path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(folder / "0_Transformer" / path.name)
    entries = json.loads((folder / "modules.json").read_text())
    entries[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(entries))
    assert torch.equal(cp.load(folder)(**tokens()).sentence_embedding, expected)


def test_newer_folders_name_the_pooling_in_one_value(folder: Path) -> None:
    (folder / "1_Pooling/config.json").write_text(json.dumps({"embedding_dimension": 16, "pooling_mode": "cls"}))
    entries = json.loads((folder / "modules.json").read_text())
    for entry in entries:
        kind = entry["type"].rpartition(".")[2]
        entry["type"] = f"sentence_transformers.sentence_transformer.modules.{kind.lower()}.{kind}"
    (folder / "modules.json").write_text(json.dumps(entries))
    assert read_pooling(folder, 16).pooling == ("cls",)
    assert read_pooling(folder, 16).projections == (Projection(16, 8, True, "Tanh"),)


def test_a_plain_encoder_gets_the_mean(tmp_path: Path) -> None:
    model = cp.load(cp.save(tiny_bert(), tmp_path / "plain"), new_head=True)
    encoder = type(model.base_model)(model.config, add_pooling_layer=False)
    encoder.save_pretrained(tmp_path / "encoder")
    tiny_tokenizer().save_pretrained(tmp_path / "encoder")
    embedder = cp.load(tmp_path / "encoder", head=OF_SENTENCES)
    assert pooling_of(embedder.config) == Pooling()


def test_labels_make_a_classifier_of_such_a_folder(folder: Path) -> None:
    model = cp.load(folder, labels=["a", "b"])
    assert type(model).__name__ == "BertForSequenceClassification"
    assert model.has_new_head


WRONG: dict[str, tuple[Change, str]] = {
    "modules no json": (lambda folder: (folder / "modules.json").write_text("{"), r"modules\.json is no JSON"),
    "modules no list": (lambda folder: (folder / "modules.json").write_text("{}"), r"names no list of modules"),
    "modules empty": (lambda folder: (folder / "modules.json").write_text("[]"), r"names no list of modules"),
    "another module": (
        lambda folder: (folder / "modules.json").write_text(json.dumps([{"path": "", "type": "x.WordWeights"}])),
        r"names a module 'WordWeights'; those that are read: Transformer",
    ),
    "no transformer first": (
        lambda folder: (folder / "modules.json").write_text(json.dumps([{"path": "1_Pooling", "type": "x.Pooling"}])),
        r"the first module is 'Pooling'",
    ),
    "a path outside": (
        lambda folder: (folder / "modules.json").write_text(json.dumps([{"path": "../x", "type": "x.Transformer"}])),
        r"the path of Transformer is '\.\./x'",
    ),
    "another order": (
        lambda folder: (folder / "modules.json").write_text(
            json.dumps(
                [
                    {"path": path, "type": f"x.{kind}"}
                    for path, kind in (("", "Transformer"), ("2_Dense", "Dense"), ("1_Pooling", "Pooling"))
                ]
            )
        ),
        r"names Transformer, Dense, Pooling; read are Transformer, Pooling",
    ),
    "no pooling file": (lambda folder: shutil.rmtree(folder / "1_Pooling"), r"1_Pooling/config\.json is missing"),
    "an unknown pooling": (
        lambda folder: changed(folder, "1_Pooling/config.json", pooling_mode="median"),
        r"pooling_mode is 'median'; allowed: cls, max, mean",
    ),
    "another width": (
        lambda folder: changed(folder, "1_Pooling/config.json", word_embedding_dimension=17),
        r"is for states of width 17, but the encoder's are 16",
    ),
    "prompts left out": (
        lambda folder: changed(folder, "1_Pooling/config.json", include_prompt=False),
        r"prompts are left out of the mean",
    ),
    "an unknown activation": (
        lambda folder: changed(folder, "2_Dense/config.json", activation_function="torch.nn.Softsign"),
        r"activation_function is 'Softsign'; read are Identity, Tanh",
    ),
    "a residual": (lambda folder: changed(folder, "2_Dense/config.json", use_residual=True), r"asks for a residual"),
    "sizes no numbers": (
        lambda folder: changed(folder, "2_Dense/config.json", out_features="8"),
        r"in_features and out_features are",
    ),
    "sizes that do not fit": (
        lambda folder: changed(folder, "2_Dense/config.json", in_features=15),
        r"a Dense reads 15 numbers, but gets 16",
    ),
    "no weights": (lambda folder: (folder / "2_Dense/model.safetensors").unlink(), r"2_Dense/model\.safetensors is missing"),
    "damaged weights": (
        lambda folder: (folder / "2_Dense/model.safetensors").write_bytes(b"x" * 20),
        r"2_Dense/model\.safetensors is damaged",
    ),
    "prompts no texts": (
        lambda folder: changed(folder, "config_sentence_transformers.json", prompts={"query": 3}),
        r"prompts is .*; an object from names to texts is needed",
    ),
    "no such default": (
        lambda folder: changed(folder, "config_sentence_transformers.json", default_prompt_name="other"),
        r"default_prompt_name is 'other', which prompts does not name",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_told_with_its_file(what: str, folder: Path) -> None:
    change, message = WRONG[what]
    change(folder)
    with pytest.raises(InputError, match=message):
        cp.load(folder)


@pytest.mark.matrix
def test_sentence_transformers_answers_the_same(folder: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    texts = ["the film was good", "a bad plot"]
    model = cp.load(folder)
    with torch.no_grad():
        ours = model(**model.tokenizer(texts, padding=True, return_tensors="pt")).sentence_embedding
    theirs = library.SentenceTransformer(str(folder), device="cpu").encode(texts, convert_to_tensor=True)
    assert torch.allclose(ours, theirs, atol=1e-5)
