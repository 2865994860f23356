"""The tokenizer that is loaded is the one that the files hold, and it fits the model; else it is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import BPE, Unigram, WordLevel

from compress.benchmark.runners import load_tokenizer
from compress.errors import InputError
from compress.models.checkpoint import load, save
from tests.models.checkpoint.changing import set_json, without_tokenizer
from tests.tiny_models import PIECES, SHAPES, WITH_TOKENIZER_FILE, tiny_bert, tiny_of, tiny_tokenizer

IDS = [2, 5, 13, 7, 3]
"""Of "a good film"."""


def with_pieces(kind: str, folder: Path, **settings: Any) -> Path:
    """A saved model with vocab.txt alone, and what tokenizer_config.json says."""
    saved = save(tiny_of(kind), folder)
    without_tokenizer(saved)
    (saved / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    if settings:
        (saved / "tokenizer_config.json").write_text(json.dumps(settings))
    return saved


def with_file(kind: str, folder: Path, model: Any, **settings: Any) -> Path:
    """A saved model with a tokenizer.json of another kind."""
    saved = save(tiny_of(kind), folder)
    without_tokenizer(saved)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace() if isinstance(model, Unigram) else pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(saved / "tokenizer.json"))
    if settings:
        (saved / "tokenizer_config.json").write_text(json.dumps(settings))
    return saved


def unigram() -> Unigram:
    """Whole words, each with a mark before it."""
    return Unigram([(piece if index < 5 else f"\u2581{piece}", -float(index)) for index, piece in enumerate(PIECES)], unk_id=1)


def word_level() -> WordLevel:
    """Whole words."""
    return WordLevel({piece: index for index, piece in enumerate(PIECES)}, unk_token="[UNK]")


SPECIAL = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
}


# -- the class and the files


@pytest.mark.parametrize("kind", [kind for kind in SHAPES if kind not in WITH_TOKENIZER_FILE])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_lower_case": True},
        {"tokenizer_class": None},
        {"tokenizer_class": "BertTokenizer"},
        {"tokenizer_class": "BertTokenizerFast"},
        {"tokenizer_class": "DistilBertTokenizer"},
    ],
)
def test_a_word_piece_vocabulary_is_read_as_one_in_every_family(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    """transformers makes an empty tokenizer of it in an ALBERT's folder, and every word becomes unknown."""
    folder = with_pieces(kind, tmp_path / "saved", **settings)
    assert load(folder).tokenizer("a good film").input_ids == IDS
    assert load_tokenizer(folder)("a good film").input_ids == IDS


@pytest.mark.parametrize("kind", ["bert", "albert"])
@pytest.mark.parametrize("name", ["AlbertTokenizer", "AlbertTokenizerFast", "RobertaTokenizer", "XLMRobertaTokenizer"])
@pytest.mark.parametrize("place", ["tokenizer_config.json", "config.json"])
def test_a_class_that_reads_other_files_is_refused(kind: str, name: str, place: str, tmp_path: Path) -> None:
    folder = with_pieces(kind, tmp_path / "saved", do_lower_case=True)
    set_json(folder / place, tokenizer_class=name)
    for read in (load, load_tokenizer):
        with pytest.raises(InputError, match=rf"is '{name}', which finds no pieces in vocab\.txt|no tokenizer that"):
            read(folder)


@pytest.mark.parametrize("name", [["BertTokenizer"], 5, {"a": 1}, True])
def test_a_class_that_is_no_name_is_refused(name: Any, tmp_path: Path) -> None:
    folder = with_pieces("bert", tmp_path / "saved", tokenizer_class=name)
    with pytest.raises(InputError, match=r"tokenizer_config\.json: tokenizer_class is .*the name of a class is needed"):
        load(folder)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "albert"])
def test_a_tokenizer_file_is_read_as_the_model_that_it_holds(kind: str, tmp_path: Path) -> None:
    for name, model in (("unigram", unigram()), ("words", word_level())):
        folder = with_file(kind, tmp_path / name, model, **SPECIAL)
        assert load(folder).tokenizer("a good film").input_ids == IDS
    folder = save(tiny_of(kind), tmp_path / "pieces")
    (folder / "tokenizer_config.json").unlink()  # then an ALBERT's folder is taken for one of SentencePiece
    assert load(folder).tokenizer("a good film").input_ids == IDS


@pytest.mark.parametrize(
    ("model", "kind", "settings"),
    [
        (unigram, "bert", {}),
        (unigram, "bert", {"tokenizer_class": "BertTokenizer"}),
        (unigram, "distilbert", {}),
        (unigram, "albert", {"tokenizer_class": "BertTokenizerFast"}),
        (word_level, "bert", {}),
        (word_level, "albert", {"tokenizer_class": "BertTokenizer"}),
    ],
)
def test_a_file_of_another_kind_than_its_class_is_refused(
    model: Callable[[], Any], kind: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    """transformers makes a WordPiece tokenizer of any vocabulary, to which every marked word is unknown."""
    folder = with_file(kind, tmp_path / "saved", model(), **settings)
    with pytest.raises(InputError, match=r"holds a (Unigram|WordLevel) model, but .* made a WordPiece model of it"):
        load(folder)


@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_a_tokenizer_file_without_pieces_is_refused(kind: str, tmp_path: Path) -> None:
    folder = with_file(kind, tmp_path / "saved", BPE(), **SPECIAL)
    with pytest.raises(InputError, match=r"no pieces in tokenizer\.json, so that every word would be unknown|no tokenizer"):
        load(folder)


def test_sentence_pieces_in_a_bert_s_folder_are_refused(tmp_path: Path) -> None:
    folder = save(tiny_bert(), tmp_path / "saved")
    without_tokenizer(folder)
    (folder / "spiece.model").write_bytes(b"\x00")
    with pytest.raises(InputError, match=r"no pieces in spiece\.model, .*\"AlbertTokenizer\" into tokenizer_config\.json"):
        load(folder)


def test_a_damaged_file_of_sentence_pieces_is_refused(tmp_path: Path) -> None:
    folder = save(tiny_of("albert"), tmp_path / "saved")
    without_tokenizer(folder)
    (folder / "spiece.model").write_bytes(b"\x00")
    with pytest.raises(InputError, match=r"has no tokenizer that can be loaded|finds no pieces in spiece\.model"):
        load(folder)


# -- ids and damage


def test_ids_beyond_the_table_are_refused_though_their_count_fits(tmp_path: Path) -> None:
    folder = save(tiny_bert(), tmp_path / "saved")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"]["dull"] = 1600
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="the tokenizer gives 'dull' the id 1600, but the model has 17 embeddings"):
        load(folder)


@pytest.mark.parametrize(
    ("ids", "types", "said"),
    [
        ([900], 1, "a token of id 900, but the model has 17"),
        ([3], 7, "a token of type 7, but the model has 2"),
    ],
)
def test_a_template_that_names_what_the_model_does_not_have_is_refused(
    ids: list[int], types: int, said: str, tmp_path: Path
) -> None:
    folder = with_file("bert", tmp_path / "saved", word_level(), **SPECIAL)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["post_processor"]["special_tokens"]["[SEP]"]["ids"] = ids
    content["post_processor"]["pair"][-1]["SpecialToken"]["type_id"] = types
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=said):
        load(folder)


def test_a_vocabulary_without_its_unknown_piece_is_refused(tmp_path: Path) -> None:
    folder = save(tiny_bert(), tmp_path / "saved")
    content = json.loads((folder / "tokenizer.json").read_text())
    del content["model"]["vocab"]["[UNK]"]
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"fails at a text \(WordPiece error: Missing \[UNK\]"):
        load(folder)


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "null",
        "5",
        "{}",
        '"x"',
        "\x00",
        '{"version": "1.0"}',
        "[" * 5000,
        '{"version": "1.0", "model": {"type": "WordPiece", "vocab": {"a": -1}}}',
        '{"version": "1.0", "model": {"type": "Nonsense"}}',
        f'{{"version": "1.0", "truncation": {"9" * 6000}}}',
    ],
)
def test_garbage_for_a_tokenizer_is_refused(content: str, tmp_path: Path) -> None:
    folder = save(tiny_bert(), tmp_path / "saved")
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match="has no tokenizer that can be loaded") as caught:
        load(folder)
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize("content", ["[]", "{", "\ufeff{}", '{"model_max_length": ' + "9" * 6000 + "}", '{"a": 1, "a": 2}'])
def test_garbage_for_its_settings_is_refused_with_the_file(content: str, tmp_path: Path) -> None:
    folder = save(tiny_bert(), tmp_path / "saved")
    (folder / "tokenizer_config.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"tokenizer_config\.json"):
        load(folder)


def test_a_vocabulary_of_another_encoding_is_refused(tmp_path: Path) -> None:
    folder = with_pieces("bert", tmp_path / "saved")
    (folder / "vocab.txt").write_bytes("\n".join([*PIECES[:-1], "f\u00fcr"]).encode("latin-1"))
    with pytest.raises(InputError, match=r"no tokenizer that can be loaded|cannot be read"):
        load(folder)


def test_a_link_to_nowhere_is_told_among_the_missing_files(tmp_path: Path) -> None:
    folder = save(tiny_bert(), tmp_path / "saved")
    without_tokenizer(folder)
    (folder / "tokenizer.json").symlink_to(folder / "gone")
    with pytest.raises(InputError, match=r"no file; tokenizer\.json is a link to .*gone, which is not there"):
        load(folder)


def test_a_tokenizer_of_a_smaller_vocabulary_keeps_its_pieces(tmp_path: Path) -> None:
    model = tiny_bert(vocab_size=40)
    model.tokenizer = tiny_tokenizer()
    assert load(save(model, tmp_path / "saved")).tokenizer("a good film").input_ids == IDS
