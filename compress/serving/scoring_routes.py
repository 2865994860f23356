"""Scores of texts, /predict, and the order of passages, /rerank, of Text Embeddings Inference."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from compress.readers.reader import Item, Ranking, Scoring
from compress.serving import bodies
from compress.serving.hosting import Host, HostedModel
from compress.serving.refusals import as_json, empty
from compress.serving.routing import TEI_ERRORS

Predictions = list[bodies.Prediction]


def predict_route(host: Host, model: HostedModel, router: APIRouter, prefix: str) -> str:
    """Add /predict, and return its path."""
    reader = model.reader
    assert isinstance(reader, Scoring)

    def predictions(reduced: Any, raw: bool) -> list[dict[str, Any]]:
        scores = sorted(reader.scores(reduced, raw=raw), key=lambda pair: -pair[1])
        return [{"score": score, "label": label} for label, score in scores]

    @router.post(f"{prefix}/predict", responses=TEI_ERRORS | {200: {"model": Predictions | list[Predictions]}})
    async def predict(body: bodies.PredictRequest) -> Response:
        """Give the score of every label, the highest first: a list for a text or a pair, and of a batch a list of lists."""
        given: Any = body.inputs
        is_batch = isinstance(given, list) and isinstance(given[0], list)
        rows = given if is_batch else [[given] if isinstance(given, str) else given]
        if not all(text for row in rows for text in row):
            raise empty("inputs")
        read = await model.read([Item(*row) for row in rows], body.cut(host.limits.auto_truncate), host.tokenizing)
        answers = [predictions(own[0], body.raw_scores) for own in read.reduced]
        return as_json(answers if is_batch else answers[0])

    return f"{prefix}/predict"


def rerank_route(host: Host, model: HostedModel, router: APIRouter, prefix: str) -> str:
    """Add /rerank, and return its path."""
    reader = model.reader
    assert isinstance(reader, Ranking)

    @router.post(
        f"{prefix}/rerank", responses=TEI_ERRORS | {200: {"model": list[bodies.Rank]}}, response_model_exclude_none=True
    )
    async def rerank(body: bodies.RerankRequest) -> Response:
        """Put passages into order for a query, the best first."""
        if not body.texts or not all(body.texts):
            raise empty("texts")
        if not body.query:
            raise empty("query")
        items = [Item(body.query, text) for text in body.texts]
        read = await model.read(items, body.cut(host.limits.auto_truncate), host.tokenizing)
        scores = [reader.rank(own[0], raw=body.raw_scores) for own in read.reduced]
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        texts = [{"text": text} if body.return_text else {} for text in body.texts]
        return as_json([{"index": index, **texts[index], "score": scores[index]} for index in order])

    return f"{prefix}/rerank"
