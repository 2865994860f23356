"""Make what the tests work on: a random BERT of a few thousand weights with its tokenizer, and a task of a few sentences."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification, BertTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from compress.models.families import KNOWN, encoders, fitted_tokenizer, known_family
from compress.models.fused import new_model, unparted
from compress.models.head import SINGLE_LABEL_HEAD
from compress.models.heads import set_names
from compress.tasks.labelled import Task
from compress.tasks.split import Role, Split

WORDS = ("a", "the", "film", "plot", "very", "and", "was", "it", "good", "fine", "bad", "dull")
PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)
LABELS = ("bad", "good")
LONGEST = 24


def tiny_tokenizer(words: tuple[str, ...] = PIECES) -> Any:
    """A tokenizer of whole words."""
    return BertTokenizer(vocab={piece: index for index, piece in enumerate(words)}, model_max_length=LONGEST)


def tiny_bert(*, seed: int = 3, layers: int = 2, labels: tuple[str, ...] = LABELS, **changes: Any) -> PreTrainedModel:
    """A random BERT classifier in evaluation mode.

    Its weights are larger than those of a new model, and its biases are not 0, so that every one of them shows in the answers.

    Args:
        seed: For the weights.
        layers: Of the encoder.
        labels: Label names.
        changes: Other values of the configuration.
    """
    values = {
        "vocab_size": len(PIECES),
        "hidden_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 24,
        "max_position_embeddings": LONGEST,
        "initializer_range": 0.25,
        "id2label": dict(enumerate(labels)),
        "label2id": {name: index for index, name in enumerate(labels)},
    }
    config = BertConfig(**{**values, **changes})
    config._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias") or "LayerNorm" in name:
                    parameter.add_(torch.randn_like(parameter) * 0.2)
    model.tokenizer, model.label, model.has_new_head = tiny_tokenizer(), "tiny", False
    return model.eval()


def tiny_for(task: Task, *, seed: int = 3, width: int = 16) -> PreTrainedModel:
    """A random BERT with the head that a task of any kind needs, in evaluation mode."""
    config = BertConfig(
        vocab_size=len(PIECES),
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=24,
        max_position_embeddings=LONGEST,
        initializer_range=0.25,
    )
    set_names(config, task.labels, task.rules.head)
    config._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = KNOWN["bert"].classes[task.rules.head.architecture](config)
    model.tokenizer, model.label, model.has_new_head = fitted_tokenizer(tiny_tokenizer(), config), "tiny", False
    return model.eval()


SPECIAL = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
SHAPES: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 24},
    "distilbert": {"dim": 16, "n_heads": 4, "hidden_dim": 24},
    "mobilebert": {
        "hidden_size": 16,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "embedding_size": 8,
        "intra_bottleneck_size": 8,
        "num_feedforward_networks": 2,
    },
    "albert": {"hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 24, "embedding_size": 8},
    "modernbert": {
        "hidden_size": 16,
        "num_attention_heads": 4,
        "intermediate_size": 24,
        "layer_types": ["full_attention", "sliding_attention"],
        "local_attention": 6,
        **SPECIAL,
        "cls_token_id": 2,
        "sep_token_id": 3,
    },
}
ALIKE = {"xlm-roberta": "roberta", "camembert": "roberta", "data2vec-text": "roberta"}
"""Families that differ from another one in their classes alone, as `test_families` shows."""
STRUCTURES = [kind for kind in encoders() if kind not in ALIKE]
"""The others: what each of them can, those like it can."""
SHAPES["roberta"] = {**SHAPES["bert"], "pad_token_id": 0, "max_position_embeddings": LONGEST + 1}
SHAPES["mpnet"] = {**SHAPES["bert"], "max_position_embeddings": LONGEST + 2}
SHAPES["deberta-v2"] = {
    **SHAPES["bert"],
    "relative_attention": True,
    "position_buckets": 8,
    "max_relative_positions": -1,
    "share_att_key": True,
    "position_biased_input": False,
    "norm_rel_ebd": "layer_norm",
    "pos_att_type": ["p2c", "c2p"],
}
SHAPES |= {"ernie": {**SHAPES["bert"], "use_task_id": True}, "megatron-bert": SHAPES["bert"], "nomic_bert": SHAPES["bert"]}
SHAPES["eurobert"] = {**SHAPES["bert"], **SPECIAL, "mask_token_id": 4, "tie_word_embeddings": True}
SHAPES["electra"] = {**SHAPES["bert"], "embedding_size": 8}
SHAPES |= {kind: SHAPES[like] for kind, like in ALIKE.items()}
"""The sizes of a tiny model of each family."""


WITH_TOKENIZER_FILE = ("modernbert", "roberta", "deberta-v2", "eurobert", *ALIKE)
"""Families whose class of tokenizers is not BERT's."""


def _tokenizer_of(kind: str) -> Any:
    """Of the class that transformers gives to a checkpoint of the family."""
    plain = tiny_tokenizer()
    if kind not in WITH_TOKENIZER_FILE:
        return plain
    named = {name: str(getattr(plain, name)) for name in ("unk_token", "sep_token", "pad_token", "cls_token", "mask_token")}
    return PreTrainedTokenizerFast(tokenizer_object=plain.backend_tokenizer, model_max_length=LONGEST, **named)


def tiny_of(kind: str, *, seed: int = 3, layers: int = 2, task: Task | None = None, **changes: Any) -> PreTrainedModel:
    """A random classifier of a family in evaluation mode, as `tiny_bert` is one of BERT.

    Args:
        kind: The family, which has an encoder.
        seed: For the weights.
        layers: That are executed.
        task: Tells labels and head, if not `LABELS` of sentences.
        changes: Other values of the configuration.
    """
    family, head = KNOWN[kind], task.rules.head if task else SINGLE_LABEL_HEAD
    values = {
        "vocab_size": len(PIECES),
        "num_hidden_layers": layers,
        "max_position_embeddings": LONGEST,
        "initializer_range": 0.25,
        "id2label": dict(enumerate(LABELS)),
        "label2id": {name: index for index, name in enumerate(LABELS)},
    }
    values |= SHAPES[kind]
    if "layer_types" in values:
        values["layer_types"] = [values["layer_types"][index % 2] for index in range(layers)]
    config = family.config(**{**values, **changes})
    if task:
        set_names(config, task.labels, head)
    config._attn_implementation = "sdpa"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = new_model(family.classes[head.architecture], config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias") or "norm" in name.lower():
                    parameter.add_(torch.randn_like(parameter) * 0.2)
    model.tokenizer, model.label, model.has_new_head = fitted_tokenizer(_tokenizer_of(kind), config), "tiny", False
    return model.eval()


def in_transformers(model: PreTrainedModel) -> PreTrainedModel:
    """The same model as transformers makes it, with eager attention."""
    config = type(model.config)(**model.config.to_dict())
    config._attn_implementation = "eager"
    plain = type(model)(config).eval()
    plain.load_state_dict(unparted(model.state_dict(), known_family(model)))
    return plain


def without_dropout(**changes: Any) -> dict[str, Any]:
    """The configuration values of a model whose training draws nothing at random."""
    return {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, **changes}


def tokens(seed: int = 5, lengths: tuple[int, ...] = (9, 4, 1, 7)) -> dict[str, torch.Tensor]:
    """A padded batch of random token ids, with two sentence types, one row for each length."""
    random = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    mask = (torch.arange(shape[1]) < torch.tensor(lengths)[:, None]).long()
    return {
        "input_ids": torch.randint(5, len(PIECES), shape, generator=random) * mask,
        "attention_mask": mask,
        "token_type_ids": torch.randint(0, 2, shape, generator=random) * mask,
    }


def sentences(role: Role, count: int, seed: int) -> Split:
    """Sentences of 2 to 12 words whose label is told by one word in them, labels in turn."""
    random = np.random.default_rng(seed)
    texts = []
    for index in range(count):
        words = [*random.choice(WORDS[:8], random.integers(1, 12))]
        telling = ("good", "fine") if index % 2 else ("bad", "dull")
        words.insert(random.integers(0, len(words) + 1), random.choice(telling))
        texts.append(" ".join(words))
    return Split(role, tuple(texts), None, np.arange(count, dtype=np.int64) % 2)


def toy_task(*, train: int = 40, others: int = 16, labels: tuple[str, ...] = LABELS, **changes: Any) -> Task:
    """A task that a tiny model learns in seconds.

    Args:
        train: Sentences in the training part.
        others: Sentences in each other part.
        labels: Label names.
        changes: Other fields of the task.
    """
    parts = {
        "train": sentences("train", train, 1),
        "selection": sentences("selection", others, 2),
        "calibration": sentences("calibration", others, 3),
        "evaluation": sentences("evaluation", others, 4),
    }
    values = {
        "name": "toy",
        "kind": "text-classification",
        "labels": labels,
        "max_length": LONGEST,
        "metric": "accuracy",
        "source": "made by the tests",
    }
    return Task(**{**values, **parts, **changes})


def state_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of every weight."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def differences(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> list[str]:
    """The names whose tensors are not the same bit for bit, or stand on one side alone."""
    names = first.keys() | second.keys()
    return sorted(n for n in names if n not in first or n not in second or not torch.equal(first[n], second[n]))


def logits_of(model: PreTrainedModel, **batch: torch.Tensor) -> torch.Tensor:
    """The answers to a batch, `tokens()` if none is given."""
    with torch.no_grad():
        return model(**(batch or tokens())).logits
