"""How each reader is called with a bundle: one snippet a reader, in the words of the model's head."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transformers import PreTrainedModel

from compress.bundles.variants import FP32, VARIANTS
from compress.models.head import MASKED, REGRESSION, SENTENCES, SEQUENCE, SPANS, TOKENS, Head
from compress.models.heads import head_of, output_count

if TYPE_CHECKING:
    from compress.tasks.labelled import Task

FOLDER = "ORG/NAME"
"""Stands for the bundle in snippets: its name on the hub, or its path."""
PIPELINES = {
    SEQUENCE: "text-classification",
    TOKENS: "token-classification",
    SPANS: "question-answering",
    MASKED: "fill-mask",
    SENTENCES: "feature-extraction",
}
TEXT, SECOND = "a good film", "it is worth the time"


@dataclass(frozen=True)
class Call:
    """What a snippet is made of.

    Args:
        head: The model's.
        reads_pairs: Whether two texts are read as one.
        width: How many numbers it answers with.
        mask: The token that stands for a masked word.
        dtype: What Transformers.js is asked for.
        file: The graph in ONNX that is taken where any will do.
    """

    head: Head
    reads_pairs: bool
    width: int
    mask: str
    dtype: str
    file: str

    @property
    def pipeline(self) -> str:
        """What pipelines call the head."""
        return PIPELINES[self.head.architecture]

    @property
    def auto_class(self) -> str:
        """How classes of such models are called behind Auto or ORT."""
        return f"ModelFor{self.head.opened_as or self.head.architecture}"

    @property
    def has_pipeline(self) -> bool:
        """Whether a pipeline of Transformers.js does what the head does: it reads no two texts, and knows no scores."""
        head = self.head
        if head.architecture == SEQUENCE:
            return not self.reads_pairs and not head.ranks and head.problem_type != REGRESSION
        return True


def of_head(task: Task, model: PreTrainedModel, files: Collection[str]) -> Call:
    """Gather the words of the snippets for a model and what is in its bundle."""
    head, quantized = head_of(model), VARIANTS["quantized"].file
    graphs = [file for file in (FP32, *(variant.file for variant in VARIANTS.values())) if file in files]
    return Call(
        head,
        head.reads_pairs and (task.evaluation.pairs is not None or head.ranks),
        output_count(model),
        str(model.tokenizer.mask_token or "[MASK]"),
        "q8" if quantized in files else "fp32",
        graphs[0] if graphs else FP32,
    )


def _block(language: str, *lines: str) -> str:
    return "\n".join([f"```{language}", *lines, "```"])


def javascript(call: Call) -> str:
    """How Transformers.js is called."""
    head = call.head.architecture
    if call.has_pipeline:
        arguments = {
            SEQUENCE: json.dumps(TEXT),
            TOKENS: json.dumps(TEXT),
            SPANS: f"{json.dumps('what is good?')}, {json.dumps(TEXT)}",
            MASKED: json.dumps(TEXT.replace("good", call.mask)),
        }
        if head in arguments:
            return _block(
                "js",
                'import { pipeline } from "@huggingface/transformers";',
                f'const run = await pipeline("{call.pipeline}", "{FOLDER}", {{ dtype: "{call.dtype}" }});',
                f"console.log(await run({arguments[head]}));",
            )
    name = "AutoModel" if call.head.gives_vectors else f"Auto{call.auto_class}"
    answer = "sentence_embedding" if call.head.gives_vectors else "logits"
    given = f"[{json.dumps(TEXT)}]" + (f", {{ text_pair: [{json.dumps(SECOND)}] }}" if call.reads_pairs else "")
    return _block(
        "js",
        f'import {{ {name}, AutoTokenizer }} from "@huggingface/transformers";',
        f'const tokenizer = await AutoTokenizer.from_pretrained("{FOLDER}");',
        f'const model = await {name}.from_pretrained("{FOLDER}", {{ dtype: "{call.dtype}" }});',
        f"console.log((await model(await tokenizer({given}))).{answer}.tolist());",
    )


def _given(call: Call) -> str:
    return f'"{TEXT}", "{SECOND}"' if call.reads_pairs or call.head.architecture == SPANS else f'"{TEXT}"'


def transformers(call: Call) -> str:
    """How transformers is called."""
    name = "AutoModel" if call.head.gives_vectors else f"Auto{call.auto_class}"
    return _block(
        "python",
        f"from transformers import {name}, AutoTokenizer",
        "",
        f'tokenizer, model = AutoTokenizer.from_pretrained("{FOLDER}"), {name}.from_pretrained("{FOLDER}")',
        f'print(model(**tokenizer({_given(call)}, return_tensors="pt")))',
    )


def exported_model(call: Call) -> str:
    """How transformers' ExportedModel is called."""
    return _block(
        "python",
        "from transformers import AutoTokenizer",
        "from transformers.exporters import ExportedModel",
        "",
        f'tokenizer, model = AutoTokenizer.from_pretrained("{FOLDER}"), ExportedModel.from_pretrained("{FOLDER}")',
        f'print(model(**tokenizer({_given(call)}, return_tensors="pt")))',
    )


def sentence_transformers(call: Call) -> str:
    """How sentence-transformers is called."""
    name, run = (
        ("CrossEncoder", f'predict([("{TEXT}", "{SECOND}")])')
        if call.head.ranks
        else ("SentenceTransformer", f'encode("{TEXT}")')
    )
    return _block(
        "python",
        f"from sentence_transformers import {name}",
        "",
        f'# or backend="onnx", model_kwargs={{"file_name": "{call.file}"}}; or backend="openvino"',
        f'model = {name}("{FOLDER}")',
        f"print(model.{run})",
    )


def fastembed(call: Call) -> str:
    """How fastembed is called."""
    if call.head.ranks:
        return _block(
            "python",
            "from fastembed.common.model_description import ModelSource",
            "from fastembed.rerank.cross_encoder import TextCrossEncoder",
            "",
            f'TextCrossEncoder.add_custom_model("{FOLDER}", sources=ModelSource(hf="{FOLDER}"), model_file="{FP32}")',
            f'print(list(TextCrossEncoder("{FOLDER}").rerank("{TEXT}", ["{SECOND}"])))',
        )
    return _block(
        "python",
        "from fastembed import TextEmbedding",
        "from fastembed.common.model_description import ModelSource, PoolingType",
        "",
        "TextEmbedding.add_custom_model(",
        f'    "{FOLDER}",',
        "    pooling=PoolingType.DISABLED,",
        "    normalization=False,",
        '    output_name="sentence_embedding",',
        f'    sources=ModelSource(hf="{FOLDER}"),',
        f"    dim={call.width},",
        f'    model_file="{FP32}",',
        ")",
        f'print(list(TextEmbedding("{FOLDER}").embed(["{TEXT}"])))',
    )


def optimum(call: Call) -> str:
    """How optimum-onnx is called."""
    name = f"ORT{call.auto_class}"
    return _block(
        "python",
        f"from optimum.onnxruntime import {name}",
        "",
        f'model = {name}.from_pretrained("{FOLDER}", subfolder="onnx", file_name="model.onnx")',
    )


def infinity(call: Call) -> str:
    """How infinity is called."""
    return _block("sh", f"infinity_emb v2 --model-id {FOLDER} --engine torch --device cpu")


def embeddings_inference(call: Call) -> str:
    """How text-embeddings-inference is called."""
    return _block("sh", f"text-embeddings-router --model-id {FOLDER} --dtype float32")


def triton(call: Call) -> str:
    """How Triton is called."""
    names = [*call.head.beside, *call.head.outputs]
    return (
        f"Copy `{FP32}` to `NAME/1/model.onnx` of a model repository; Triton's ONNX Runtime back end reads inputs and outputs "
        f"({', '.join(names)}) off the file, whose batch is free:\n\n"
        + _block("text", 'platform: "onnxruntime_onnx"', "max_batch_size: 32", "dynamic_batching { }")
    )


def no_code(call: Call) -> str:
    """Nothing: `compress.reporting.card_example` writes what the card shows."""
    return ""
