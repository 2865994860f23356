"""Which files a bundle may hold, by the names that readers look for."""

from __future__ import annotations

import pytest

from compress.bundles.variants import VARIANTS, variants_named
from compress.errors import InputError
from compress.facts import Facts
from compress.targets import TARGETS

SUFFIXES = {"fp32": "", "fp16": "_fp16", "quantized": "_quantized", "int8": "_int8", "q4": "_q4"}
"""As Transformers.js 4.3 has them, in src/utils/dtypes.js."""


def test_graphs_are_called_as_transformers_js_looks_for_them() -> None:
    graphs = {name: variant.file for name, variant in VARIANTS.items() if not variant.is_ir}
    assert graphs == {name: f"onnx/model{suffix}.onnx" for name, suffix in SUFFIXES.items()}


def test_files_of_openvino_are_called_as_sentence_transformers_looks_for_them() -> None:
    assert VARIANTS["openvino"].file == "openvino/openvino_model.xml"
    assert VARIANTS["openvino-int8"].file == "openvino/openvino_model_qint8_quantized.xml"


def test_every_variant_is_written_by_a_target_of_the_toolkit() -> None:
    assert {variant.target for variant in VARIANTS.values()} <= TARGETS.keys()


def test_no_name_is_all_of_them_and_names_come_in_the_order_of_the_table() -> None:
    assert [variant.name for variant in variants_named([])] == list(VARIANTS)
    assert [variant.name for variant in variants_named(["q4", "fp32"])] == ["fp32", "q4"]


@pytest.mark.parametrize(("names", "said"), [(["q8"], "'q8' is unknown; allowed: fp32"), (["q4", "q4"], "is there twice")])
def test_unknown_and_repeated_names_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        variants_named(names)


@pytest.mark.parametrize(
    ("activations", "bits", "names"),
    [("dynamic", "7", ["quantized", "int8"]), ("dynamic", "8", ["int8"]), ("static", "7", ["int8"])],
)
def test_an_int8_file_of_a_run_is_taken_for_what_it_is(activations: str, bits: str, names: list[str]) -> None:
    """The portable one has seven bits and ranges of each call; the other may have any."""
    facts = Facts(target="onnxruntime-cpu-int8", integers={"activations": activations, "weight_bits": bits})
    assert [name for name, variant in VARIANTS.items() if variant.is_as(facts)] == names


def test_a_float16_file_that_answers_in_float16_is_not_taken() -> None:
    facts = Facts(target="onnxruntime-cuda-fp16", options={"max_flips": 0.02})
    assert not VARIANTS["fp16"].is_as(facts)
    assert VARIANTS["fp16"].is_as(Facts(target="onnxruntime-cuda-fp16", options={"outputs": "float32"}))
