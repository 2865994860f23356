"""The application: all routes of all models, as FastAPI has them, behind the gate.

Annotations are evaluated here, since FastAPI reads those of functions whose types are made for a model.
"""

import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.responses import Response

import compress
from compress.readers.reader import Embedding, Ranking, Scoring
from compress.serving import bodies
from compress.serving.embedding_routes import openai_routes, state_widths, tei_routes
from compress.serving.gate import Gate
from compress.serving.hosting import TOKENIZING_THREADS, Host, HostedModel
from compress.serving.metrics import CONTENT_TYPE
from compress.serving.refusals import Refused, as_json, empty, response_to, said_of
from compress.serving.routing import TEI_ERRORS, BoundedRoute
from compress.serving.scoring_routes import predict_route, rerank_route

ADDERS: tuple[tuple[type, Callable[[Host, HostedModel, APIRouter, str], str]], ...] = (
    (Embedding, tei_routes),
    (Ranking, rerank_route),
    (Scoring, predict_route),
)
"""What a model's reader can, and what adds the routes for it."""
KINDS = {401: "Unauthorized", 404: "NotFound", 405: "NotAllowed"}
MODEL_TYPES = ((Embedding, "embedding"), (Ranking, "reranker"), (Scoring, "classifier"))


def application(host: Host, api_key: str | None = None) -> tuple[FastAPI, Gate]:
    """Build the application.

    Args:
        host: Its models, which need not be loaded yet.
        api_key: What clients have to send as `Authorization: Bearer KEY`; None for nothing.

    Returns:
        What declares the routes, and what is served.
    """
    app = FastAPI(
        title="bert-compress",
        version=compress.__version__,
        description="Answers of compressed models. Routes without /models/NAME are those of the first model that has them.",
        redoc_url=None,
        docs_url=None,
        openapi_url=None,
    )
    guarded = [] if api_key is None else [_bearer()]
    router = APIRouter(route_class=BoundedRoute, dependencies=guarded)
    embedders = {name: model for name, model in host.models.items() if isinstance(model.reader, Embedding)}
    for name, model in host.models.items():
        routes = [add(host, model, router, f"/models/{name}") for can, add in ADDERS if isinstance(model.reader, can)]
        _answers_route(host, model, router)
        _info_route(host, model, router, f"/models/{name}")
        model.routes = [*routes, f"/models/{name}/answers"]
    for can, add in ADDERS:
        first = next((model for model in host.models.values() if isinstance(model.reader, can)), None)
        if first is not None:
            add(host, first, router, "")
    if embedders:
        openai_routes(host, embedders, router, int(time.time()))
    _info_route(host, next(iter(host.models.values())), router, "")
    _models_route(host, router)
    _state_routes(host, app)
    app.include_router(router)
    _schema_route(app, list(embedders.values()))
    _errors(app)
    return app, Gate(app, host, api_key)


def _bearer() -> Any:
    """What the schema says of the API key, which the gate looks at."""
    from fastapi import Depends

    return Depends(HTTPBearer(auto_error=False))


def _answers_route(host: Host, model: HostedModel, router: APIRouter) -> None:
    request_of: Any
    request_of, response_of = bodies.answer_bodies(model.reader, model.name)

    @router.post(f"/models/{model.name}/answers", responses=TEI_ERRORS | {200: {"model": response_of}})
    async def answers(body: request_of) -> Response:
        """Give what the model answers to each text or pair, as its kind of task has it."""
        items = bodies.items_of(body.inputs)
        if not items or not all(item.text and item.pair != "" for item in items):
            raise empty("inputs")
        read = await model.read(items, body.cut(host.limits.auto_truncate), host.tokenizing)
        return as_json({"model": model.name, "answers": await model.answers(read, host.tokenizing)})


def _info_route(host: Host, model: HostedModel, router: APIRouter, prefix: str) -> None:
    @router.get(f"{prefix}/info", responses={200: {"model": bodies.Info}})
    async def info() -> Response:
        """Tell what is served, as Text Embeddings Inference does."""
        folder, limits = model.folder, host.limits
        labels = {str(index): name for index, name in enumerate(folder.labels)}
        named = {"id2label": labels, "label2id": {name: index for index, name in enumerate(folder.labels)}}
        what = next((what for can, what in MODEL_TYPES if isinstance(model.reader, can)), folder.kind)
        return as_json(
            bodies.Info(
                model_id=model.name,
                model_dtype=folder.facts.target or folder.runtime,
                served_model_name=model.name,
                model_type={what: {"pooling": "file"} if isinstance(model.reader, Embedding) else named},
                max_concurrent_requests=limits.max_queue,
                max_input_length=folder.max_length,
                max_batch_tokens=limits.max_batch_tokens,
                max_client_batch_size=limits.max_client_batch,
                auto_truncate=limits.auto_truncate,
                tokenization_workers=TOKENIZING_THREADS,
                version=compress.__version__,
            )
        )


def _models_route(host: Host, router: APIRouter) -> None:
    @router.get("/models", responses={200: {"model": bodies.Models}})
    async def models() -> Response:
        """List the models, and what each takes."""
        entries = [
            {
                "name": name,
                "kind": model.folder.kind,
                "state": model.state,
                "labels": model.folder.labels,
                "max_length": model.folder.max_length,
                "takes": model.reader.takes,
                "routes": model.routes,
            }
            for name, model in host.models.items()
        ]
        return as_json({"models": entries})


def _state_routes(host: Host, app: FastAPI) -> None:
    def state(status: int) -> Response:
        said = "draining" if host.is_draining else "ok" if host.is_ready else "loading"
        return as_json({"status": said, "models": {name: model.state for name, model in host.models.items()}}, status)

    @app.get("/health", responses={200: {"model": bodies.Health}})
    async def health() -> Response:
        """Tell that the server is alive, whatever it computes."""
        return state(200)

    @app.get("/ready", responses={status: {"model": bodies.Health} for status in (200, 503)})
    async def ready() -> Response:
        """Tell whether every model is loaded, and requests are taken."""
        return state(200 if host.is_ready else 503)

    @app.get("/metrics", responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}, response_class=Response)
    async def metrics() -> Response:
        """Give what is counted, for Prometheus."""
        return Response(host.metrics.text(), media_type=CONTENT_TYPE)


def _schema_route(app: FastAPI, embedders: list[HostedModel]) -> None:
    @app.get("/openapi.json", include_in_schema=False)
    async def schema() -> Response:
        """Give the schema, which says more when the models are loaded."""
        stated = app.openapi()
        state_widths(stated, embedders)
        return as_json(stated)


def _errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(request: Request, err: Refused) -> Response:
        return response_to(request.url.path, err)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, err: RequestValidationError) -> Response:
        return response_to(request.url.path, Refused(422, "Validation", said_of(list(err.errors()))))

    @app.exception_handler(HTTPException)
    async def other(request: Request, err: HTTPException) -> Response:
        message = f"{err.detail}; GET /openapi.json tells the routes."
        kind = KINDS.get(err.status_code, "Validation")
        return response_to(request.url.path, Refused(err.status_code, kind, message, err.headers))

    @app.exception_handler(Exception)
    async def failed(request: Request, err: Exception) -> Response:
        return response_to(request.url.path, Refused(500, "Backend", f"unexpected error: {type(err).__name__}"))
