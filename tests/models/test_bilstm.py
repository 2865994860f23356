"""A student that reads in both directions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from compress.models.bilstm import BilstmConfig, BilstmForSequenceClassification, BothDirections
from tests.tiny_models import PIECES, logits_of, tokens

LENGTHS = torch.tensor([7, 3, 1, 5])


def student(**changes: object) -> BilstmForSequenceClassification:
    """A random one of a few hundred weights."""
    values = {"vocab_size": len(PIECES), "embedding_size": 6, "lstm_size": 4, "head_size": 5}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return BilstmForSequenceClassification(BilstmConfig(**{**values, **changes})).eval()


def packed_twin(ours: BothDirections) -> nn.LSTM:
    """torch's own bidirectional LSTM with the same weights."""
    twin = nn.LSTM(ours.forwards.input_size, 4, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for lstm, end in ((ours.forwards, ""), (ours.backwards, "_reverse")):
            for name, parameter in lstm.named_parameters():
                getattr(twin, f"{name}{end}").copy_(parameter)
    return twin


def test_states_equal_those_of_torchs_lstm_over_packed_sequences() -> None:
    ours = student().lstm
    assert isinstance(ours, BothDirections)
    values = torch.randn(4, 7, 6, generator=torch.Generator().manual_seed(1))
    packed = nn.utils.rnn.pack_padded_sequence(values, LENGTHS, batch_first=True, enforce_sorted=False)
    expected, (ends, _) = packed_twin(ours)(packed)
    expected, _ = nn.utils.rnn.pad_packed_sequence(expected, batch_first=True)
    states, found_ends = ours(values, LENGTHS)
    torch.testing.assert_close(found_ends, ends.transpose(0, 1).flatten(1), rtol=1e-5, atol=1e-6)
    for row, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(states[row, :length], expected[row, :length], rtol=1e-5, atol=1e-6)


def test_the_answer_is_the_heads_to_last_and_largest_states() -> None:
    model, batch = student(), tokens()
    logits, lstm = logits_of(model, **batch), packed_twin(model.lstm)
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        with torch.no_grad():
            states, (ends, _) = lstm(model.embeddings(batch["input_ids"][row : row + 1, :length]))
            features = torch.cat([ends[0], ends[1], states.amax(1)], 1)
            expected = model.classifier(torch.relu(model.dense(features)))[0]
        torch.testing.assert_close(logits[row], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pairs", [False, True])
def test_neighbours_in_the_batch_and_padding_do_not_change_an_answer(pairs: bool) -> None:
    model, batch = student(pairs=pairs), tokens()
    batch["token_type_ids"] = (torch.arange(9) >= 3).long() * batch["attention_mask"]  # one row has no second sentence
    together = logits_of(model, **batch)
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        single = {name: values[row : row + 1, :length] for name, values in batch.items()}
        torch.testing.assert_close(logits_of(model, **single)[0], together[row], rtol=1e-5, atol=1e-6)


def test_two_sentences_are_read_apart() -> None:
    model, single = student(pairs=True), student()
    single.load_state_dict({name: tensor for name, tensor in model.state_dict().items() if "dense" not in name}, strict=False)
    seen: list[torch.Tensor] = []
    for network in (model, single):
        network.dense.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    ids, types = torch.tensor([[2, 7, 9, 3, 8, 6, 3]]), torch.tensor([[0, 0, 0, 0, 1, 1, 1]])
    logits_of(model, input_ids=ids, attention_mask=torch.ones_like(ids), token_type_ids=types)
    for part in (ids[:, :4], ids[:, 4:]):
        logits_of(single, input_ids=part, attention_mask=torch.ones_like(part))
    both, first, second = seen
    torch.testing.assert_close(both, torch.cat([first, second, first * second, (first - second).abs()], 1))


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="an LSTM in bfloat16 needs AVX-512")
def test_every_weight_learns_in_bfloat16() -> None:
    model = student().train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(**tokens()).logits
    torch.nn.functional.cross_entropy(logits.float(), torch.tensor([0, 1, 1, 0])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.any(), name


def test_it_begins_with_the_vectors_given() -> None:
    model, vectors = student(), torch.randn(len(PIECES), 6, generator=torch.Generator().manual_seed(2)) * 9
    model.begin_with(vectors)
    assert model.embeddings.weight.square().mean().item() == pytest.approx(0.25, rel=1e-5)
    torch.testing.assert_close(model.embeddings.weight / model.embeddings.weight[0, 0], vectors / vectors[0, 0])


def test_it_loads_with_its_own_class_alone(tmp_path: Path) -> None:
    model = student()
    model.save_pretrained(tmp_path)
    again = BilstmForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(logits_of(again.eval()), logits_of(model), rtol=0, atol=0)


def elmo(**changes: object) -> BilstmForSequenceClassification:
    """Two layers, mixed with vectors that are half as wide as a state."""
    model = student(**{"lstm_layers": 2, "mixes": True, "embedding_size": 4, **changes})
    with torch.no_grad():
        model.mix.weights.copy_(torch.tensor([0.5, -0.25, 1.0]))
        model.mix.scale.fill_(1.5)
    return model


def test_two_layers_add_up_and_mix_as_elmo_has_it() -> None:
    model, batch = elmo(), tokens()
    logits = logits_of(model, **batch)
    twins = [packed_twin(layer) for layer in (model.lstm, model.uppers[0])]
    shares = torch.softmax(torch.tensor([0.5, -0.25, 1.0]), 0)
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        with torch.no_grad():
            vectors = model.embeddings(batch["input_ids"][row : row + 1, :length])
            first, _ = twins[0](vectors)
            second = first + twins[1](first)[0]
            mixed = 1.5 * (shares[0] * torch.cat([vectors, vectors], 2) + shares[1] * first + shares[2] * second)
            features = torch.cat([mixed[:, -1, :4], mixed[:, 0, 4:], mixed.amax(1)], 1)
            expected = model.classifier(torch.relu(model.dense(features)))[0]
        torch.testing.assert_close(logits[row], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pairs", [False, True])
def test_padding_does_not_reach_deeper_layers(pairs: bool) -> None:
    model, batch = elmo(pairs=pairs, embedding_size=8), tokens()
    together = logits_of(model, **batch)
    for row, length in enumerate(batch["attention_mask"].sum(1).tolist()):
        single = {name: values[row : row + 1, :length] for name, values in batch.items()}
        torch.testing.assert_close(logits_of(model, **single)[0], together[row], rtol=1e-5, atol=1e-6)


def test_layers_without_a_mix_answer_with_the_last_one() -> None:
    mixed, plain = elmo(), student(lstm_layers=2, embedding_size=4)
    plain.load_state_dict({name: tensor for name, tensor in mixed.state_dict().items() if "mix" not in name})
    with torch.no_grad():
        mixed.mix.weights.copy_(torch.tensor([-200.0, -200.0, 0.0]))
        mixed.mix.scale.fill_(1.0)
    torch.testing.assert_close(logits_of(plain), logits_of(mixed))
