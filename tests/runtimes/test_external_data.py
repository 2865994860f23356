from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from compress.errors import InputError
from compress.runtimes.external_data import external_files
from tests.runtimes.files import constant, save_graph, sums, with_external_data


def test_a_file_with_all_its_weights_has_none(tmp_path: Path) -> None:
    assert external_files(sums(tmp_path / "model.onnx")) == []


def test_a_file_that_is_no_onnx_names_none(tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("text", b"no graph")):
        (tmp_path / name).write_bytes(content)
        assert external_files(tmp_path / name) == []


def test_what_is_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "one.bin").write_bytes(b"\0" * 8)
    path = with_external_data(tmp_path / "model.onnx", "weights/one.bin")
    assert external_files(path) == [tmp_path / "weights" / "one.bin"]


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("gone.bin", "which is not there"),
        (".", "which is not there"),
        ("../other.bin", "allowed are files in its own folder"),
        ("/etc/passwd", "allowed are files in its own folder"),
        ("../../../../../../etc/passwd", "allowed are files in its"),
        ("a\0b", "which is no file name"),
        ("x" * 5000, "which is (no file name|not there)"),
    ],
)
def test_what_is_missing_or_elsewhere_is_refused(tmp_path: Path, location: str, words: str) -> None:
    (tmp_path / "other.bin").write_bytes(b"\0" * 8)
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(InputError, match=f"model.onnx keeps weights in .*{words}") as raised:
        external_files(with_external_data(folder / "model.onnx", location))
    assert len(str(raised.value)) < 600


def test_a_link_to_another_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(b"\0" * 8)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "data.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(InputError, match="allowed are files in its own folder"):
        external_files(with_external_data(folder / "model.onnx", "data.bin"))


def test_links_of_a_hub_s_cache_are_followed(tmp_path: Path) -> None:
    """There every file of a snapshot is a link to one folder of blobs."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    with_external_data(blobs / "a", "model.onnx_data")
    (blobs / "b").write_bytes(b"\0" * 8)
    for name, blob in (("model.onnx", "a"), ("model.onnx_data", "b")):
        (snapshot / name).symlink_to(os.path.join("..", "..", "blobs", blob))
    assert external_files(snapshot / "model.onnx") == [snapshot / "model.onnx_data"]


def test_a_constant_inside_a_branch_is_looked_at_too(tmp_path: Path) -> None:
    outside = onnx.TensorProto(name="more", data_type=TensorProto.FLOAT, dims=[1, 2], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="/etc/passwd")
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Constant", [], ["y"], value=outside)], "branch", [], [value])
    nodes = [
        helper.make_node("If", ["true"], ["more"], then_branch=branch, else_branch=branch),
        helper.make_node("Add", ["sums", "more"], ["logits"]),
    ]
    path = save_graph(tmp_path / "model.onnx", nodes, [constant("true", True, bool)])
    with pytest.raises(InputError, match="'/etc/passwd'; allowed are files in its own folder"):
        external_files(path)


def test_a_file_that_cannot_be_parsed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"location of nothing")
    with pytest.raises(InputError, match=r"model\.onnx is no ONNX file"):
        external_files(tmp_path / "model.onnx")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.onnx cannot be read"):
        external_files(tmp_path / "model.onnx")
