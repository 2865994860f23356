"""Whatever kind of tokenizer is cut, texts whose pieces stay are cut as before, and no other text loses a character."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import BPE, Unigram
from transformers import PreTrainedTokenizerFast

import compress as cp
from compress.errors import InputError
from compress.models.pieces import contents_of
from compress.models.vocabulary import keep_pieces, needed_pieces, renumbered
from tests.models.test_vocabulary import SCRIPTS, numbered
from tests.tiny_models import LONGEST, logits_of, tiny_of

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
NAMED = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), SPECIAL, strict=True))
OTHERS = ("unseen wörter, 那里 ждут", "ᚠᛇᚻ᛫ zebra 😀", "13 over lazily jumped naïveté")
"""Texts that no tokenizer here was made of."""


def _finished(tokenizer: Tokenizer, trainer: Any) -> Any:
    tokenizer.train_from_iterator([*SCRIPTS, *SCRIPTS[:6]], trainer)
    template = {"single": "<s> $A </s>", "pair": "<s> $A </s> </s> $B </s>"}
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(**template, special_tokens=ids)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=LONGEST, **NAMED)


def byte_pairs() -> Any:
    """RoBERTa's kind, ModernBERT's as well."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _finished(tokenizer, trainers.BpeTrainer(vocab_size=360, special_tokens=SPECIAL, initial_alphabet=alphabet))


def marked_pairs() -> Any:
    """With marks within words, and at their ends."""
    marks = {"continuing_subword_prefix": "##", "end_of_word_suffix": "</w>"}
    tokenizer = Tokenizer(BPE(unk_token="<unk>", **marks))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return _finished(tokenizer, trainers.BpeTrainer(vocab_size=300, special_tokens=SPECIAL, **marks))


def scored_pieces() -> Any:
    """XLM-R's kind, and DeBERTa's."""
    tokenizer = Tokenizer(Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return _finished(tokenizer, trainers.UnigramTrainer(vocab_size=200, special_tokens=SPECIAL, unk_token="<unk>"))


MADE = {"byte pairs": byte_pairs, "marked pairs": marked_pairs, "scored pieces": scored_pieces}
every_kind = pytest.mark.parametrize("made", MADE.values(), ids=MADE.keys())


def pieces(tokenizer: Any, *texts: str) -> list[str]:
    """What a text, or a pair, is cut into."""
    cut: list[str] = tokenizer.convert_ids_to_tokens(tokenizer(*texts)["input_ids"])
    return cut


@every_kind
@pytest.mark.parametrize("characters", ["all", "used"])
@pytest.mark.parametrize("text", SCRIPTS)
def test_a_text_whose_pieces_stay_is_cut_as_before(made: Any, characters: Any, text: str) -> None:
    whole = made()
    kept = needed_pieces(whole, whole(text, SCRIPTS[0])["input_ids"], characters=characters)
    assert len(kept) < len(whole)
    own = renumbered(whole, numbered(whole, kept))
    assert pieces(own, text, SCRIPTS[0]) == pieces(whole, text, SCRIPTS[0])
    assert (
        own(text, return_offsets_mapping=True)["offset_mapping"] == whole(text, return_offsets_mapping=True)["offset_mapping"]
    )
    assert own.decode(own(text)["input_ids"]) == whole.decode(whole(text)["input_ids"])
    assert sorted(own.get_vocab().values()) == list(range(len(kept)))


@every_kind
@pytest.mark.parametrize("text", OTHERS)
def test_another_text_is_spelled_and_has_no_more_unknown_pieces(made: Any, text: str) -> None:
    whole = made()
    own = renumbered(whole, numbered(whole, needed_pieces(whole)))
    before, after = whole(text)["input_ids"], own(text)["input_ids"]
    assert after.count(own.unk_token_id) <= before.count(whole.unk_token_id)
    spelled = ["".join(pieces(tokenizer, text)).replace("##", "").replace("</w>", "") for tokenizer in (whole, own)]
    assert spelled[0] == spelled[1]


def test_bytes_stay_where_nothing_else_could_tell_a_character() -> None:
    whole = byte_pairs()
    own = renumbered(whole, numbered(whole, needed_pieces(whole, characters="used")))
    for text in OTHERS:
        assert own.decode(own(text)["input_ids"], skip_special_tokens=True) == text


def test_characters_of_other_scripts_go_where_they_are_not_used() -> None:
    whole = scored_pieces()
    used = whole(SCRIPTS[0])["input_ids"]
    few, all_ = (needed_pieces(whole, used, characters=characters) for characters in ("used", "all"))
    assert len(few) < len(all_)
    own = renumbered(whole, numbered(whole, few))
    assert own.unk_token_id in own(SCRIPTS[4])["input_ids"]
    assert own.unk_token_id not in own(SCRIPTS[0])["input_ids"]


def test_what_a_piece_is_merged_from_stays_with_it() -> None:
    whole = byte_pairs()
    longest = max(whole.get_vocab(), key=lambda piece: len(piece) if piece not in SPECIAL else 0)
    kept = set(whole.convert_ids_to_tokens(needed_pieces(whole, [whole.get_vocab()[longest]])))
    merges = [tuple(pair) for pair in contents_of(whole)["merges"]]
    wanted, reached = [longest], set()
    while wanted:
        piece = wanted.pop()
        reached.add(piece)
        wanted += next(([*pair] for pair in merges if "".join(pair) == piece), [])
    assert len(reached) > 4
    assert reached <= kept
    model: Any = tiny_of("roberta", vocab_size=len(whole), pad_token_id=1)
    model.tokenizer = whole
    alone = sorted({*needed_pieces(whole), whole.get_vocab()[longest]})
    with pytest.raises(InputError, match="parts of pieces are missing"):
        keep_pieces(model, alone)


@every_kind
def test_what_is_needed_needs_nothing_more(made: Any) -> None:
    """A token that was added is found whole, whatever pieces it could be merged from."""
    whole = made()
    whole.add_tokens(["jumping over", "Straße"])
    needed = needed_pieces(whole, whole(OTHERS[2])["input_ids"])
    assert needed_pieces(whole, needed) == needed_pieces(whole, needed, characters="used") == needed
    whole.add_special_tokens({"additional_special_tokens": ["lazy dogs"]})
    added = whole.convert_tokens_to_ids("lazy dogs")
    assert needed_pieces(whole, needed) == [*needed, added]


def test_what_an_unknown_piece_costs_stays_the_same() -> None:
    """The library reckons it from the lowest of all scores."""
    whole = scored_pieces()
    own = renumbered(whole, numbered(whole, needed_pieces(whole, characters="used")))
    lowest = [min(score for _, score in contents_of(tokenizer)["vocab"]) for tokenizer in (whole, own)]
    assert lowest[0] == lowest[1]
    assert contents_of(own)["unk_id"] == own.unk_token_id


@every_kind
@pytest.mark.parametrize("kind", ["xlm-roberta", "modernbert", "deberta-v2"])
def test_a_model_answers_as_before_and_is_loaded_again(made: Any, kind: str, tmp_path: Path) -> None:
    whole = made()
    ids = {name: getattr(whole, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    model: Any = tiny_of(
        kind, vocab_size=len(whole), max_position_embeddings=64, **{f"{k}_token_id": v for k, v in ids.items()}
    )
    whole.model_input_names = ["input_ids", "attention_mask"]
    model.tokenizer = whole
    texts = ["Привет, мир! lazy dogs", "jumping façade"]
    used = {piece for row in whole(texts)["input_ids"] for piece in row}
    trimmed = keep_pieces(model, needed_pieces(whole, used, characters="used"))
    assert trimmed.get_input_embeddings().weight.shape[0] == trimmed.config.vocab_size < len(whole)
    assert trimmed.config.pad_token_id == trimmed.tokenizer.pad_token_id
    again: Any = cp.load(cp.save(trimmed, tmp_path / "saved"))
    for network in (trimmed, again):
        inputs, own = (each.tokenizer(texts, padding=True, return_tensors="pt") for each in (model, network))
        torch.testing.assert_close(logits_of(network, **own), logits_of(model, **inputs))
