"""A student that reads a sentence in both directions with a recurrent layer or several, and a small head."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from compress.models.embedder import OfFeatures
from compress.models.layer_mix import LayerMix
from compress.models.sentence_features import feature_count, part_masks, sentence_features

MOST_LAYERS = 32
ONNX_GATES = (0, 3, 1, 2)  # torch's order is input, forget, cell, output; ONNX's input, output, forget, cell


class BilstmConfig(PreTrainedConfig):
    """The sizes of a BiLSTM student.

    Attributes:
        embedding_size: Width of a piece's vector.
        lstm_size: Width of the state, in each direction.
        lstm_layers: Recurrent layers; each but the first adds its states to those of the one below.
        mixes: Whether the head reads a learned mix of the vectors and of all layers' states, and not the last layer's.
        head_size: Width of the layer between the states and the labels.
        embedding_dropout: Of the vectors, in training.
        head_dropout: Of the states, in training.
        token_dropout: Fraction of the pieces whose vector is 0 in a training step.
        pairs: Whether an example is two sentences, read apart.
        max_position_embeddings: Longest text in tokens.
        embedder: What becomes of the first layer's answer where that is a vector; see `compress.models.embedder`.
    """

    model_type = "bilstm"

    vocab_size: int = 30522
    embedding_size: int = 256
    lstm_size: int = 150
    lstm_layers: int = 1
    mixes: bool = False
    head_size: int = 200
    embedding_dropout: float = 0.1
    head_dropout: float = 0.1
    token_dropout: float = 0.0
    pairs: bool = False
    max_position_embeddings: int = 512
    pad_token_id: int | None = 0
    embedder: dict[str, Any] | None = None


class BothDirections(nn.Module):
    """One LSTM that reads from the left and one from the right, padding left out without packing."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(width, size, batch_first=True)
        self.backwards = nn.LSTM(width, size, batch_first=True)

    def forward(self, values: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The states after each token, the last ones, (batch, length, 2 * size) and (batch, 2 * size).

        Args:
            values: (batch, length, width).
            lengths: Tokens of each row before its padding, at least 1, (batch,).
        """
        places = torch.arange(values.shape[1], device=values.device)
        turned = (lengths[:, None] - 1 - places).clamp(min=0)  # (batch, length), each row's own end first
        last = (lengths - 1)[:, None, None]
        states = []
        for lstm, order in ((self.forwards, None), (self.backwards, turned)):
            outputs, _ = lstm(values if order is None else _picked(values, order))
            ends = outputs.gather(1, last.expand(-1, 1, outputs.shape[2]))[:, 0]
            states.append((outputs if order is None else _picked(outputs, order), ends))
        (left, left_end), (right, right_end) = states
        return torch.cat([left, right], -1), torch.cat([left_end, right_end], -1)


def ends_of(states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The left half of the last token's state and the right half of the first one's, (batch, 2 * size)."""
    size = states.shape[2] // 2
    last = states.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, states.shape[2]))[:, 0]
    return torch.cat([last[:, :size], states[:, 0, size:]], -1)


def wrong_sizes(config: Any) -> str | None:
    """What is wrong with the sizes of a configuration, as the end of a message; None where nothing is."""
    if config.lstm_layers > MOST_LAYERS:
        return f"a BiLSTM of {config.lstm_layers} layers is more than the {MOST_LAYERS} that can learn"
    if config.mixes and config.embedding_size not in (config.lstm_size, 2 * config.lstm_size):
        return (
            f"the vectors are {config.embedding_size} wide and the states {config.lstm_size} in each direction, and a mix of "
            f"both needs vectors of {config.lstm_size} or {2 * config.lstm_size} numbers"
        )
    return None


def _picked(values: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    return values.gather(1, order[:, :, None].expand(-1, -1, values.shape[2]))


class OnnxLstm(nn.Module):
    """The same as one LSTM operator of ONNX, which is told the rows' lengths; for the exporter alone."""

    def __init__(self, plain: BothDirections) -> None:
        super().__init__()
        self.size = plain.forwards.hidden_size
        lstms: list[Any] = [plain.forwards, plain.backwards]
        self.inputs = nn.Parameter(torch.stack([self._ordered(lstm.weight_ih_l0) for lstm in lstms]))
        self.recurrent = nn.Parameter(torch.stack([self._ordered(lstm.weight_hh_l0) for lstm in lstms]))
        biases = [torch.cat([self._ordered(lstm.bias_ih_l0), self._ordered(lstm.bias_hh_l0)]) for lstm in lstms]
        self.bias = nn.Parameter(torch.stack(biases))

    def _ordered(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.cat([tensor.detach().chunk(4)[gate] for gate in ONNX_GATES])

    def forward(self, values: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        batch, length = values.shape[:2]
        states, ends = torch.onnx.ops.symbolic_multi_out(
            "LSTM",
            [values.transpose(0, 1), self.inputs, self.recurrent, self.bias, lengths.to(torch.int32)],
            {"direction": "bidirectional", "hidden_size": self.size},
            dtypes=(values.dtype, values.dtype),
            shapes=((length, 2, batch, self.size), (2, batch, self.size)),
        )
        return states.permute(2, 0, 1, 3).flatten(2), ends.transpose(0, 1).flatten(1)


class BilstmModel(PreTrainedModel):
    """Vectors of pieces, an LSTM in each direction, their last states and the largest over the sentence, and a layer.

    Source: Tang et al. 2019, "Distilling task-specific knowledge from BERT into simple neural networks", arXiv 1903.12136,
    section 3.1; Peters et al. 2018, ELMo, arXiv 1802.05365, section 3 (several layers, the sum of each and the one below, and
    their mix; vectors half as wide as a state count twice).
    Differs: the vectors are the teacher's, for its own pieces; the head reads the maximum over the tokens besides.
    """

    config: BilstmConfig
    config_class = BilstmConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    _supports_sdpa = True  # there is no attention, so that any kernel of it will do

    def __init__(self, config: BilstmConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.lstm: nn.Module = BothDirections(config.embedding_size, config.lstm_size)
        if config.lstm_layers > 1:
            uppers = (BothDirections(2 * config.lstm_size, config.lstm_size) for _ in range(config.lstm_layers - 1))
            self.uppers = nn.ModuleList(uppers)
        if config.mixes:
            self.mix = LayerMix(config.lstm_layers)
        self.dropout = nn.Dropout(config.head_dropout)
        self.dense = nn.Linear(feature_count(4 * config.lstm_size, pairs=config.pairs), config.head_size)
        self.state_width = config.head_size

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings

    def set_input_embeddings(self, value: Any) -> None:
        self.embeddings = value

    def _init_weights(self, module: nn.Module) -> None:
        """As torch's own layers begin."""
        if isinstance(module, nn.Linear | nn.Embedding | nn.LSTM):
            module.reset_parameters()

    @torch.no_grad()
    def begin_with(self, vectors: torch.Tensor) -> None:
        """Set the vectors of pieces, scaled to a mean square of 1 / 4."""
        self.embeddings.weight.copy_(vectors / vectors.square().mean().sqrt() / 2)

    def features(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What the layer says of a batch padded on the right, (batch, length) each."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        values = self.embedding_dropout(self.embeddings(input_ids))
        if self.training and self.config.token_dropout:
            seen = torch.rand(mask.shape, device=mask.device) >= self.config.token_dropout
            values = values * seen[:, :, None]
        lengths = part_masks(mask, token_type_ids, pairs=self.config.pairs).sum(-1)  # (batch, sentences)
        if not self.config.pairs:
            states = self._state(values, lengths[:, 0])[:, None]
        else:
            behind = lengths[:, :1] + torch.arange(mask.shape[1], device=mask.device)  # places of the second sentence's tokens
            both = torch.cat([values, _picked(values, behind.clamp(max=mask.shape[1] - 1))])
            states = self._state(both, lengths.T.flatten()).view(2, values.shape[0], -1).transpose(0, 1)
        answer: torch.Tensor = self.dense(self.dropout(sentence_features(states)))
        return answer

    def _state(self, values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """What is known of each row, (rows, 4 * lstm_size); 0 of a row without tokens."""
        lengths, some = lengths.clamp(min=1), (lengths > 0)[:, None]
        states, ends = self.lstm(values, lengths)
        if self.config.lstm_layers > 1 or self.config.mixes:
            states = self._deeper(values, states, lengths)
            ends = ends_of(states, lengths)
        outside = torch.arange(values.shape[1], device=values.device) >= lengths[:, None]
        largest = states.masked_fill(outside[:, :, None], torch.finfo(states.dtype).min).amax(1)
        return torch.cat([ends, largest], -1) * some

    def _deeper(self, values: torch.Tensor, states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """What the layers above the first make of its states, (rows, length, 2 * lstm_size)."""
        layers = [values if values.shape[2] == states.shape[2] else torch.cat([values, values], -1), states]
        for upper in self.uppers if self.config.lstm_layers > 1 else ():
            states = states + upper(self.embedding_dropout(states), lengths)[0]
            layers.append(states)
        return self.mix.mixed(layers) if self.config.mixes else states


class BilstmForSequenceClassification(BilstmModel):
    """States of a sentence, and two layers."""

    def __init__(self, config: BilstmConfig) -> None:
        super().__init__(config)
        self.classifier = nn.Linear(config.head_size, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Answer a batch padded on the right, (batch, length) each."""
        features = self.features(input_ids, attention_mask, token_type_ids)
        return SequenceClassifierOutput(logits=self.classifier(torch.relu(features)))


class BilstmForSentenceEmbedding(OfFeatures, BilstmModel):
    """States of a sentence and a layer, whose answer is the vector, projected where the configuration says so."""


@contextlib.contextmanager
def lstm_as_node(model: PreTrainedModel) -> Iterator[None]:
    """Let each layer of a BiLSTM be exported as one operator; other models stay as they are."""
    plain = getattr(model, "lstm", None)
    if not isinstance(plain, BothDirections):
        yield
        return
    uppers: Any = getattr(model, "uppers", ())
    plains = list(uppers)
    model.lstm = OnnxLstm(plain)
    for place, upper in enumerate(plains):
        uppers[place] = OnnxLstm(upper)
    try:
        yield
    finally:
        model.lstm = plain
        for place, upper in enumerate(plains):
            uppers[place] = upper
