"""Vectors of texts: /embed and /similarity of Text Embeddings Inference, and /v1/embeddings of OpenAI.

Annotations are evaluated here, since FastAPI reads those of functions whose types are made for a model.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter
from pydantic import create_model
from starlette.responses import Response

from compress.readers.reader import Cut, Embedding, Item
from compress.serving import bodies
from compress.serving.hosting import Host, HostedModel, Read
from compress.serving.refusals import Refused, as_json, empty, invalid
from compress.serving.routing import OPENAI_ERRORS, TEI_ERRORS, named_literal

EMBED = bodies.EmbedRequest.__name__


def request_name(name: str, prefix: str) -> str:
    """What the schema calls a request: on routes of its own one is told from those of other models."""
    return f"{name}_{prefix.rpartition('/')[2]}" if prefix else name


def state_widths(schema: dict[str, Any], embedders: Sequence[HostedModel]) -> None:
    """Let a schema say how many dimensions may be asked for, of models that are loaded."""
    widths = {request_name(EMBED, f"/models/{model.name}"): model.width for model in embedders}
    known = [model.width for model in embedders if model.width is not None]
    if known:
        widths |= {EMBED: embedders[0].width, bodies.OpenAIEmbeddingsRequest.__name__: min(known)}
    for name, width in widths.items():
        if width is not None:
            schema["components"]["schemas"][name]["properties"]["dimensions"]["anyOf"][0]["maximum"] = width


async def embed(
    host: Host, model: HostedModel, texts: Sequence[str], what: str, cut: Cut, prompt: str | None = None
) -> tuple[Embedding, Read]:
    """What a model gives to texts, and the reader that makes vectors of it."""
    reader = model.reader
    assert isinstance(reader, Embedding)
    if not texts or not all(texts):
        raise empty(what)
    if prompt is not None and prompt not in reader.prompts:
        raise invalid(f"prompt_name is none of the model's; it has: {', '.join(reader.prompts) or 'none'}.")
    return reader, await model.read([Item(text, prompt=prompt) for text in texts], cut, host.tokenizing)


def vectors_of(reader: Embedding, read: Read, *, normalize: bool = True, dimensions: int | None = None) -> list[np.ndarray]:
    """The vectors, float32, one a text."""
    width = len(reader.vector(read.reduced[0][0], normalize=False))
    if dimensions is not None and dimensions > width:
        raise invalid(f"`dimensions` is {dimensions}, but the model's vectors have {width}; ask for so many at most.")
    return [reader.vector(own[0], normalize=normalize, dimensions=dimensions).astype(np.float32) for own in read.reduced]


def tei_routes(host: Host, model: HostedModel, router: APIRouter, prefix: str) -> str:
    """Add those of Text Embeddings Inference, and return the path of the first."""
    reader = model.reader
    assert isinstance(reader, Embedding)
    prompts: dict[str, Any] = {"prompt_name": (named_literal(reader.prompts), None)}
    request_of: Any = create_model(request_name(EMBED, prefix), __base__=bodies.EmbedRequest, **prompts)
    parameters: Any = create_model(
        request_name("SimilarityParameters", prefix), __base__=bodies.SimilarityParameters, **prompts
    )
    compared: Any = create_model(
        request_name("SimilarityRequest", prefix), __base__=bodies.SimilarityRequest, parameters=(parameters | None, None)
    )

    @router.post(f"{prefix}/embed", responses=TEI_ERRORS | {200: {"model": list[list[float]]}})
    async def embed_route(body: request_of) -> Response:
        """Give a vector for each text."""
        texts = [body.inputs] if isinstance(body.inputs, str) else body.inputs
        reader, read = await embed(host, model, texts, "inputs", body.cut(host.limits.auto_truncate), body.prompt_name)
        vectors = vectors_of(reader, read, normalize=body.normalize, dimensions=body.dimensions)
        return as_json([vector.tolist() for vector in vectors])

    @router.post(f"{prefix}/similarity", responses=TEI_ERRORS | {200: {"model": list[float]}})
    async def similarity_route(body: compared) -> Response:
        """Tell how alike a text and others are, by the cosines of their vectors."""
        settings = body.parameters or bodies.SimilarityParameters()
        texts = [body.inputs.source_sentence, *body.inputs.sentences]
        if len(texts) == 1:
            raise empty("sentences")
        cut = settings.cut(host.limits.auto_truncate)
        reader, read = await embed(host, model, texts, "inputs", cut, settings.prompt_name)
        source, *others = vectors_of(reader, read)
        return as_json([float(source @ other) for other in others])

    return f"{prefix}/embed"


def openai_routes(host: Host, models: Mapping[str, HostedModel], router: APIRouter, created: int) -> None:
    """Add those of OpenAI.

    Args:
        host: The server's.
        models: Those that give vectors, by name.
        router: Is added to.
        created: When the server began, in seconds of Unix.
    """

    @router.post("/v1/embeddings", responses=OPENAI_ERRORS | {200: {"model": bodies.OpenAIEmbeddings}})
    async def embeddings(body: bodies.OpenAIEmbeddingsRequest) -> Response:
        """Give a vector of length 1 for each text."""
        alone = next(iter(models.values())) if len(models) == 1 else None
        model = models.get(body.model or "") or alone
        if model is None:
            raise Refused(404, "NotFound", f"`model` is none that gives vectors; those are: {', '.join(models)}. Name one.")
        texts = [body.input] if isinstance(body.input, str) else body.input
        reader, read = await embed(host, model, texts, "input", Cut(host.limits.auto_truncate))
        vectors = vectors_of(reader, read, dimensions=body.dimensions)
        is_packed = body.encoding_format == "base64"
        written = [
            base64.b64encode(vector.astype("<f4").tobytes()).decode() if is_packed else vector.tolist() for vector in vectors
        ]
        data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(written)]
        usage = {"prompt_tokens": read.tokens, "total_tokens": read.tokens}
        return as_json({"object": "list", "data": data, "model": model.name, "usage": usage})

    @router.get("/v1/models", responses={200: {"model": bodies.OpenAIModels}})
    async def listed() -> Response:
        """List the models that give vectors."""
        entries = [{"id": name, "object": "model", "created": created, "owned_by": "bert-compress"} for name in models]
        return as_json({"object": "list", "data": entries})
