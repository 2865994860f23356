"""Who reads a bundle: what each reader looks for, why it cannot read one, and how it is called."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transformers import PreTrainedModel

from compress.bundles import snippets
from compress.bundles.variants import FP32, QUANTIZED, VARIANTS
from compress.models.embedder import pooling_of
from compress.models.families import known_family
from compress.models.families.family import Family
from compress.models.head import MASKED, MULTI_LABEL, SENTENCES, SEQUENCE, SPANS, TOKENS, Head
from compress.models.heads import head_of

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

IR = VARIANTS["openvino"].file
NOT_IN_JAVASCRIPT: Mapping[str, frozenset[str]] = {
    SEQUENCE: frozenset({"ernie", "data2vec-text", "megatron-bert", "nomic_bert"}),
    TOKENS: frozenset({"ernie", "data2vec-text", "megatron-bert", "nomic_bert", "albert", "mobilebert"}),
    SPANS: frozenset({"ernie", "data2vec-text", "megatron-bert", "nomic_bert", "modernbert", "eurobert"}),
    MASKED: frozenset({"ernie", "data2vec-text", "megatron-bert", "nomic_bert"}),
    SENTENCES: frozenset(),
}
"""Families without a class in Transformers.js 4.3 (src/models/registry.js), by head; of embedders it takes any."""


@dataclass(frozen=True)
class Contents:
    """What readers ask about.

    Args:
        model: Of which the bundle is.
        head: The model's.
        files: The graphs that are in it.
        why_not_in_transformers: Why transformers does not read the weights; None where it does.
        has_manifest: Whether there is an export.json.
    """

    model: PreTrainedModel
    head: Head
    files: Collection[str]
    why_not_in_transformers: str | None
    has_manifest: bool

    @property
    def family(self) -> str:
        """The family's name."""
        return str(self.model.config.model_type)

    @property
    def is_in_transformers(self) -> bool:
        """Whether transformers has a class for the family."""
        return isinstance(known_family(self.model), Family)


@dataclass(frozen=True)
class Reader:
    """A reader, as the card tells of it.

    Args:
        name: What it calls itself.
        why_not: Why it cannot read the bundle; None where it can.
        snippet: How it is called, in Markdown.
        tag: Of the hub, for what it reads; empty where there is none.
        example: The variant whose example in Python the card shows in place of a snippet; empty where there is none.
    """

    name: str
    why_not: str | None
    snippet: str
    tag: str = ""
    example: str = ""


@dataclass(frozen=True)
class Known:
    """A reader, whatever bundle it is asked to read.

    Args:
        name: What it calls itself.
        why_not: Tells why it cannot read a bundle; None where it can.
        snippet: Tells how it is called.
        tag: As of `Reader`.
        example: As of `Reader`.
    """

    name: str
    why_not: Callable[[Contents], str | None]
    snippet: Callable[[snippets.Call], str] = snippets.no_code
    tag: str = ""
    example: str = ""


def _missing(contents: Contents, *files: str) -> str | None:
    """Why there is nothing for a reader that takes one of these files."""
    if any(file in contents.files for file in files):
        return None
    return f"it looks for {' or '.join(files)}, which is left out"


def _no_family(contents: Contents) -> str | None:
    return None if contents.is_in_transformers else f"it has no class for a {contents.family} of bert-compress"


def _javascript(contents: Contents) -> str | None:
    family = contents.family
    if not contents.is_in_transformers or family in NOT_IN_JAVASCRIPT.get(contents.head.architecture, frozenset()):
        return f"it has no class for a {family} with this head; onnxruntime-web runs the same files"
    return _missing(contents, FP32, QUANTIZED)


def _any_graph(contents: Contents) -> str | None:
    return None if any(file.endswith(".onnx") for file in contents.files) else "no ONNX file is in it"


def _transformers(contents: Contents) -> str | None:
    return contents.why_not_in_transformers


def _exported_model(contents: Contents) -> str | None:
    if contents.has_manifest:
        return None
    return _missing(contents, FP32) or _no_family(contents) or "the file gives more than it has names for"


def _optimum(contents: Contents) -> str | None:
    return _no_family(contents) or _missing(contents, FP32)


def _sentence_transformers(contents: Contents) -> str | None:
    if not contents.head.gives_vectors and not contents.head.ranks:
        return "it reads embedders and rerankers alone"
    if contents.why_not_in_transformers is None:
        return None
    return _no_family(contents) or _missing(contents, FP32)


def _fastembed(contents: Contents) -> str | None:
    if not contents.head.gives_vectors and not contents.head.ranks:
        return "it reads embedders and rerankers alone"
    if contents.head.gives_vectors:
        pooling = pooling_of(contents.model.config)
        if pooling.projections or pooling.pooling not in (("mean",), ("cls",)):
            return "it pools by mean or first token alone, without a projection"
    return _missing(contents, FP32)


def _infinity(contents: Contents) -> str | None:
    if contents.head.reads_tokens:
        return "it serves embedders, rerankers and classifiers alone"
    return contents.why_not_in_transformers


def _embeddings_inference(contents: Contents) -> str | None:
    if contents.head.reads_tokens:
        return "it serves embedders, rerankers and classifiers alone"
    if contents.head.problem_type == MULTI_LABEL:
        return "its scores of labels add up to 1, which those of several labels do not"
    if contents.head.gives_vectors and pooling_of(contents.model.config).projections:
        return "its ONNX backend computes no projection behind the pooling"
    return _no_family(contents) or _missing(contents, FP32)


def _triton(contents: Contents) -> str | None:
    return _missing(contents, FP32)


def _openvino(contents: Contents) -> str | None:
    return _missing(contents, IR, VARIANTS["openvino-int8"].file)


READERS = (
    Known("Transformers.js", _javascript, snippets.javascript, tag="transformers.js"),
    Known("onnxruntime", _any_graph, tag="onnx", example="fp32"),
    Known("onnxruntime-web", _any_graph),
    Known("OpenVINO", _openvino, tag="openvino", example="openvino"),
    Known("transformers", _transformers, snippets.transformers),
    Known("transformers ExportedModel", _exported_model, snippets.exported_model),
    Known("sentence-transformers", _sentence_transformers, snippets.sentence_transformers, tag="sentence-transformers"),
    Known("fastembed", _fastembed, snippets.fastembed),
    Known("optimum-onnx", _optimum, snippets.optimum),
    Known("infinity", _infinity, snippets.infinity),
    Known(
        "text-embeddings-inference",
        _embeddings_inference,
        snippets.embeddings_inference,
        tag="text-embeddings-inference",
    ),
    Known("Triton", _triton, snippets.triton),
)


def readers_of(
    model: PreTrainedModel,
    task: Task,
    files: Collection[str],
    why_not_in_transformers: str | None,
    *,
    has_manifest: bool,
) -> list[Reader]:
    """Tell of every reader whether it reads a bundle, and how it is called.

    Args:
        model: Of which the bundle is.
        task: Its kind's head decides how readers are called.
        files: The graphs that are in it.
        why_not_in_transformers: Why transformers does not read the weights; None where it does.
        has_manifest: Whether there is an export.json.
    """
    contents = Contents(model, head_of(model), files, why_not_in_transformers, has_manifest)
    call = snippets.of_head(task, model, files)
    return [Reader(known.name, known.why_not(contents), known.snippet(call), known.tag, known.example) for known in READERS]
