"""A BERT that reads a text and a BERT that writes one, with attention to what was read.

The encoder's configuration is the model's, so that whatever looks at layers, widths or positions finds the encoder's; it has
two entries more: `decoder`, the decoder's configuration, and `search`, how texts are written. Folders are those of
transformers' EncoderDecoderModel, see `compress.models.checkpoint.pair`.

Source: Vaswani et al. 2017, arXiv 1706.03762 (a decoder with attention to an encoder); Rothe et al. 2020, arXiv 1907.12461,
section 2 (BERT's layers as a decoder: a mask on what comes later, attention to the encoder added).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertLMHeadModel, BertModel, PreTrainedModel
from transformers.modeling_outputs import Seq2SeqLMOutput
from transformers.models.bert.modeling_bert import BertPreTrainedModel

from compress.models.attention.kernel import hiding
from compress.models.layout import attention_of, decoder_layers, head_count, head_size
from compress.models.writer_tokenizer import ends_of, writer_of
from compress.runtimes.graph_files import PAST
from compress.runtimes.writer_files import CROSS, MASK
from compress.runtimes.writing import Batch, Search, State

LAYERS = 2
"""Of a decoder that nobody asked for."""


def decoder_config(config: BertConfig, **changes: Any) -> BertConfig:
    """The configuration of a decoder as wide as an encoder, with its vocabulary, and of few layers, but for changes."""
    values = {
        "is_decoder": True,
        "add_cross_attention": True,
        "num_hidden_layers": min(LAYERS, config.num_hidden_layers),
        "tie_word_embeddings": True,
        "use_cache": True,
        **changes,
    }
    decoder = copy.deepcopy(config)
    for name in ("decoder", "search"):
        vars(decoder).pop(name, None)
    for name, value in values.items():
        setattr(decoder, name, value)
    decoder._attn_implementation = config._attn_implementation
    return decoder


class BertForSeq2SeqLM(BertPreTrainedModel):
    """A BERT without a pooler, and a decoder for it: a new one where the configuration tells none.

    `tokenizer.writer` is the tokenizer of what is written, where that is not what is read with.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        if getattr(config, "decoder", None) is None:
            config.decoder = decoder_config(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.decoder = BertLMHeadModel(config.decoder)
        self.post_init()

    @property
    def search(self) -> Search:
        """How texts are written; where nothing tells, greedily, and as long as there are positions."""
        known = getattr(self.config, "search", None)
        if known is not None:
            return Search(**known)
        return Search(*ends_of(writer_of(self.tokenizer)), longest=self.config.decoder.max_position_embeddings)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
    ) -> Seq2SeqLMOutput:
        """Score the tokens that follow those of the texts that are given, (batch, tokens, vocabulary); read alone without."""
        read = self.bert(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).last_hidden_state
        if decoder_input_ids is None:
            return Seq2SeqLMOutput(encoder_last_hidden_state=read)
        logits = self.decoder(
            decoder_input_ids,
            attention_mask=decoder_attention_mask,
            encoder_hidden_states=read,
            encoder_attention_mask=attention_mask,
            use_cache=False,
        ).logits
        return Seq2SeqLMOutput(logits=logits, encoder_last_hidden_state=read)


def set_search(model: PreTrainedModel, search: Search) -> None:
    """Let a model write so from now on."""
    model.config.search = asdict(search)


def search_with(model: PreTrainedModel, beams: int | None = None) -> Search:
    """How a model writes, with another number of beams if one is given."""
    search: Search = model.search
    return search if beams is None else replace(search, beams=beams)


def attending(model: PreTrainedModel) -> Iterator[tuple[int, Any]]:
    """The layers of the decoder whose self-attention has heads, which remember what was written, each with its number."""
    return ((number, layer) for number, layer in enumerate(decoder_layers(model)) if head_count(layer))


def cross_names(model: PreTrainedModel) -> list[str]:
    """What the keys and values of what was read are called, in order."""
    return [f"{CROSS}{number}.{end}" for number in range(len(decoder_layers(model))) for end in ("key", "value")]


def past_names(model: PreTrainedModel, begin: str = PAST) -> list[str]:
    """What those of what was written are called, in order."""
    return [f"{begin}{number}.{end}" for number, _ in attending(model) for end in ("key", "value")]


def read(model: Any, **inputs: torch.Tensor) -> list[torch.Tensor]:
    """Read texts: for each layer of the decoder the keys and values that it attends to, (batch, heads, length, head size)."""
    states = model.bert(**inputs).last_hidden_state
    modules: list[Any] = [layer.crossattention.self for layer in decoder_layers(model)]
    return [_in_heads(part(states), own.attention_head_size) for own in modules for part in (own.key, own.value)]


def step(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, cross: list[torch.Tensor], past: list[torch.Tensor]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Score what follows the next tokens of each text, and remember them.

    Args:
        model: In evaluation mode.
        ids: (batch, tokens).
        mask: Of the texts that were read, (batch, length).
        cross: What `read` gave.
        past: Keys and values of the tokens before, (batch, heads, tokens before, head size), as `past_names` calls them.

    Returns:
        (batch, tokens, vocabulary), and the keys and values with these tokens.
    """
    decoder, remembered, present = model.decoder.bert, iter(past), list[torch.Tensor]()
    before = past[0].shape[2] if past else 0
    places = before + torch.arange(ids.shape[1], device=ids.device)
    states = decoder.embeddings(ids, token_type_ids=torch.zeros_like(ids), position_ids=places[None])
    earlier = hiding(torch.arange(before + ids.shape[1], device=ids.device) <= places[:, None], states.dtype)
    seen = hiding(mask.bool()[:, None, None], states.dtype)
    for number, layer in enumerate(decoder_layers(model)):
        own, other = attention_of(layer), layer.crossattention
        context = states[..., :0]
        if head_count(layer):
            size = head_size(layer)
            query, key, value = (_in_heads(part(states), size) for part in (own.query, own.key, own.value))
            key, value = torch.cat([next(remembered), key], 2), torch.cat([next(remembered), value], 2)
            present += [key, value]
            context = _attended(query, key, value, earlier, own.scaling)
        states = layer.attention.output(context, states)
        query = _in_heads(other.self.query(states), other.self.attention_head_size)
        context = _attended(query, cross[2 * number], cross[2 * number + 1], seen, other.self.scaling)
        states = layer.feed_forward_chunk(other.output(context, states))
    return model.decoder.cls(states), present


def _in_heads(values: torch.Tensor, size: int) -> torch.Tensor:
    """(batch, length, width) to (batch, heads, length, head size)."""
    return values.view(*values.shape[:2], -1, size).transpose(1, 2)


def _attended(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, allowed: torch.Tensor, scaling: float
) -> torch.Tensor:
    scores = query @ key.transpose(2, 3) * scaling + allowed
    return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)


class TorchWriter:
    """A torch model that writes; see `compress.runtimes.writing.Writer`. Entered, it computes without gradients."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.cross, self.past = cross_names(model), past_names(model)
        self.empty = [(head_count(layer), head_size(layer)) for _, layer in attending(model) for _ in ("key", "value")]

    def read(self, batch: Batch) -> State:
        """Read texts."""
        device = self.model.device
        inputs = {name: torch.as_tensor(values).to(device) for name, values in batch.items() if not name.startswith("decoder")}
        with torch.inference_mode():
            cross = read(self.model, **inputs)
        count = len(inputs[MASK])
        past = [cross[0].new_zeros((count, heads, 0, size)) for heads, size in self.empty]
        return {MASK: inputs[MASK], **dict(zip(self.cross + self.past, cross + past, strict=True))}

    def step(self, ids: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Score what follows the next tokens."""
        cross, past = ([state[name] for name in names] for names in (self.cross, self.past))
        with torch.inference_mode():
            logits, present = step(self.model, torch.as_tensor(ids).to(self.model.device), state[MASK], cross, past)
        return logits.float().cpu().numpy(), {**state, **dict(zip(self.past, present, strict=True))}
