"""Bundles of tiny models, made once a session where a test asks for them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

import compress as cp
from compress.bundles import making
from compress.bundles.variants import Variant, variants_named
from tests.bundles.runs import finished_run

BundleOf = Callable[[str], Path]
LOOSE = {"max_flips": 1.0, "max_relative_error": 1000.0}
"""A random model's answers are ties."""


def loosely(names: list[str]) -> list[Variant]:
    """The variants of these names, whose integers may answer anything."""
    return [
        replace(variant, options={**variant.options, **LOOSE}) if variant.integers else variant
        for variant in variants_named(names)
    ]


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory: pytest.TempPathFactory) -> BundleOf:
    """The bundle of a random BERT for a kind of task: float32, the portable int8, and OpenVINO's where that is installed."""
    variants = ["fp32", "quantized", *(["openvino"] if importlib.util.find_spec("openvino") else [])]

    @cache
    def make(kind: str) -> Path:
        folder = tmp_path_factory.mktemp("bundle")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(making, "variants_named", loosely)
            return cp.bundle(finished_run(folder, kind), folder / "made", variants=variants, max_drop=1.0).path

    return make
