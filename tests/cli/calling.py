"""Call the command line in this process, with light things in the place of heavy ones."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from compress import cli
from compress.recipe.plan import Export, Plan, Step

EXAMPLES = Path(__file__).parents[1]
PLAN = Plan("demo", 13, "m", {}, (Step("fine_tune", {"epochs": 1}, "teacher"),), (Export("onnxruntime-cpu", {}),))


def call(*arguments: str) -> Any:
    return CliRunner().invoke(cli.app, list(arguments))


def stand_in(monkeypatch: pytest.MonkeyPatch, module: str, **names: Any) -> None:
    """Put a light module in the place of a heavy one."""
    light = types.ModuleType(module)
    vars(light).update(names)
    package, _, last = module.rpartition(".")
    monkeypatch.setitem(sys.modules, module, light)
    monkeypatch.setattr(importlib.import_module(package), last, light, raising=False)


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail
