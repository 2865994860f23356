"""A bundle is read in node and in a browser, by Transformers.js and by onnxruntime-web, installed from npm."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from compress.tasks.kind import load_kind
from tests.bundles.answers import FP32, QUANTIZED, READ, TEXTS, check_same, own_answers, seconds_of
from tests.bundles.conftest import BundleOf
from tests.environments import node_with

pytestmark = [pytest.mark.slow, pytest.mark.matrix]
HERE = Path(__file__).parent
EXACT, INTEGERS = 1e-4, 2e-2
"""Of float32; and of int8, whose ranges another kernel may round to the next step."""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Transformers.js, the onnxruntime-web that it pins, and a Chromium that comes as a package."""
    folder = tmp_path_factory.mktemp("javascript") / "environment"
    return node_with(folder, "playwright-core@1", "@sparticuz/chromium@147", "@huggingface/transformers@4")


def _said(node: Path, script: str, root: Path, asked: list[dict[str, Any]]) -> list[dict[str, Any] | None]:
    (node / script).write_text((HERE / script).read_text(encoding="utf-8"), encoding="utf-8")
    command = ["node", script, str(root), json.dumps(asked)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=node, timeout=300)
    assert ended.returncode == 0, ended.stderr[-2000:]
    said: list[dict[str, Any] | None] = json.loads(ended.stdout.strip().splitlines()[-1])
    return said


def _question(folder: Path, kind: str, **how: str) -> dict[str, Any]:
    head = load_kind(kind).head
    name = "AutoModel" if head.gives_vectors else f"AutoModelFor{head.architecture}"
    return {"name": folder.name, "model": name, "texts": TEXTS, "pairs": seconds_of(kind), **how}


@pytest.mark.parametrize("kind", READ)
def test_transformers_js_and_onnxruntime_web_answer_in_node_as_the_files_do(
    node: Path, bundle_of: BundleOf, kind: str
) -> None:
    folder = bundle_of(kind)
    asked = [
        _question(folder, kind, **how) for how in ({"dtype": "fp32"}, {"dtype": "q8"}, {"file": FP32}, {"file": QUANTIZED})
    ]
    answers = _said(node, "in_node.mjs", folder.parent, asked)
    for answer, (file, tolerance) in zip(answers, 2 * [(FP32, EXACT), (QUANTIZED, INTEGERS)], strict=True):
        assert answer is not None
        check_same(answer, own_answers(folder, file, kind), tolerance)


@pytest.mark.parametrize("kind", READ)
def test_transformers_js_answers_in_a_browser_as_the_files_do(node: Path, bundle_of: BundleOf, kind: str) -> None:
    """In WebAssembly, by the file that it takes unasked; and in WebGPU, where the browser has it."""
    folder = bundle_of(kind)
    asked = [_question(folder, kind, device="wasm"), _question(folder, kind, device="webgpu")]
    in_wasm, in_webgpu = _said(node, "in_chromium.mjs", folder.parent, asked)
    assert in_wasm is not None
    check_same(in_wasm, own_answers(folder, QUANTIZED, kind), INTEGERS)
    if in_webgpu is not None:
        check_same(in_webgpu, own_answers(folder, FP32, kind), EXACT)
