"""What is done to the one output of a model that ranks passages, as the folders of such models state it.

sentence-transformers' CrossEncoder applies what config.json or config_sentence_transformers.json names, and a sigmoid where
neither does. The order of the passages is the same either way.
"""

from __future__ import annotations

from transformers import PretrainedConfig

STATED, ACTIVATION = "sentence_transformers", "activation_fn"
IDENTITY, SIGMOID = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Sigmoid"


def activation_of(config: PretrainedConfig) -> str | None:
    """Tell which activation a loaded model states; None where it states none."""
    stated = getattr(config, STATED, None)
    return stated.get(ACTIVATION) if isinstance(stated, dict) else None


def state_activation(config: PretrainedConfig, activation: str) -> None:
    """Let a configuration state an activation."""
    setattr(config, STATED, {ACTIVATION: activation})
