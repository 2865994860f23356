"""MPNet's encoder, with attention that transformers' kernels compute, and heads that can be cut.

In transformers it adds its bias of relative positions inside of each layer, to scores that no kernel computes. Here the
encoder adds the bias to the mask, which every kernel adds to the scores. The bias has a column for each head, and layers share
it; a layer that lost heads has a table of its own, of the columns that stayed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder, MPNetLayer, MPNetSelfAttention

from compress.models.attention.kernel import attended, by_head, hiding, take_over
from compress.models.families.family import HEAD_TABLE


class RelativeAttention(MPNetSelfAttention):
    """MPNet's attention, which is told the bias with the mask.

    Args:
        plain: The module as it is in transformers, whose parts this one takes over.
        config: The model's, which tells the kernel.
    """

    def __init__(self, plain: MPNetSelfAttention, config: Any) -> None:
        take_over(self, plain)
        self.config, self.is_causal = config, False
        self.scaling = self.attention_head_size**-0.5

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, None]:
        query, key, value = (by_head(part(hidden_states), self.attention_head_size) for part in (self.q, self.k, self.v))
        return self.o(attended(self, query, key, value, attention_mask, scaling=self.scaling)), None


class RelativeLayer(MPNetLayer):
    """MPNet's layer, which answers a tensor, as those of other families do.

    Args:
        plain: See RelativeAttention.
        config: See RelativeAttention.
    """

    def __init__(self, plain: MPNetLayer, config: Any) -> None:
        take_over(self, plain)
        self.attention.attn = RelativeAttention(self.attention.attn, config)

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any) -> torch.Tensor:
        return self.behind_attention(self.attention.attn(hidden_states, attention_mask)[0], hidden_states)

    def behind_attention(self, answer: torch.Tensor, hidden_states: torch.Tensor) -> torch.Tensor:
        """What the layer makes of the attention's answer and of its own input."""
        attended = self.attention.LayerNorm(self.attention.dropout(answer) + hidden_states)
        output: torch.Tensor = self.output(self.intermediate(attended), attended)
        return output


class RelativeEncoder(MPNetEncoder):
    """MPNet's encoder, which adds the bias to the mask.

    Args:
        plain: See RelativeAttention.
        config: See RelativeAttention.
    """

    def __init__(self, plain: MPNetEncoder, config: Any) -> None:
        take_over(self, plain)
        self.layer = nn.ModuleList([RelativeLayer(layer, config) for layer in plain.layer])

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool = False,
        **_: Any,
    ) -> BaseModelOutput:
        places = torch.arange(hidden_states.shape[1], device=hidden_states.device)
        buckets = self.relative_position_bucket(places[None, :] - places[:, None])
        mask = attention_mask
        if mask is not None and mask.dtype == torch.bool:
            mask = hiding(mask, hidden_states.dtype)
        common = _biased(mask, self.relative_attention_bias, buckets)
        states = [hidden_states]
        layers: Any = self.layer
        for layer in layers:
            own = getattr(layer.attention.attn, HEAD_TABLE, None)
            states.append(layer(states[-1], common if own is None else _biased(mask, own, buckets)))
        return BaseModelOutput(last_hidden_state=states[-1], hidden_states=tuple(states) if output_hidden_states else None)


def _biased(mask: torch.Tensor | None, table: Any, buckets: torch.Tensor) -> torch.Tensor:
    """What is added to scores, (batch or 1, heads, length, length)."""
    bias: torch.Tensor = table(buckets).permute(2, 0, 1)[None]
    return bias if mask is None else mask + bias
