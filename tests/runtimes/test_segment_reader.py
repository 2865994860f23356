"""A text of any length is read segment by segment, to the answer that the whole of it gives."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import compress as cp
from compress.errors import InputError
from compress.facts import FACTS, MANIFEST
from compress.methods.swap_attention import swap_attention
from compress.models.attention.segments import TransformerXL
from compress.runtimes.segment_reader import PIECE, SegmentReader, _whole_words, open_segment_file
from compress.targets.exporting import export
from tests.tiers import mostly_matrix
from tests.tiny_models import logits_of, tiny_bert, tokens, toy_task

TEXT = "the film is good , and bad\nit is not " * 30
TARGETS: dict[str, Any] = {"onnxruntime-cpu": {}, "openvino-cpu": {"precision": "float32"}}


@pytest.fixture(scope="module", params=mostly_matrix(["transformer_xl", "chunk_and_pool"], always=["transformer_xl"]))
def student(request: pytest.FixtureRequest) -> Any:
    model = swap_attention(tiny_bert(), task=toy_task(max_length=600), max_length=600, kind=request.param, segment=10)
    for module in model.modules():
        if isinstance(module, TransformerXL):
            torch.nn.init.normal_(module.memory_bias)
    return model


@pytest.mark.floors
@pytest.mark.slow
@pytest.mark.parametrize("target", mostly_matrix(TARGETS, always=["onnxruntime-cpu"]))
def test_it_answers_as_the_whole_text_does(student: Any, target: str, tmp_path: Path) -> None:
    shipped = export(student, tmp_path / "out", target=target, task=toy_task(), memory=True, **TARGETS[target])
    assert [stage.name for stage in shipped.stages][-1] == "segment"
    reader = cp.SegmentReader(shipped.path, runtime="openvino" if target == "openvino-cpu" else "onnxruntime", threads=1)
    assert reader.segment == 10
    assert reader.labels == tuple(student.config.id2label.values())
    encoded = student.tokenizer(TEXT, return_tensors="pt")
    logits = logits_of(student, **encoded)[0].numpy()
    np.testing.assert_allclose(reader.read(TEXT), logits, atol=1e-4)
    np.testing.assert_allclose(reader.read(TEXT.splitlines(keepends=True)), logits, atol=1e-4)
    ids = encoded["input_ids"][0, 1:-1].tolist()
    np.testing.assert_allclose(reader.read_ids(iter(ids)), logits, atol=1e-4)
    empty = logits_of(student, **student.tokenizer("", return_tensors="pt"))[0].numpy()
    np.testing.assert_allclose(reader.read(""), empty, atol=1e-4)
    old = {key: value for key, value in json.loads((shipped.path / FACTS).read_text()).items() if key != "schema"}
    (shipped.path / FACTS).unlink()
    (shipped.path / MANIFEST).write_text(json.dumps(old))  # as a folder of before tells it
    again = cp.SegmentReader(shipped.path, runtime="openvino" if target == "openvino-cpu" else "onnxruntime", threads=1)
    np.testing.assert_array_equal(again.read(TEXT), reader.read(TEXT))
    assert (again.labels, again.segment) == (reader.labels, reader.segment)
    file = open_segment_file(shipped.path / "segment.onnx")
    for batch in (tokens(lengths=(1,)), tokens(lengths=(23, 1, 10))):
        outputs = file.read_batch({name: values.numpy() for name, values in batch.items()}, reader.segment)
        np.testing.assert_allclose(outputs, logits_of(student, **batch).numpy(), atol=1e-4)
    so_far = list(reader.follow_ids(ids))
    assert len(so_far) == -(-(len(ids) + 1) // 9)


@pytest.mark.matrix
def test_nothing_is_read_ahead(tmp_path: Path) -> None:
    model = swap_attention(tiny_bert(), task=toy_task(max_length=24), kind="transformer_xl", segment=10)
    shipped = export(model, tmp_path / "out", target="onnxruntime-cpu", task=toy_task(), memory=True)
    reader, taken = SegmentReader(shipped.path), []

    def ids() -> Iterator[int]:
        for number in itertools.count(5):
            taken.append(number)
            yield 5 + number % 10

    followed = reader.follow_ids(ids())
    for segments in range(1, 50):
        assert np.isfinite(next(followed)).all()
        assert len(taken) == 9 * segments


@pytest.mark.parametrize(
    "parts",
    [
        ["one two " * PIECE],
        ["word"] * 3 + [" "] * 2 + ["x" * (3 * PIECE) + " end"],
        ["a b"],
        [""],
        [" " * (2 * PIECE) + "x"],
        ["ab cd\n" * 100] * 400,
    ],
)
def test_pieces_end_where_words_do(parts: list[str]) -> None:
    text, chunks = "".join(parts), list(_whole_words(parts))
    assert "".join(chunks) == text
    assert [word for piece in chunks for word in piece.split()] == text.split()
    if len(text) > 2 * PIECE and "x" not in text:
        assert max(map(len, chunks)) <= 2 * PIECE
        assert len(chunks) > 1


def test_a_folder_without_a_segment_file_is_refused(tmp_path: Path) -> None:
    shipped = export(tiny_bert(), tmp_path / "out", target="onnxruntime-cpu", task=toy_task())
    for folder in (tmp_path / "nowhere", shipped.path):
        with pytest.raises(InputError, match="holds no model that reads segments; export one that has swap_attention"):
            SegmentReader(folder)


def test_a_model_without_segments_has_no_memory_to_hand_on(tmp_path: Path) -> None:
    for model in (tiny_bert(), swap_attention(tiny_bert(), task=toy_task(), kind="reformer")):
        with pytest.raises(InputError, match="memory is true, but the model does not read segments"):
            export(model, tmp_path / "out", target="onnxruntime-cpu", task=toy_task(), memory=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_damaged_tokenizer_is_told(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compress.runtimes.segment_reader.open_segment_file", lambda *_, **__: None)
    (tmp_path / FACTS).write_text(json.dumps({"segment": {"tokens": 10}, "labels": ["bad", "good"]}))
    (tmp_path / "segment.onnx").touch()
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(InputError, match=r"tokenizer\.json cannot be read as a tokenizer"):
        SegmentReader(tmp_path)
    (tmp_path / FACTS).write_text(json.dumps({"segment": {"tokens": 10}}))
    with pytest.raises(InputError, match="holds no model that reads segments"):
        SegmentReader(tmp_path)
