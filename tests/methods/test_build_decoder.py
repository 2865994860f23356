"""A decoder for an encoder: new, or begun as the encoder's own layers; with a vocabulary of its own, or the encoder's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import compress as cp
from compress.errors import InputError
from compress.models.encoder_decoder import search_with
from compress.models.layout import decoder_layers, encoder_layers
from compress.runtimes.writing import Search
from compress.training.step_context import StepContext
from tests.methods.ranges import forbid_forward_passes
from tests.tiny_models import differences, state_of, tiny_bert, tiny_for, toy_task
from tests.written_texts import tiny_writer, writing_task


def built(model: Any = None, **arguments: Any) -> Any:
    task = writing_task()
    return cp.build_decoder(tiny_for(task) if model is None else model, task=task, **arguments)


def test_the_model_that_comes_in_stays_and_shares_nothing() -> None:
    model = tiny_for(writing_task())
    before = state_of(model)
    made = built(model, layers=1, vocabulary=270)
    assert not differences(before, state_of(model))
    assert not {tensor.data_ptr() for tensor in model.parameters()} & {tensor.data_ptr() for tensor in made.parameters()}
    assert not hasattr(model.tokenizer, "writer")
    assert made.has_new_head
    assert torch.equal(
        made.bert.state_dict()["embeddings.word_embeddings.weight"], model.bert.embeddings.word_embeddings.weight
    )


def test_the_same_seed_gives_the_same_decoder_and_another_another() -> None:
    first, second, third = (built(layers=1, run=StepContext(seed=seed)) for seed in (3, 3, 4))
    assert not differences(state_of(first), state_of(second))
    assert differences(state_of(first), state_of(third))


def test_sizes_and_the_search_are_those_that_are_asked_for() -> None:
    made = built(layers=3, vocabulary=280, max_length=30, beams=4, length_penalty=0.6)
    config = made.config.decoder
    assert (config.num_hidden_layers, config.vocab_size, config.max_position_embeddings) == (3, 280, 30)
    assert search_with(made) == Search(1, 2, 0, 30, 4, 0.6)
    assert made.tokenizer.writer.model_max_length == 30
    assert search_with(cp.build_decoder(made, task=writing_task(), layers=1)).beams == 1


def test_a_vocabulary_that_is_learned_knows_every_text_and_gives_it_back() -> None:
    writer = built(vocabulary=290).tokenizer.writer
    assert len(writer) == 290
    for text in ("Der Film war sehr gut.", "Ünïcödé   with  spaces, 漢字 and \t tabs"):
        ids = writer(text, add_special_tokens=False)["input_ids"]
        assert writer.backend_tokenizer.decode(ids) == text
    assert len(writer("Film war", add_special_tokens=False)["input_ids"]) < len("Film war")
    assert writer.unk_token_id is None


def test_without_one_the_decoder_has_the_encoder_s_words() -> None:
    model = tiny_for(writing_task())
    made = built(model)
    assert made.config.decoder.vocab_size == model.config.vocab_size
    assert made.tokenizer.writer.get_vocab() == model.tokenizer.get_vocab()
    assert made.tokenizer.writer is not made.tokenizer


def test_layers_begin_as_evenly_spread_ones_of_the_encoder() -> None:
    model = tiny_for(writing_task())
    for index, layer in enumerate(encoder_layers(model)):
        torch.nn.init.constant_(layer.intermediate.dense.weight, index + 1.0)
    made = built(model, layers=2, start="encoder", max_length=12)
    for old, new in zip(encoder_layers(model), decoder_layers(made), strict=True):
        for name, tensor in old.state_dict().items():
            assert torch.equal(new.state_dict()[name], tensor)
        assert new.crossattention.self.query.weight.std() < 0.4  # new, of initializer_range
    read, write = model.bert.embeddings, made.decoder.bert.embeddings
    assert torch.equal(write.position_embeddings.weight, read.position_embeddings.weight[:12])
    assert torch.equal(write.word_embeddings.weight, read.word_embeddings.weight)
    assert made.decoder.cls.predictions.decoder.weight is write.word_embeddings.weight
    shallow = built(model, layers=1, start="encoder", vocabulary=270, max_length=12)
    assert torch.equal(
        decoder_layers(shallow)[0].intermediate.dense.weight, encoder_layers(model)[0].intermediate.dense.weight
    )
    assert len(shallow.decoder.bert.embeddings.word_embeddings.weight) == 270


def test_a_result_is_saved_and_answers_the_same(tmp_path: Path) -> None:
    made = built(layers=1, start="encoder", vocabulary=270, max_length=12)
    assert not differences(state_of(made), state_of(cp.load(cp.save(made, tmp_path / "saved"))))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"layers": 3, "start": "encoder", "max_length": 12}, "layers is 3, but the encoder, which start takes, has 2"),
        ({"start": "encoder", "max_length": 25}, "max_length is 25, but the encoder, which start takes, has 24 positions"),
    ],
)
def test_what_the_encoder_does_not_have_is_not_taken(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        built(**arguments)


def test_an_encoder_that_was_changed_gives_no_layers() -> None:
    task = writing_task()
    pruned = cp.prune_ffn(tiny_writer(), task=task, fraction=0.5, multiple_of=4, run=StepContext(device="cpu"))
    with pytest.raises(InputError, match="start is encoder, but its layers have lost heads or neurons"):
        cp.build_decoder(pruned, task=task, start="encoder", max_length=12)
    shared = cp.share_layers(tiny_writer(), task=task, group=2)
    with pytest.raises(
        InputError, match="start is encoder, but layers of the model share their weights; build a decoder before"
    ):
        cp.build_decoder(shared, task=task, start="encoder", max_length=12)


def test_other_tasks_and_other_models_are_refused() -> None:
    with pytest.raises(InputError, match="a task of text-classification writes no texts; remove the step"):
        cp.build_decoder(tiny_bert(), task=toy_task())
    with pytest.raises(InputError, match="has a head for SequenceClassification, but the task needs one for Seq2SeqLM"):
        cp.build_decoder(tiny_bert(), task=writing_task())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layers", 0),
        ("layers", 65),
        ("vocabulary", 258),
        ("vocabulary", 1 << 18),
        ("max_length", 3),
        ("beams", 0),
        ("beams", 65),
        ("start", "middle"),
        ("length_penalty", 11.0),
        ("width", 8),
    ],
)
def test_values_out_of_range_are_refused_before_anything_runs(name: str, value: Any) -> None:
    model = forbid_forward_passes(tiny_for(writing_task()))
    with pytest.raises(InputError, match=name):
        cp.build_decoder(model, task=writing_task(), **{name: value})
