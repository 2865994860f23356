"""The few things that tests of several folders ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from accelerate.state import AcceleratorState
from hypothesis import settings
from transformers import PreTrainedModel

from compress.tasks.labelled import Task
from tests.exported_once import exported_once
from tests.promotion import exports_looked_at
from tests.tiny_models import tiny_bert, toy_task

settings.register_profile("default", max_examples=150, deadline=None, derandomize=True, database=None)
settings.register_profile("thorough", max_examples=2000, deadline=None, print_blob=True, database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session", autouse=True)
def _graphs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Export each tiny model once, in whichever process first needs it, and look at what torch made of it."""
    room = tmp_path_factory.getbasetemp()
    shared = room.parent if "PYTEST_XDIST_WORKER" in os.environ else room
    with exports_looked_at(), exported_once(shared / "graphs"):
        yield


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Call bytes by their argument: packed ones hold the time, and every process has to call a test the same."""
    return argname if isinstance(val, bytes) else None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Recipes can be run on a GPU too."""
    parser.addoption("--device", choices=("cpu", "cuda"), default="cpu", help="where recipes run")


@pytest.fixture
def device(request: pytest.FixtureRequest) -> str:
    """Where recipes run."""
    return str(request.config.getoption("--device"))


@pytest.fixture
def model() -> PreTrainedModel:
    """A random BERT of two layers."""
    return tiny_bert()


@pytest.fixture
def toy() -> Task:
    """Forty sentences to learn from."""
    return toy_task()


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Train in float32 on every machine, for tests that compare numbers closely.

    accelerate settles the precision once for a process, so that it is made to forget what it settled.
    """
    AcceleratorState._reset_state()
    monkeypatch.setattr("compress.training.loop.has_fast_bf16", lambda device: False)
    for module in ("teacher_cache", "teacher_texts"):
        monkeypatch.setattr(f"compress.training.{module}.has_fast_bf16", lambda device: False)
    yield
    AcceleratorState._reset_state()
