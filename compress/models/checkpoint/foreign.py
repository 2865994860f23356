"""Folders and files that hold something else than a whole model of a family here: each is refused with its cause and its cure.

Nothing of what is told here runs anything of the folder; commands are for a reader who trusts it.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from compress.errors import InputError, cut, shown
from compress.models.checkpoint.json_file import read_object, why_absent
from compress.models.families import KNOWN
from compress.models.families.family import DECODER, EncoderFree, Family
from compress.models.head import MASKED, REGRESSION, SENTENCES, SEQUENCE, SPANS, TOKENS, WRITER, Head

CONFIG, WEIGHTS, ADAPTER = "config.json", "model.safetensors", "adapter_config.json"
AUTO_CLASSES = {
    "SequenceClassification": "AutoModelForSequenceClassification",
    "TokenClassification": "AutoModelForTokenClassification",
    "QuestionAnswering": "AutoModelForQuestionAnswering",
    "MultipleChoice": "AutoModelForMultipleChoice",
    "NextSentencePrediction": "AutoModelForNextSentencePrediction",
    "MaskedLM": "AutoModelForMaskedLM",
    "PreTraining": "AutoModelForPreTraining",
    "CausalLM": "AutoModelForCausalLM",
}
"""What loads a checkpoint with the head that it has, by the end of its architecture's name."""
OTHER_HEADS = {
    "TokenClassification": "labels each token (named entities, parts of speech)",
    "QuestionAnswering": "finds the answer to a question in a text",
    "MultipleChoice": "chooses one of several texts",
    WRITER: "writes texts",
}
SUPPORTED = {
    SEQUENCE: "labels of a whole text",
    TOKENS: "labels of each token",
    SPANS: "answers to questions",
    SENTENCES: "vectors of texts",
    WRITER: "texts that are written",
    MASKED: "masked words",
}
QUANTIZED = {
    "bitsandbytes": (
        ".SCB",
        ".absmax",
        ".quant_map",
        ".weight_format",
        "quant_state.bitsandbytes__nf4",
        "quant_state.bitsandbytes__fp4",
    ),
    "GPTQ or AWQ": (".qweight", ".qzeros", ".g_idx"),
    "compressed-tensors": (".weight_packed", ".weight_scale", ".weight_shape", ".weight_scale_inv"),
    "Quanto": (".weight._data", ".weight._scale"),
}
"""How the names of weights end that a program has quantized."""
ORIGIN = "start from the torch model that it was made of"
ONLY = {
    "*.onnx": f"an exported file, which cannot be changed or quantized again; {ORIGIN}",
    "onnx/*.onnx": f"an exported file, which cannot be changed or quantized again; {ORIGIN}",
    "openvino_model.xml": f"a file of OpenVINO, which cannot be changed any more; {ORIGIN}",
    "*.gguf": f"a file for llama.cpp, whose weights are rounded as a rule; {ORIGIN}",
    "*.ckpt*": "a checkpoint of TensorFlow 1 or of Lightning; save the model with save_pretrained where it was trained",
    "tf_model.h5": "weights of TensorFlow, which transformers 5 does not read; {older}",
    "flax_model.msgpack": "weights of Flax, which transformers 5 does not read; {older}",
    "global_step*": "a checkpoint of DeepSpeed; put its parts together with the zero_to_fp32.py beside it, and save the model "
    "with save_pretrained",
    "pytorch_model_fsdp*": "a checkpoint of FSDP in parts; put them together with accelerate merge-weights",
    "*.distcp": "a checkpoint of FSDP in parts; put them together with accelerate merge-weights",
}
"""Files of other programs, and what they are."""
PICKLES = ("*.bin", "*.pt", "*.pth")
NO_MODEL = ("training_args", "optimizer", "scheduler", "rng_state", "scaler")
"""How the names of pickles begin that hold no weights of a model."""


def architecture_of(values: Mapping[str, Any]) -> str:
    """The name of the class that config.json was written for; empty where it does not say."""
    architectures = values.get("architectures")
    return architectures[0] if isinstance(architectures, list) and architectures and isinstance(architectures[0], str) else ""


def refuse_parts(folder: Path) -> None:
    """Refuse a folder that is a part of a model, or that holds one further down.

    Raises:
        InputError: It is an adapter, or has no config.json.
    """
    whole = (folder / WEIGHTS).exists() or (folder / f"{WEIGHTS}.index.json").exists()
    if why_absent(folder / ADAPTER) is None and not whole:
        raise InputError(f"{folder} holds an adapter of PEFT ({ADAPTER}) without the model that it changes; {_merge(folder)}")
    why = why_absent(folder / CONFIG)
    if why is None:
        return
    below = _models_below(folder)
    if below:
        raise InputError(f"{folder} has no {CONFIG}, but {_listed(below)} below it; give that folder, {folder / below[-1]}.")
    if (folder / "bert_config.json").is_file():
        raise InputError(
            f"{folder} has bert_config.json and no {CONFIG}: a checkpoint as Google published it; give one in "
            "transformers' format, such as google-bert/bert-base-uncased."
        )
    if why == "is missing":
        raise InputError(f"{folder} has no {CONFIG}; give the folder of a whole model.")
    raise InputError(f"{folder / CONFIG} {why}; give the folder of a whole model.")


def _models_below(folder: Path) -> list[str]:
    """Folders with a model one or two steps down, the highest number last, as training writes them."""
    folders = {path.parent for steps in ("*", "*/*") for path in folder.glob(f"{steps}/{CONFIG}") if path.is_file()}
    whole = (path for path in folders if any(path.glob("*.safetensors")) or any(path.glob("*.bin")))
    names = sorted(str(path.relative_to(folder)) for path in whole)
    return sorted(names, key=lambda name: [int(part) if part.isdecimal() else -1 for part in name.split("-")][-1])


def refuse_configuration(folder: Path, values: Mapping[str, Any], weights: Collection[str] = ()) -> None:
    """Refuse a configuration of another kind of model.

    Args:
        folder: Holds it.
        values: What config.json holds.
        weights: Names in the weights' file, which may tell what config.json does not.

    Raises:
        InputError: model_type is missing or of no family here, or the model comes with code of its own.
    """
    path, kind = folder / CONFIG, values.get("model_type")
    if kind is None:
        known = certain_kind(values, weights)
        hint = (
            f'add "model_type": "{known}", which its other values tell'
            if known
            else f"write the one that it was trained as; allowed: {', '.join(KNOWN)}"
        )
        raise InputError(f"{path} has no model_type; {hint}.")
    if not isinstance(kind, str) or kind not in KNOWN:
        raise InputError(
            f"{path}: model_type is {shown(kind)}; allowed: {', '.join(KNOWN)}. Start from a checkpoint of one of these."
        )
    code = values.get("auto_map")
    if isinstance(code, dict) and any(str(name) != "AutoTokenizer" for name in code):
        raise InputError(
            f"{path}: auto_map names code that comes with the checkpoint ({shown(next(iter(code.values())))}), which is never "
            "run "
            f"here; start from a checkpoint of transformers' own {kind}, or take auto_map out if the model is one."
        )


def stems() -> dict[str, str]:
    """How the names of each family's classes begin."""
    return {kind: family.classifier.__name__.removesuffix("ForSequenceClassification") for kind, family in KNOWN.items()}


def certain_kind(values: Mapping[str, Any], weights: Collection[str] = ()) -> str | None:
    """The model_type that the rest of a configuration, or the weights' names, tell without doubt."""
    architecture = architecture_of(values)
    for kind, stem in stems().items():
        if architecture == f"{stem}Model" or architecture.startswith(f"{stem}For"):
            return kind
    for kind, family in KNOWN.items():
        if family.own_keys and all(key in values for key in family.own_keys):
            return kind
    begins = {name.partition(".")[0] for name in weights}
    kinds = [kind for kind, family in KNOWN.items() if family.classifier.base_model_prefix in begins]
    kinds = [kind for kind in kinds if _has_norm(KNOWN[kind], weights)] if len(kinds) > 1 else kinds
    return kinds[0] if len(kinds) == 1 and not architecture else None


def _has_norm(family: Family | EncoderFree, weights: Collection[str]) -> bool:
    """Whether weights have a normalization of the embeddings just where a family has one."""
    own = getattr(family, "embeddings_norm", "")
    path = own or Family.embeddings_norm
    return bool(own) == any(f".{path}." in f".{name}" for name in weights)


def refuse_names(folder: Path, names: Collection[str]) -> None:
    """Refuse weights whose names tell that they are not a model's own, plain ones.

    Raises:
        InputError: They are an adapter's, quantized, or there are tables for relative positions among them.
    """
    for name in names:
        if ".lora_" in name or ".base_layer." in name or name.startswith("base_model.model."):
            raise InputError(f"{folder} holds an adapter of PEFT that was not merged ({shown(name)}); {_merge(folder)}")
        if name.endswith("distance_embedding.weight"):
            raise InputError(
                f"{folder} has tables for relative positions ({shown(name)}), which transformers 5 does not read any more; "
                "start "
                "from a checkpoint with absolute positions."
            )
        for program, ends in QUANTIZED.items():
            if name.endswith(ends):
                raise InputError(
                    f"{folder} holds weights that {program} has quantized ({shown(name)}); start from the float checkpoint "
                    "that they were made of: the export quantizes it."
                )


def _merge(folder: Path) -> str:
    adapter = read_object(folder / ADAPTER) if why_absent(folder / ADAPTER) is None else {}
    ends = "; merge_and_unload().save_pretrained(NEW) writes a whole model, to which the tokenizer belongs too."
    if adapter.get("task_type") != "SEQ_CLS":
        return f"merge it first: load its model with the class that it was trained with, then PeftModel.from_pretrained{ends}"
    script = (
        f"from peft import AutoPeftModelForSequenceClassification as M; M.from_pretrained({str(folder)!r})"
        ".merge_and_unload().save_pretrained('NEW')"
    )
    return f"merge it first: python -c {shlex.quote(script)} writes a whole model, to which the tokenizer belongs too."


def head_architecture(
    folder: Path,
    values: Mapping[str, Any],
    weights: Mapping[str, Any],
    family: Family | EncoderFree,
    wanted: Head | None = None,
) -> str:
    """Tell what a checkpoint's head is for, and refuse one that is for something else than what is wanted.

    Args:
        folder: Holds it.
        values: What config.json holds.
        weights: By name, as a classifier names them; other heads under their own.
        family: The model's.
        wanted: The head that a task needs; None takes any that the toolkit has.

    Returns:
        How the name of the model's class ends behind "For": that of the head that there is, or of the new one.

    Raises:
        InputError: Its head answers questions, chooses between texts, or is not the one that is wanted.
    """
    architecture = architecture_of(values)
    if wanted is None and architecture.endswith(f"For{SENTENCES}"):
        return SENTENCES
    has_head = {"classifier.weight", "qa_outputs.weight"} & weights.keys()
    behind = tuple(begin for begin in family.head if begin != "classifier.")
    kind = next((kind for kind in OTHER_HEADS if has_head and architecture.endswith(f"For{kind}")), None)
    if kind is None and "qa_outputs.weight" in weights:
        kind = "QuestionAnswering"
    if WRITER in family.classes and any(name.startswith(f"{DECODER}.") for name in weights):
        kind = WRITER
    classifier = weights.get("classifier.weight")
    if kind is None and classifier is not None and not architecture.endswith("ForSequenceClassification"):
        kind = None if any(name.startswith(behind) for name in weights) else "TokenClassification"
    actual = kind or (SEQUENCE if classifier is not None else None)
    if wanted is not None and wanted.architecture not in family.classes:
        raise InputError(f"{folder}: a {family.config.model_type} has no head for {wanted.architecture}; use another family.")
    if wanted is None and actual in family.classes:
        return str(actual)
    needed = wanted.architecture if wanted is not None else SEQUENCE
    if actual is not None and actual != needed and actual == SEQUENCE:
        raise InputError(
            f"{folder} has a head for labels of a whole text, but the task needs one for {needed}; use such a checkpoint, or "
            "the one that this was fine-tuned from, which gets a new head."
        )
    if kind is not None and kind != needed:
        what = architecture or f"a model for {kind}"
        raise InputError(
            f"{folder} is {shown(what) if architecture else what}: its head {OTHER_HEADS[kind]}. A head for "
            f"{SUPPORTED[needed]} is needed; use such a checkpoint, or the one that this was fine-tuned from, which gets "
            "a new head."
        )
    scores = wanted is not None and wanted.problem_type == REGRESSION
    if classifier is not None and classifier.ndim and classifier.shape[0] == 1 and needed == SEQUENCE and not scores:
        raise InputError(
            f"{folder} answers one number (a score, as rerankers and similarity models give), no labels. A head for two "
            "labels or more is needed; use such a checkpoint, or the one that this was fine-tuned from, which gets a new head."
        )
    return needed


def tells_masked_words(values: Mapping[str, Any], weights: Collection[str], family: Family | EncoderFree) -> bool:
    """Whether a checkpoint is of a class for masked words, and has that head.

    Args:
        values: What config.json holds.
        weights: Names in the weights' file.
        family: The model's.
    """
    if not isinstance(family, Family) or MASKED not in family.classes or not architecture_of(values).endswith(f"For{MASKED}"):
        return False
    return family.has_masked_head(weights, tied=values.get("tie_word_embeddings") is True)


def refuse_no_weights(folder: Path, values: Mapping[str, Any], missing: str) -> None:
    """Say what a folder without safetensors has in their place.

    Args:
        folder: The one that was given.
        values: What config.json holds.
        missing: The file that is missing, and why.

    Raises:
        InputError: Always.
    """
    older = (
        "load them in transformers 4 with the class that they were trained with (from_tf=True, from_flax=True), and save "
        "them with save_pretrained"
    )
    pickled = [path.name for kind in PICKLES for path in sorted(folder.glob(kind)) if not path.name.startswith(NO_MODEL)]
    if pickled:
        raise InputError(
            f"{folder} has only {cut(repr(pickled[0])[1:-1])}, a pickle, which can run any code when loaded; "
            f"{convert(folder, pickled[0], values)}."
        )
    for kind, what in ONLY.items():
        files = sorted(folder.glob(kind))
        if files:
            raise InputError(f"{folder} holds {files[0].relative_to(folder)}, {what.format(older=older)}.")
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    if shards:
        raise InputError(
            f"{folder} has no {missing}, only {_listed(shards)}; fetch all files of the model, or save it again with "
            "save_pretrained."
        )
    below = _models_below(folder)
    if below:
        raise InputError(f"{folder} has no {missing}, but {_listed(below)} below it; give that folder, {folder / below[-1]}.")
    raise InputError(
        f"{folder} has no {missing}; give the folder of a whole model in safetensors format (from the hub no "
        "other is fetched)."
    )


def convert(folder: Path, pickle: str, values: Mapping[str, Any]) -> str:
    """How to turn a pickle into safetensors with the head that the checkpoint has, and with no other."""
    stem, _, end = architecture_of(values).partition("For")
    kind = AUTO_CLASSES.get(end)
    if stem.removesuffix("Model") in stems().values() and stem.endswith("Model"):
        kind = "AutoModel"
    where = repr(str(folder))
    if kind is not None:
        script = f"from transformers import {kind} as M; M.from_pretrained({where}).save_pretrained({where})"
    elif pickle.endswith(".index.json") or "-of-" in pickle:
        return "save it again with save_pretrained and the class that it was trained with, on a machine where you trust it"
    else:
        script = (
            "import torch; from safetensors.torch import save_file as s; "
            f"s({{k: v.clone().contiguous() for k, v in torch.load({str(folder / pickle)!r}, weights_only=True).items()}}, "
            f"{str(folder / WEIGHTS)!r}, {{'format': 'pt'}})"
        )
    return f"convert it once with: python -c {shlex.quote(script)} on a machine where you trust the file"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:2])}{' and more' if len(names) > 2 else ''}"
