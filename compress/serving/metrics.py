"""What a server counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE

__all__ = ["CONTENT_TYPE", "Metrics", "ModelMetrics"]
PREFIX = "bert_compress_"
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ModelMetrics:
    """What is counted of one model; made by `Metrics.of`."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._queue = metrics.queue.labels(name)
        self._waited, self._seconds = metrics.waited.labels(name), metrics.inference.labels(name)
        self._texts = metrics.batch.labels(name)
        self._tokens, self._padding = metrics.tokens.labels(name), metrics.padding.labels(name)
        self._ready = metrics.ready.labels(name)

    def queued(self, count: int) -> None:
        """So many pieces wait."""
        self._queue.set(count)

    def computed(self, lengths: Sequence[int], waited: float, seconds: float) -> None:
        """A batch of pieces of these lengths was computed, whose first had waited."""
        self._texts.observe(len(lengths))
        self._tokens.inc(sum(lengths))
        self._padding.inc(max(lengths) * len(lengths) - sum(lengths))
        self._waited.observe(waited)
        self._seconds.observe(seconds)

    def is_ready(self, ready: bool) -> None:
        """The model answers, or does not."""
        self._ready.set(ready)


class Metrics:
    """All metrics of one server."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(f"{PREFIX}requests", "Requests by route and status.", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            f"{PREFIX}request_seconds",
            "From a request's head to the end of its response.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge(
            f"{PREFIX}requests_in_flight", "Requests that were accepted and are not answered yet.", registry=registry
        )
        self.queue = Gauge(f"{PREFIX}queue_texts", "Pieces of texts that wait for a model.", ["model"], registry=registry)
        self.waited = Histogram(
            f"{PREFIX}queue_seconds", "How long a batch's first piece waited.", ["model"], buckets=SECONDS, registry=registry
        )
        self.inference = Histogram(
            f"{PREFIX}inference_seconds", "How long a batch was computed.", ["model"], buckets=SECONDS, registry=registry
        )
        self.batch = Histogram(
            f"{PREFIX}batch_texts", "Pieces of texts in a batch.", ["model"], buckets=SIZES, registry=registry
        )
        self.tokens = Counter(f"{PREFIX}tokens", "Tokens that were read, padding not counted.", ["model"], registry=registry)
        self.padding = Counter(f"{PREFIX}padding_tokens", "Tokens of padding.", ["model"], registry=registry)
        self.ready = Gauge(f"{PREFIX}model_ready", "1 where a model is loaded.", ["model"], registry=registry)

    def of(self, model: str) -> ModelMetrics:
        """Those of one model."""
        return ModelMetrics(self, model)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was answered; `route` is the pattern, of which there are few."""
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """What is read by Prometheus."""
        return generate_latest(self.registry)
