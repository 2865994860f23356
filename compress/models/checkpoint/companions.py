"""The files beside a model's weights or graph, written so that all who read such folders find what they look for.

Who needs what: Text Embeddings Inference reads `hidden_size`, `num_hidden_layers`, `id2label`, `label2id` and a `pad_token_id`
that is a number, whatever the family calls its sizes; fastembed a finite `model_max_length` and special_tokens_map.json;
transformers 4 no list called `extra_special_tokens`.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from compress.log import libraries_silenced
from compress.models.checkpoint.pair import paired_values, write_pair_files
from compress.models.checkpoint.sentence_folder import write_sentence_files
from compress.models.families import known_family, longest_text
from compress.models.families.family import Family
from compress.models.head import problem_type
from compress.models.heads import head_of

CONFIG, TOKENIZER_CONFIG, SPECIAL_TOKENS = "config.json", "tokenizer_config.json", "special_tokens_map.json"
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
FLAGS = ("lstrip", "rstrip", "single_word", "normalized")
LEFT_BY_CALLS = ("max_length", "stride", "truncation_strategy", "is_local", "local_files_only")
"""What a tokenizer remembers of how it was called and loaded last; a reader would take it for the model's."""


def write_companions(model: PreTrainedModel, folder: Path, *, for_serving: bool = False) -> None:
    """Write config.json, the tokenizer's files and special_tokens_map.json into a folder that exists.

    Args:
        model: With its tokenizer; both stay as they are, but for the name of the model's class and what its head is for in its
            configuration.
        folder: Where to.
        for_serving: Tell the tokenizer's padding token where the configuration has none. In a folder that is trained on, that
            would let the model's padding row learn no more.
    """
    _write_config(model, folder, for_serving=for_serving)
    _write_tokenizer(model, folder)
    if head_of(model).writes:
        write_pair_files(model, folder)
    if head_of(model).gives_vectors and isinstance(known_family(model), Family):
        write_sentence_files(model, folder)


def _write_config(model: PreTrainedModel, folder: Path, *, for_serving: bool) -> None:
    config = model.config
    head = head_of(model)
    config.architectures = [type(model.base_model if head.gives_vectors else model).__name__]
    if head.is_named and not head.reads_tokens:
        config.problem_type = config.problem_type or problem_type(config.num_labels)
    with libraries_silenced():
        config.save_pretrained(folder)
    path = folder / CONFIG
    values = json.loads(path.read_text(encoding="utf-8"))
    values |= spellings(model)
    if head.is_named:
        values["id2label"] = {str(index): name for index, name in config.id2label.items()}  # transformers leaves defaults out
        values["label2id"] = dict(config.label2id)
    else:
        told_elsewhere = ("embedder",) if head.gives_vectors and isinstance(known_family(model), Family) else ()
        values = {key: value for key, value in values.items() if key not in ("id2label", "label2id", *told_elsewhere)}
    if for_serving and values.get("pad_token_id") is None and model.tokenizer.pad_token_id is not None:
        values["pad_token_id"] = model.tokenizer.pad_token_id
    _write(path, paired_values(model, values) if head_of(model).writes else values)


def spellings(model: PreTrainedModel) -> dict[str, Any]:
    """The model's sizes under the names that BERT gives them, where its family has other ones."""
    config = model.config
    sizes = {key: getattr(config, own) for key, own in getattr(config, "attribute_map", {}).items() if hasattr(config, own)}
    return sizes | {key: size(config) for key, size in known_family(model).other_sizes.items()}


def _write_tokenizer(model: PreTrainedModel, folder: Path) -> None:
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.model_max_length = longest_text(model.config)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
    with libraries_silenced():
        tokenizer.save_pretrained(folder)
    path = folder / TOKENIZER_CONFIG
    settings = {key: value for key, value in json.loads(path.read_text(encoding="utf-8")).items() if key not in LEFT_BY_CALLS}
    settings["model_input_names"] = [name for name in known_family(model).inputs if name in tokenizer.model_input_names]
    if isinstance(settings.get("extra_special_tokens"), list):
        # both transformers 4 and 5 read it by that name
        settings["additional_special_tokens"] = settings.pop("extra_special_tokens")
    if settings.get("tokenizer_class") == "TokenizersBackend":
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # the same class, by the name that transformers 4 knows it by
    _write(path, settings)
    _write(folder / SPECIAL_TOKENS, special_tokens(tokenizer))


def special_tokens(tokenizer: Any) -> dict[str, Any]:
    """What special_tokens_map.json tells: each special token, with how it is matched where that is not the plain way."""
    known = {str(token): token for token in tokenizer.added_tokens_decoder.values()}
    tokens = {}
    for name in NAMED:
        text = tokenizer.special_tokens_map.get(name)
        if text is not None:
            flags = {flag: getattr(known[text], flag) for flag in FLAGS} if text in known else {}
            tokens[name] = {"content": text, **flags} if any(flags.values()) else text
    return tokens


def _write(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
