"""A bundle holds each file that is right, names each that is not, and is there whole or not at all."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

import compress as cp
from compress.bundles import making
from compress.bundles.checksums import SUMS, differences, write_sums
from compress.bundles.making import bundle, check_place
from compress.bundles.weights import OWN, write_weights
from compress.cli import app
from compress.errors import CompressError, InputError
from compress.facts import FACTS, read_facts
from compress.marks import kind_of, write_mark
from compress.models.surgery import keep_neurons
from tests.bundles.answers import FP32
from tests.bundles.runs import STEP, finished_run
from tests.tiny_models import differences as apart
from tests.tiny_models import logits_of, state_of, tiny_bert


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of text classification."""
    return finished_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def made(run: Path, tmp_path_factory: pytest.TempPathFactory) -> making.Bundle:
    """Its bundle with two graphs."""
    return bundle(run, tmp_path_factory.mktemp("bundle") / "made", variants=["fp32", "quantized"], max_drop=0.5)


@pytest.mark.slow
def test_it_holds_what_readers_look_for_and_nothing_else(made: making.Bundle) -> None:
    names = {path.relative_to(made.path).as_posix() for path in made.path.rglob("*") if path.is_file()}
    tokenizer = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    graphs = {"onnx/model.onnx", "onnx/model.onnx.data", "onnx/model_quantized.onnx"}
    ours = {".bert-compress", "bert_compress.json", "structure.json"}
    others = {"README.md", "SHA256SUMS", "config.json", "export.json", "model.safetensors"}
    assert names == tokenizer | graphs | ours | others
    assert (made.path / "onnx" / "model.onnx.data").stat().st_size == 0
    assert kind_of(made.path) == "bundle"


@pytest.mark.slow
def test_its_sums_are_those_that_sha256sum_checks(made: making.Bundle) -> None:
    assert differences(made.path) == []
    ended = subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=made.path, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.slow
def test_its_weights_are_the_last_model_s(made: making.Bundle, run: Path) -> None:
    assert not apart(load_file(made.path / "model.safetensors"), load_file(run / "steps" / STEP / "model.safetensors"))
    config = json.loads((made.path / "config.json").read_text(encoding="utf-8"))
    assert config["problem_type"] == "single_label_classification"
    assert config["id2label"] == {"0": "bad", "1": "good"}


@pytest.mark.slow
def test_every_file_is_told_with_its_parity_its_scores_and_its_size(made: making.Bundle) -> None:
    facts = json.loads((made.path / FACTS).read_text(encoding="utf-8"))["bundle"]
    assert [entry["name"] for entry in facts["variants"]] == ["fp32", "quantized"]
    for entry in facts["variants"]:
        assert entry["size_bytes"] == (made.path / entry["file"]).stat().st_size
        assert entry["stages"][-1]["accepted"]
        lost = facts["whole"]["metrics"]["accuracy"] - entry["metrics"]["accuracy"]
        assert entry["drop"]["value"] == pytest.approx(lost)
        assert 0 <= entry["metrics_ci95"]["accuracy"][0] <= entry["metrics"]["accuracy"]
    assert facts["variants"][0]["relative_error"] < 1e-4 < facts["variants"][1]["relative_error"]
    assert facts["variants"][1]["integers"]["weight_bits"] == "7"
    assert read_facts(made.path).labels == ("bad", "good")


@pytest.mark.slow
def test_its_card_tells_the_hub_what_it_is_and_people_how_it_is_read(made: making.Bundle) -> None:
    card = (made.path / "README.md").read_text(encoding="utf-8")
    header = card.split("---")[1]
    for line in (
        "base_model: org/base",
        "library_name: transformers",
        "pipeline_tag: text-classification",
        "- transformers.js",
    ):
        assert line in header
    assert "type: accuracy" in header
    assert 'pipeline("text-classification", "ORG/NAME", { dtype: "q8" })' in card
    assert str(made.path.parent.parent) not in card, "no path of the machine that made it"
    assert made.readers["Transformers.js"] is None
    assert made.readers["fastembed"] == "it reads embedders and rerankers alone"


@pytest.mark.slow
def test_it_is_loaded_again_as_the_model_that_it_was_made_of(made: making.Bundle, run: Path) -> None:
    own, other = cp.load(made.path), cp.load(run / "steps" / STEP)
    assert logits_of(own).equal(logits_of(other))


@pytest.mark.slow
def test_a_file_that_loses_too_much_is_left_out_and_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = making.Judge.scores

    def worse(self: making.Judge, path: Path, runtime: str) -> dict[str, Any]:
        true = scores(self, path, runtime)
        return true | {"drop": {"value": 0.25, "ci95": [0.1, 0.4], "p": 0.0}} if "quantized" in path.name else true

    monkeypatch.setattr(making.Judge, "scores", worse)
    made = bundle(run, tmp_path / "made", variants=["fp32", "quantized"])
    assert [entry["name"] for entry in made.variants] == ["fp32"]
    assert not (made.path / "onnx" / "model_quantized.onnx").exists()
    (entry,) = made.left_out
    assert entry["drop"]["value"] == 0.25
    assert "it loses 25.00 % of accuracy" in entry["why"]
    card = (made.path / "README.md").read_text(encoding="utf-8")
    assert "`onnx/model_quantized.onnx` (quantized): it loses 25.00 %" in card
    config = json.loads((made.path / "config.json").read_text(encoding="utf-8"))
    assert config["transformers.js_config"] == {"dtype": "fp32"}, "or it would look for the one that is left out"


@pytest.mark.slow
def test_nothing_is_written_where_nothing_is_right(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise CompressError("the exporter failed")

    monkeypatch.setattr(making, "export", broken)
    with pytest.raises(CompressError, match=r"no variant is right.*\nfp32: the exporter failed"):
        bundle(run, tmp_path / "made", variants=["fp32"])
    assert not list(tmp_path.iterdir())


def _bundle_like(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    write_sums(folder)
    write_mark(folder, "bundle")
    return folder


def test_a_place_is_new_or_empty_or_an_untouched_bundle_that_is_to_be_overwritten(tmp_path: Path) -> None:
    folder = _bundle_like(tmp_path / "there")
    assert not check_place(tmp_path / "new", overwrite=False)
    assert check_place(folder, overwrite=True)
    with pytest.raises(InputError, match=r"is a bundle already.*--overwrite"):
        check_place(folder, overwrite=False)
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"notes.txt is not listed\), and that would be lost"):
        check_place(folder, overwrite=True)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"holds thesis.txt, and is no bundle"):
        check_place(tmp_path / "mine", overwrite=True)


@pytest.mark.slow
def test_a_bundle_that_is_made_anew_takes_the_old_one_s_place(run: Path, tmp_path: Path) -> None:
    folder = _bundle_like(tmp_path / "there")
    made = bundle(run, folder, variants=["fp32"], overwrite=True)
    assert (made.path / FP32).is_file()
    assert [entry.name for entry in tmp_path.iterdir()] == ["there"]


def test_uneven_layers_go_to_a_folder_that_transformers_does_not_look_into(tmp_path: Path) -> None:
    model = keep_neurons(tiny_bert(), [range(24), range(8)])
    why = write_weights(model, tmp_path)
    assert why is not None
    assert not (tmp_path / "model.safetensors").exists()
    assert (tmp_path / "config.json").is_file()
    assert logits_of(cp.load(tmp_path / OWN)).equal(logits_of(model))


def test_writing_weights_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model = tiny_bert()
    before = state_of(model)
    assert write_weights(model, tmp_path) is None
    assert not apart(before, state_of(model))


@pytest.mark.slow
def test_a_model_that_writes_texts_is_refused_by_name(tmp_path: Path) -> None:
    run = finished_run(tmp_path, "sequence-to-sequence")
    with pytest.raises(InputError, match="a bundle has no files for a model that writes texts"):
        bundle(run, tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--variants", "q8"], "variant 'q8' is unknown; allowed: fp32"),
        (["--variants", "q4,q4"], "is there twice"),
        (["--max-drop", "2"], "max_drop is 2.0; allowed: a fraction from 0 to 1"),
    ],
)
def test_wrong_options_end_with_2_and_write_nothing(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    result = CliRunner().invoke(app, ["bundle", str(tmp_path), "--out", str(tmp_path / "made"), *arguments])
    assert (result.exit_code, (tmp_path / "made").exists()) == (2, False)
    assert said in result.stderr


def test_the_command_prints_files_those_left_out_and_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {"metrics": {"accuracy": 0.9}, "drop": {"value": 0.01}, "agreement": 0.99, "size_bytes": 2_000_000}
    entry = {"name": "fp32", "file": FP32, "stages": [{"max_abs_error": 1e-6}], **scores}
    left_out = {"name": "q4", "file": "onnx/model_q4.onnx", "why": "it loses 5.00 % of accuracy"}
    result = making.Bundle(tmp_path / "made", (entry,), (left_out,), {"Triton": None, "fastembed": "it does not"})
    monkeypatch.setattr(making, "bundle", lambda *_, **__: result)
    shown = CliRunner().invoke(app, ["bundle", str(tmp_path), "--out", str(tmp_path / "made")]).stdout
    assert "onnx/model.onnx" in shown
    assert "left out: q4: it loses 5.00 %" in shown
    assert "read by: Triton\nnot by fastembed: it does not" in shown
    told_in_json = json.loads(CliRunner().invoke(app, ["bundle", str(tmp_path), "--out", "x", "--json"]).stdout)
    assert told_in_json["left_out"] == [left_out]
    assert told_in_json["readers"] == {"Triton": None, "fastembed": "it does not"}


def test_a_dry_push_tells_what_would_be_sent(tmp_path: Path) -> None:
    folder = _bundle_like(tmp_path / "there")
    (folder / FACTS).write_text('{"schema": 1}', encoding="utf-8")
    write_sums(folder)
    shown = CliRunner().invoke(app, ["push", str(folder), "org/small", "--dry-run"])
    assert shown.exit_code == 0, shown.output
    assert "3 files" in shown.stdout
    assert "would go to org/small (private); nothing was sent" in shown.stdout
    refused = CliRunner().invoke(app, ["push", str(tmp_path), "org/small", "--dry-run"])
    assert refused.exit_code == 2
