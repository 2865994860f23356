from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel

from compress.augmentation import sentences as augmentation
from compress.augmentation.sentences import Augment, AugmentOptions, augmented
from compress.errors import InputError, NoEffect
from compress.tasks.split import Role, Split
from tests.methods.ranges import forbid_forward_passes
from tests.tiny_models import tiny_bert, tiny_tokenizer

LETTERS = "abcdefgh"
WORDS = tuple(first + second for first, second in product(LETTERS, LETTERS))  # aa, ab, ... hh
PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", *WORDS, "##s", "!", ".", "-", "x", *map(str, range(10)))


@pytest.fixture
def model() -> PreTrainedModel:
    """A teacher in whose table the words with the same first letter point the same way, nearly."""
    random = np.random.default_rng(0)
    teacher = forbid_forward_passes(tiny_bert(vocab_size=len(PIECES)))
    teacher.tokenizer = tiny_tokenizer(PIECES)
    with torch.no_grad():
        table = teacher.get_input_embeddings().weight
        table.copy_(torch.from_numpy(random.normal(0, 0.02, table.shape)))
        for number, word in enumerate(PIECES):
            if word in WORDS:
                table[number, LETTERS.index(word[0])] += 1
    return teacher


def split(*texts: str, pairs: tuple[str, ...] | None = None, role: Role = "train") -> Split:
    """Sentences with the labels 0, 1, 2 and so on."""
    return Split(role, texts, pairs, np.arange(len(texts), dtype=np.int64))


def of_label(made: Split, index: int) -> list[str]:
    """A sentence, told by its label, and its copies."""
    return [text for text, label in zip(made.texts, made.labels, strict=True) if label == index]


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def test_originals_come_first_and_copies_keep_role_label_and_order(model: PreTrainedModel) -> None:
    given = Split("train", ("aa bb", "cc dd", "!"), None, np.array([1, -1, 4]))
    made = augmented(given, Augment(copies=5, probability=1.0, candidates=7), model=model, seed=1)
    assert made.role == "train"
    assert made.texts[:3] == given.texts
    assert made.labels[:3].tolist() == [1, -1, 4]
    letters = [(words_of(text)[0][0], words_of(text)[1][0]) for text in made.texts[3:]]
    assert letters == sorted(letters)
    assert made.labels[3:].tolist() == [{"a": 1, "c": -1}[first] for first, _ in letters]
    assert made.labels.dtype == np.int64


def test_words_are_replaced_by_near_ones_and_never_by_themselves(model: PreTrainedModel) -> None:
    made = augmented(split("aa bb"), Augment(copies=400, probability=1.0, candidates=7), model=model, seed=1)
    near = {f"a{letter}" for letter in LETTERS} - {"aa"}, {f"b{letter}" for letter in LETTERS} - {"bb"}
    for place in (0, 1):
        assert {words_of(text)[place] for text in made.texts[1:]} == near[place]


def test_what_is_not_replaced_stays_to_the_letter(model: PreTrainedModel) -> None:
    text = "  Aa bb-CC  ..\tdd's ee  7 ffs\N{NO-BREAK SPACE}! gg "
    made = augmented(split(text), Augment(copies=50, candidates=7), model=model, seed=1)
    pattern = r"  (\w+) (\w+)-(\w+)  ..\tdd's (\w+)  7 ffs\N{NO-BREAK SPACE}! (\w+) "
    for copy in made.texts[1:]:
        match = re.fullmatch(pattern.replace("..", r"\.\."), copy)
        assert match is not None, copy
        for now, before in zip(match.groups(), ("Aa", "bb", "CC", "ee", "gg"), strict=True):
            assert now == before or (now[0] == before[0].lower() and now in WORDS)


def test_copies_as_their_original_or_as_another_copy_are_left_out(model: PreTrainedModel) -> None:
    made = augmented(split("aa"), Augment(copies=200, candidates=2), model=model, seed=1)
    assert len(made) == 3
    assert len(set(made.texts)) == 3


def test_as_many_words_are_replaced_as_the_probability_says(model: PreTrainedModel) -> None:
    """Of 20,000 words 0.4; four standard deviations are 0.014."""
    text = " ".join(WORDS[::3][:20])
    made = augmented(split(text), Augment(copies=1000), model=model, seed=1)
    changed = [now != before for copy in made.texts[1:] for now, before in zip(words_of(copy), words_of(text), strict=True)]
    assert len(made) == 1001
    assert np.mean(changed) == pytest.approx(0.4, abs=0.014)


def test_the_most_frequent_words_are_left_alone_by_tinybert(model: PreTrainedModel) -> None:
    """Of 64 words and "the" three are: one in twenty."""
    texts = [f"the {word} aa the bb the" for word in WORDS]
    made = augmented(split(*texts), Augment(copies=3, probability=1.0, candidates=7), model=model, seed=1)
    for index, word in enumerate(WORDS):
        original, *copies = of_label(made, index)
        assert all(re.fullmatch(rf"the {word[0]}\w aa the bb the", copy) for copy in copies)
        assert original not in copies
        assert bool(copies) == (word not in ("aa", "bb"))


@pytest.mark.parametrize("kind", ["tinybert", "masking"])
def test_what_is_drawn_for_a_sentence_does_not_depend_on_the_others(
    monkeypatch: pytest.MonkeyPatch, model: PreTrainedModel, kind: Any
) -> None:
    texts = ("aa bb cc", "bb aa dd", "cc cc aa", "dd dd bb bb")
    how = Augment(kind, copies=8, probability=0.3)
    made = augmented(split(*texts), how, model=model, seed=1)
    assert augmented(split(*texts), how, model=model, seed=1).texts == made.texts
    monkeypatch.setattr(augmentation, "TEXTS_AT_ONCE", 1)
    turned = augmented(split(*texts[::-1]), how, model=model, seed=1)
    assert [of_label(turned, 3 - index) for index in range(4)] == [of_label(made, index) for index in range(4)]
    if kind == "tinybert":
        assert augmented(split(texts[2]), how, model=model, seed=1).texts == tuple(of_label(made, 2))
    assert augmented(split(*texts), how, model=model, seed=2).texts != made.texts


def test_a_sentence_that_stands_there_twice_gets_other_copies_the_second_time(model: PreTrainedModel) -> None:
    made = augmented(split("aa bb cc dd", "aa bb cc dd"), Augment(copies=6), model=model, seed=1)
    assert set(of_label(made, 0)) != set(of_label(made, 1))


def test_tinybert_changes_one_sentence_of_a_pair_beside_the_other_s_original(model: PreTrainedModel) -> None:
    made = augmented(split("aa bb", pairs=("cc dd",)), Augment(copies=9, probability=1.0), model=model, seed=1)
    assert made.pairs is not None
    copies = list(zip(made.texts, made.pairs, strict=True))
    assert copies[0] == ("aa bb", "cc dd")
    assert [(first == "aa bb", second == "cc dd") for first, second in copies[1:]] == [(False, True)] * 9 + [(True, False)] * 9


def test_masking_changes_the_first_the_second_and_both_sentences_of_a_pair_in_turn(model: PreTrainedModel) -> None:
    how = Augment("masking", copies=6, probability=1.0, mask=0.0, window=0.0, candidates=3)
    first, second = " ".join(WORDS[:16]), " ".join(WORDS[16:32])
    made = augmented(split(first, pairs=(second,)), how, model=model, seed=1)
    assert made.pairs is not None
    assert [(text != first, pair != second) for text, pair in zip(made.texts, made.pairs, strict=True)] == [
        (False, False),
        *[(True, False), (False, True), (True, True)] * 2,
    ]


def test_masking_masks_or_swaps_a_word_as_often_as_the_paper_says(model: PreTrainedModel) -> None:
    """Of 40,000 words 0.1 and 0.1; four standard deviations are 0.006."""
    text = " ".join(WORDS[:40])
    made = augmented(split(text), Augment("masking", copies=1000, window=0.0), model=model, seed=1)
    words = [copy.split() for copy in made.texts[1:]]
    assert {len(copy) for copy in words} == {40}
    masked = np.mean([word == "[MASK]" for copy in words for word in copy])
    swapped = np.mean([w != before and w != "[MASK]" for copy in words for w, before in zip(copy, text.split(), strict=True)])
    assert masked == pytest.approx(0.1, abs=0.006)
    assert swapped == pytest.approx(0.1, abs=0.006)
    assert model.tokenizer.mask_token_id in model.tokenizer(made.texts[1]).input_ids


def test_masking_draws_words_of_the_texts_as_often_as_they_stand_there(model: PreTrainedModel) -> None:
    """ab stands there nine times and ac once; of 500 draws 0.9, four standard deviations are 0.054. ad stands nowhere."""
    texts = (*(" ".join(["aa", *map(str, number)]) for number in product(range(10), range(10), range(5))), "ab " * 9 + "ac")
    how = Augment("masking", copies=1, probability=1.0, mask=0.0, window=0.0)
    made = augmented(split(*texts), how, model=model, seed=1)
    drawn = [words_of(text)[0] for text in made.texts[len(texts) : -1]]
    assert len(drawn) == 500
    assert set(drawn) == {"ab", "ac"}
    assert np.mean([word == "ab" for word in drawn]) == pytest.approx(0.9, abs=0.054)


def test_a_window_is_one_to_five_words_in_a_row_as_they_stand_in_the_text(model: PreTrainedModel) -> None:
    text = "The Aa,  bb. CC-dd! ee ff gg hh (7)"
    how = Augment("masking", copies=300, probability=0.0, mask=0.0, window=1.0)
    made = augmented(split(text), how, model=model, seed=1)
    assert all(copy in text and re.fullmatch(r"\w.*\w|\w", copy) for copy in made.texts[1:])
    counted = [len(words_of(copy)) for copy in made.texts[1:]]
    assert sorted(counted) == [1] * 10 + [2] * 9 + [3] * 8 + [4] * 7 + [5] * 6
    short = augmented(split("aa bb"), how, model=model, seed=1)
    assert set(short.texts[1:]) == {"aa", "bb"}


def test_a_masked_language_model_puts_words_in_a_word_s_place(model: PreTrainedModel, tmp_path: Path) -> None:
    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=24,
    )
    torch.manual_seed(1)
    masked_lm = BertForMaskedLM(config).eval()
    with torch.no_grad():  # gh and hh whatever the sentence
        for word, height in (("gh", 90), ("hh", 80), ("##s", 99), ("!", 98), ("7", 97), ("x", 96), ("[SEP]", 95)):
            masked_lm.cls.predictions.bias[PIECES.index(word)] = height
    masked_lm.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    how = Augment(copies=300, probability=0.5, candidates=1, masked_lm=str(tmp_path))
    made = augmented(split("aa! bbs 7"), how, model=model, seed=1)
    assert set(made.texts) == {"aa! bbs 7", "gh! bbs 7", "aa! gh 7", "gh! gh 7"}
    assert set(augmented(split("gh"), how, model=model).texts) == {"gh", "hh"}


def test_progress_is_told(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "TEXTS_AT_ONCE", 2)
    steps: list[tuple[str, int, int]] = []
    augmented(split("aa", "bb", "cc"), Augment(), model=model, progress=lambda *said, **_: steps.append(said))
    assert steps == [("augment", 2, 3), ("augment", 3, 3)]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (Augment(copies=0), r"augment\.copies is 0: .*greater than or equal to 1"),
        (Augment(probability=1.5, candidates=0), r"augment\.probability is 1\.5[\s\S]*augment\.candidates is 0"),
        (Augment(kind="tiny"), r"augment\.kind is 'tiny'"),  # type: ignore[arg-type]
        (Augment(copies=2.0), r"augment\.copies is 2\.0"),  # type: ignore[arg-type]
        (Augment(probability=float("nan")), r"augment\.probability is nan"),
        (
            Augment(mask=0.1, window_words=3),
            r"augment\.mask is 0\.1, which is for kind masking[\s\S]*augment\.window_words is 3",
        ),
        (Augment("masking", probability=0.6, mask=0.6), r"probability 0\.6 and augment\.mask 0\.6 .*at 1 or below"),
    ],
)
def test_rules_that_cannot_be_are_refused(model: PreTrainedModel, how: Augment, said: str) -> None:
    with pytest.raises(InputError, match=said):
        augmented(split("aa bb"), how, model=model)


def test_texts_that_nothing_can_be_made_of_are_refused(model: PreTrainedModel) -> None:
    with pytest.raises(InputError, match="the training part is empty"):
        augmented(split(), Augment(), model=model)
    with pytest.raises(InputError, match="evaluation split was given"):
        augmented(split("aa", role="evaluation"), Augment(), model=model)
    with pytest.raises(InputError, match="kind masking asks no masked_lm"):
        augmented(split("aa"), Augment("masking", masked_lm="x"), model=model)
    for given, how in ((split("!", ""), Augment()), (split("aa"), Augment(probability=0.0)), (split("aas"), Augment())):
        with pytest.raises(NoEffect, match="every copy is as its original"):
            augmented(given, how, model=model)


def test_a_vocabulary_without_whole_words_is_refused(model: PreTrainedModel) -> None:
    model.tokenizer = tiny_tokenizer(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##a", "!"))
    with pytest.raises(InputError, match="0 of the tokenizer's 8 pieces are whole words"):
        augmented(split("aa"), Augment(), model=model)


def test_a_recipe_gives_the_rules_as_a_mapping() -> None:
    read = TypeAdapter(AugmentOptions).validate_json
    given = read('{"kind": "masking", "copies": 10, "mask": 0.2}')
    assert Augment(**given) == Augment("masking", copies=10, mask=0.2)
    for wrong in ('{"copies": "3"}', '{"copy": 3}', '{"window": 2}'):
        with pytest.raises(ValidationError):
            read(wrong)


def test_the_values_of_the_papers_are_taken() -> None:
    assert [Augment().value(name) for name in ("probability", "mask", "window")] == [0.4, 0, 0]
    names = ("probability", "mask", "window", "window_words")
    assert [Augment("masking").value(name) for name in names] == [0.1, 0.1, 0.25, 5]
    assert (Augment().copies, Augment().candidates) == (20, 15)
