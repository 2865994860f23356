from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from compress.errors import InputError, first_line
from compress.runtimes.onnxruntime import check_onnx_device, feeds, open_session, providers


def write_sum(path: Path, *names: str, kind: int = TensorProto.INT64, output: str = "logits") -> Path:
    """An output that is the sum of all inputs, as float32."""
    nodes = [helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT) for name in names]
    nodes.append(helper.make_node("Sum", [f"{name}_float" for name in names], [output]))
    inputs = [helper.make_tensor_value_info(name, kind, ["batch", "length"]) for name in names]
    result = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", "length"])
    graph = helper.make_graph(nodes, "sum", inputs, [result])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_a_file_opens_with_the_threads_asked_for(tmp_path: Path) -> None:
    session = open_session(write_sum(tmp_path / "model.onnx", "input_ids"), threads=2, spinning=False)
    options = session.get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_idle_threads_spin_when_timing(tmp_path: Path) -> None:
    options = open_session(write_sum(tmp_path / "model.onnx", "input_ids")).get_session_options()
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "1"


def test_a_file_that_is_no_onnx_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"garbage")
    with pytest.raises(InputError, match=r"model\.onnx cannot be loaded by onnxruntime: .*Export the model again") as raised:
        open_session(tmp_path / "model.onnx")
    assert len(str(raised.value).splitlines()) == 1


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be loaded by onnxruntime"):
        open_session(tmp_path / "model.onnx")


def test_an_unknown_input_is_refused_by_name_and_type(tmp_path: Path) -> None:
    path = write_sum(tmp_path / "model.onnx", "input_ids", "position_ids")
    with pytest.raises(InputError, match=r"asks for position_ids tensor\(int64\); allowed"):
        open_session(path)


def test_an_input_of_floats_is_refused(tmp_path: Path) -> None:
    path = write_sum(tmp_path / "model.onnx", "input_ids", kind=TensorProto.FLOAT)
    with pytest.raises(InputError, match=r"asks for input_ids tensor\(float\)"):
        open_session(path)


def test_a_file_without_logits_is_refused(tmp_path: Path) -> None:
    path = write_sum(tmp_path / "model.onnx", "input_ids", output="last_hidden_state")
    with pytest.raises(InputError, match="gives last_hidden_state; an output called logits is needed"):
        open_session(path)


def test_inputs_that_the_file_does_not_ask_for_are_left_out(tmp_path: Path) -> None:
    session = open_session(write_sum(tmp_path / "model.onnx", "input_ids"))
    ids = np.array([[1, 2]])
    assert list(feeds(session, {"input_ids": ids, "attention_mask": ids, "token_type_ids": ids})) == ["input_ids"]


def test_token_types_that_are_missing_are_zeros(tmp_path: Path) -> None:
    session = open_session(write_sum(tmp_path / "model.onnx", "input_ids", "attention_mask", "token_type_ids"))
    ids = np.array([[4, 2]])
    given = feeds(session, {"input_ids": ids, "attention_mask": np.ones_like(ids)})
    assert given["token_type_ids"].tolist() == [[0, 0]]
    assert session.run(["logits"], given)[0].tolist() == [[5.0, 3.0]]


def test_a_file_that_asks_for_32_bit_integers_gets_them(tmp_path: Path) -> None:
    session = open_session(write_sum(tmp_path / "model.onnx", "input_ids", kind=TensorProto.INT32))
    given = feeds(session, {"input_ids": np.array([[7, 9]], dtype=np.int64)})
    assert given["input_ids"].dtype == np.int32
    assert session.run(["logits"], given)[0].tolist() == [[7.0, 9.0]]


def test_a_device_that_onnxruntime_does_not_have_is_refused_with_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(InputError, match=r"device is 'cuda:0'.* it has: CPUExecutionProvider"):
        check_onnx_device("cuda:0")
    check_onnx_device("cpu")


def test_a_device_that_onnxruntime_has_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    check_onnx_device("cuda:3")


def test_a_fall_back_to_the_cpu_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fallen = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *arguments, **options: fallen)
    with pytest.raises(InputError, match="fell back from cuda to the CPU"):
        open_session(tmp_path / "model.onnx", device="cuda")


@pytest.mark.parametrize(("device", "number"), [("cuda", 0), ("cuda:2", 2)])
def test_the_provider_of_a_gpu_carries_its_number(device: str, number: int) -> None:
    assert providers(device) == [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]


def test_an_error_without_a_message_is_told_by_its_class() -> None:
    assert first_line(ValueError("\n one\ntwo")) == "one"
    assert first_line(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_opening_a_file_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from compress.runtimes.onnxruntime import open_session;"
        "open_session(Path(sys.argv[1])); print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    command: list[Any] = [sys.executable, "-c", code, write_sum(tmp_path / "model.onnx", "input_ids")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"
