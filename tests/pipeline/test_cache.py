"""The cache tells the truth: what is taken from it is what was put there, or is made anew with a word."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.benchmark.measurement import Measurement
from compress.disk import Damaged, remove, write_sealed
from compress.errors import CompressError, InputError
from compress.marks import MARK, kind_of
from compress.models.checkpoint.folders import new_folder
from compress.models.checkpoint.saving import save
from compress.pipeline import RunOptions, measuring, run, running, steps
from compress.pipeline.cache import FACTS, Cache, cache_folder, open_cache, read_entry
from compress.recipe import Plan, read_recipe
from tests.pipeline.conftest import contents_of, weights_of, write_recipe
from tests.tiny_models import tiny_bert

KEY = "0123456789abcdef01234567"
EXAMPLE = Path(__file__).parents[1] / "example_run.json"
ONE_STEP = """
  - fine_tune: {epochs: 1, learning_rate: 1e-3, batch_size: 8}
    as: teacher
"""


def _tiny(out: Path, **changes: Any) -> RunOptions:
    return RunOptions(**{"out": out, "tiny": True, "device": "cpu", **changes})


def _made(cache: Cache, kind: str = "steps", key: str = KEY, text: str = "weights") -> Path:
    """A result in the cache."""
    partial = cache.partial(kind, key)
    (partial / "model.safetensors").write_text(text)
    (partial / "config.json").write_text("{}")
    return cache.finish(kind, key, {"seconds": 1.5, "metrics": {"accuracy": 0.5}})


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def _gone(path: Path) -> None:
    path.unlink()


def _linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


HARMS = [_flipped, _cut, _gone, _linked, _emptied]


def test_a_whole_result_is_found_with_its_facts_and_files(tmp_path: Path) -> None:
    folder = _made(Cache(tmp_path / "cache"))
    cache = Cache(tmp_path / "cache")
    assert cache.find("steps", KEY) == folder
    assert cache.facts(folder) == {"seconds": 1.5, "metrics": {"accuracy": 0.5}}
    assert set(cache.files(folder)) == {"model.safetensors", "config.json"}
    assert cache.find("steps", "f" * 24) is None
    assert kind_of(tmp_path / "cache") == "cache"


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", ["model.safetensors", FACTS])
def test_a_damaged_result_is_told_of_and_made_anew(
    tmp_path: Path, harm: Callable[[Path], None], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = _made(Cache(tmp_path))
    harm(folder / name)
    cache = Cache(tmp_path)
    assert cache.find("steps", KEY) is None
    assert cache.find("steps", KEY) is None
    (said,) = [record.getMessage() for record in caplog.records]
    assert f"{folder} is damaged: {name}" in said
    assert said.endswith("It is made anew.")
    assert _made(cache) == folder
    assert cache.find("steps", KEY) == folder == Cache(tmp_path).find("steps", KEY)
    assert not (folder / "model.safetensors").is_symlink()


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "{}", '{"facts": {}, "files": {}}', "\x00", "[" * 10**5, "1" * 5000])
def test_facts_that_say_nothing_are_made_anew(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = _made(Cache(tmp_path))
    (folder / FACTS).write_text(text)
    assert Cache(tmp_path).find("steps", KEY) is None
    assert "is damaged: facts.json" in caplog.text


def test_a_figure_that_was_edited_is_noticed(tmp_path: Path) -> None:
    folder = _made(Cache(tmp_path), "measurements")
    record = json.loads((folder / FACTS).read_text())
    record["facts"]["metrics"]["accuracy"] = 0.99
    (folder / FACTS).write_text(json.dumps(record))
    with pytest.raises(Damaged, match="has other contents than were written"):
        read_entry(folder)


def test_a_result_of_an_earlier_version_which_has_no_hashes_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "steps" / KEY).mkdir(parents=True)
    (tmp_path / "steps" / KEY / FACTS).write_text(json.dumps({"seconds": 1.0}))
    assert open_cache(tmp_path, tmp_path / "out").find("steps", KEY) is None


def test_a_file_that_a_loader_would_read_is_noticed_and_notes_are_not(tmp_path: Path) -> None:
    folder = _made(Cache(tmp_path))
    (folder / "notes.md").write_text("mine")
    assert Cache(tmp_path).find("steps", KEY) == folder
    (folder / "added_tokens.json").write_text("{}")
    cache = Cache(tmp_path)
    assert cache.find("steps", KEY) is None
    _made(cache)
    assert Cache(tmp_path).find("steps", KEY) == folder
    assert (folder / "notes.md").read_text() == "mine"
    assert (folder / "added_tokens.json.kept").read_text() == "{}"


@pytest.mark.parametrize("name", ["../../mine", "/etc/hostname", "a/../../mine", ".."])
def test_facts_that_name_files_elsewhere_are_damaged(tmp_path: Path, name: str) -> None:
    folder = _made(Cache(tmp_path))
    write_sealed(folder / FACTS, {"facts": {}, "files": {name: "0"}})
    with pytest.raises(Damaged, match="lies elsewhere"):
        read_entry(folder)


def test_an_entry_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    folder = _made(Cache(tmp_path / "cache"))
    other = tmp_path / "other"
    folder.rename(other)
    folder.symlink_to(other)
    before = contents_of(other)
    cache = Cache(tmp_path / "cache")
    assert cache.find("steps", KEY) is None
    _made(cache, text="new")
    assert contents_of(other) == before
    assert folder.with_name(f"{KEY}.kept").is_symlink()


def test_everything_is_on_the_disk_before_a_result_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def noted(handle: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name.partition(".partial.")[0])
        fsync(handle)

    def renamed(path: Path, target: Path) -> Path:
        synced.append("renamed")
        return rename(path, target)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("the names of open files are not told here")
    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "rename", renamed)
    _made(Cache(tmp_path))
    before = synced[: synced.index("renamed")]
    assert {"model.safetensors", "config.json", FACTS, f"{KEY}.partial"} <= set(before)
    assert "steps" in synced[synced.index("renamed") :]


def test_a_damaged_entry_of_a_read_only_cache_is_made_anew_beside(tmp_path: Path) -> None:
    folder = _made(Cache(tmp_path / "old"))
    cache = Cache(tmp_path / "new", read_only=tmp_path / "old")
    assert cache.find("steps", KEY) == folder
    _flipped(folder / "model.safetensors")
    before = contents_of(tmp_path / "old")
    cache = Cache(tmp_path / "new", read_only=tmp_path / "old")
    assert cache.find("steps", KEY) is None
    assert _made(cache) == cache.find("steps", KEY) == tmp_path / "new" / "steps" / KEY
    assert contents_of(tmp_path / "old") == before


def test_a_users_folder_is_no_cache_and_stays_as_it_is(tmp_path: Path) -> None:
    for name in ("steps/plan.txt", "exports/report.pdf", "notes.md"):
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).write_text("mine")
    (tmp_path / "alike" / "steps" / "first").mkdir(parents=True)
    save(tiny_bert(), tmp_path / "model")
    (tmp_path / "nowhere").symlink_to(tmp_path / "none")
    (tmp_path / "linked").mkdir()
    _made(Cache(tmp_path / "linked"))
    (tmp_path / "linked" / "exports").symlink_to(tmp_path / "mine")
    before = contents_of(tmp_path)
    wanted = {
        "mine": "holds exports, notes.md, steps",
        "alike": "no cache of ours",
        "model": "the folder of a model",
        "nowhere": "leads nowhere",
        "linked": "links are not followed",
        "mine/notes.md": "is a file",
        "mine/notes.md/deeper": "which is a file",
    }
    for name, why in wanted.items():
        with pytest.raises(InputError, match=f"--cache .*{why}"):
            open_cache(tmp_path / name, tmp_path / "out")
    assert contents_of(tmp_path) == before


def test_opening_a_cache_writes_nothing_and_probes_are_not_left(tmp_path: Path) -> None:
    open_cache(tmp_path / "new", tmp_path / "out")
    assert not os.listdir(tmp_path)
    (tmp_path / f".probe.{os.getpid()}").write_text("mine")
    (tmp_path / "steps").mkdir()
    open_cache(tmp_path, tmp_path / "out")
    assert (tmp_path / f".probe.{os.getpid()}").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == [f".probe.{os.getpid()}", "steps"]


def test_a_cache_of_somebody_else_beside_the_run_folder_is_left_alone(tmp_path: Path) -> None:
    assert cache_folder(None, tmp_path / "out") == tmp_path / ".cache"
    (tmp_path / ".cache" / "pip").mkdir(parents=True)
    assert cache_folder(None, tmp_path / "out") == tmp_path / ".cache" / "bert-compress"
    assert cache_folder(tmp_path / "told", tmp_path / "out") == tmp_path / "told"


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_lock_in_the_cache_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    lock = tmp_path / "steps" / f"{KEY}.lock"
    lock.parent.mkdir()
    lock.mkdir() if kind == "folder" else lock.symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match=f"is a {kind}, but a lock is a file of ours"), Cache(tmp_path).alone("steps", KEY):
        pytest.fail("nothing may be made")


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("harm", [_flipped, _cut, _gone])
def test_a_run_makes_a_damaged_step_anew_and_the_same(
    plan: Plan, tmp_path: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    first = run(plan, _tiny(tmp_path / "out"))
    weights = {name: tensor.clone() for name, tensor in weights_of(tmp_path / "out").items()}  # not of the file itself
    harm(tmp_path / ".cache" / "steps" / first["steps"][2]["key"] / "model.safetensors")
    with caplog.at_level(logging.WARNING, "compress"):
        second = run(plan, _tiny(tmp_path / "out"))
    assert [step["status"] for step in second["steps"]] == ["reused", "reused", "computed"]
    assert caplog.text.count("is damaged: model.safetensors") == 1
    again = weights_of(tmp_path / "out")
    assert all(torch.equal(weights[name], again[name]) for name in weights)


@pytest.mark.usefixtures("unmeasured")
def test_a_run_with_an_edited_metric_in_the_cache_tells_the_right_one(plan: Plan, tmp_path: Path) -> None:
    first = run(plan, _tiny(tmp_path / "out"))
    facts = tmp_path / ".cache" / "steps" / first["steps"][0]["key"] / FACTS
    record = json.loads(facts.read_text())
    record["facts"]["metrics"] = {"selection_accuracy": 0.999}
    facts.write_text(json.dumps(record))
    second = run(plan, _tiny(tmp_path / "out"))
    assert [step["metrics"] for step in second["steps"]] == [step["metrics"] for step in first["steps"]]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What was measured of a run whose export is a file that tells its weights: its contents, once for each time."""
    seen: list[dict[str, str]] = []
    teacher, *_, int8 = json.loads(EXAMPLE.read_text(encoding="utf-8"))["subjects"]

    def measure(given: list[Any], **_: Any) -> Measurement:
        seen.append(
            {subject.target: (subject.path / "model.onnx").read_text() for subject in given if subject.target != "torch"}
        )
        return Measurement([dict(teacher), dict(int8)], {}, {}, {}, {"cpu": "a CPU"}, {}, {"warnings": []})

    def export(model: Any, folder: Path, **_: Any) -> None:
        folder.mkdir()
        (folder / "model.onnx").write_text(f"{sum(float(tensor.double().sum()) for tensor in model.state_dict().values())}")
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(measuring, "measure", measure)
    monkeypatch.setattr(measuring, "_read_back", lambda *_: None)
    monkeypatch.setattr(running, "export", export)
    return seen


def _with_export(folder: Path) -> Plan:
    return read_recipe(write_recipe(folder, "[onnxruntime-cpu-int8]", ONE_STEP))


@pytest.mark.parametrize("harm", [_flipped, _cut, _gone])
def test_a_damaged_file_is_never_delivered_with_the_good_files_figures(
    tmp_path: Path, harm: Callable[[Path], None], measured: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    plan, shipped = _with_export(tmp_path), tmp_path / "out" / "export" / "onnxruntime-cpu-int8" / "model.onnx"
    run(plan, _tiny(tmp_path / "out"))
    good = shipped.read_bytes()
    (entry,) = (tmp_path / ".cache" / "exports").glob("*/model.onnx")
    harm(entry)
    run(plan, _tiny(tmp_path / "out"))
    assert shipped.read_bytes() == entry.read_bytes() == good
    assert "is damaged: model.onnx" in caplog.text
    assert len(measured) == 1  # the file that was made anew is the one that was measured


def test_another_file_under_the_same_key_is_measured_anew(tmp_path: Path, measured: list[Any]) -> None:
    """As when an exporter's bytes differ from run to run, or somebody puts a file and its facts into the cache."""
    plan, shipped = _with_export(tmp_path), tmp_path / "out" / "export" / "onnxruntime-cpu-int8" / "model.onnx"
    run(plan, _tiny(tmp_path / "out"))
    (entry,) = (tmp_path / ".cache" / "exports").glob("*/model.onnx")
    cache = Cache(tmp_path / ".cache")
    partial = cache.unmade("exports", entry.parent.name)
    partial.mkdir()
    (partial / "model.onnx").write_text("another")
    (partial / "config.json").write_text("{}")
    cache.finish("exports", entry.parent.name, {"seconds": 1.0})
    run(plan, _tiny(tmp_path / "out"))
    assert [list(content.values()) for content in measured][1:] == [["another"]]
    assert shipped.read_text() == "another"


def test_a_file_that_is_damaged_while_it_is_measured_is_not_delivered(
    tmp_path: Path, measured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, measure = _with_export(tmp_path), measuring.measure

    def damaging(given: list[Any], **rest: Any) -> Any:
        _flipped(next(subject.path for subject in given if subject.target != "torch") / "model.onnx")
        return measure(given, **rest)

    monkeypatch.setattr(measuring, "measure", damaging)
    with pytest.raises(CompressError, match=r"model\.onnx changed while the run worked"):
        run(plan, _tiny(tmp_path / "out"))
    assert not (tmp_path / "out" / "run.json").exists()
    assert not (tmp_path / "out" / "export").exists()


@pytest.mark.parametrize("text", ["", "{"])
def test_figures_that_cannot_be_read_are_measured_anew(tmp_path: Path, measured: list[Any], text: str) -> None:
    plan = _with_export(tmp_path)
    run(plan, _tiny(tmp_path / "out"))
    (facts,) = (tmp_path / ".cache" / "measurements").glob(f"*/{FACTS}")
    facts.write_text(text)
    run(plan, _tiny(tmp_path / "out"))
    assert len(measured) == 2


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("what", ["all", "steps", "moved"])
def test_a_cache_that_goes_away_while_a_run_works_is_told(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    write, calls = steps.write_model, []

    def losing(model: Any, folder: Path) -> None:
        calls.append(folder)
        if len(calls) == 2:
            if what == "moved":
                (tmp_path / ".cache").rename(tmp_path / "moved")
            else:
                remove(tmp_path / ".cache" / ("" if what == "all" else "steps"))
        write(model, folder)

    monkeypatch.setattr(steps, "write_model", losing)
    with pytest.raises(
        CompressError, match=r"\.cache.* went away while the run worked.*Run the same\s+command again"
    ) as raised:
        run(plan, _tiny(tmp_path / "out"))
    assert "free some space" not in str(raised.value).lower()
    monkeypatch.setattr(steps, "write_model", write)
    assert run(plan, _tiny(tmp_path / "out"))["steps"]


def test_a_cache_that_goes_away_while_a_file_is_exported_is_told(
    tmp_path: Path, measured: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def losing(model: Any, folder: Path, **_: Any) -> None:
        with new_folder(folder) as partial:
            remove(tmp_path / ".cache")
            (partial / "model.onnx").write_text("file")

    monkeypatch.setattr(running, "export", losing)
    with pytest.raises(CompressError, match=r"\.cache.* went away while the run worked"):
        run(_with_export(tmp_path), _tiny(tmp_path / "out"))


def test_a_mark_is_put_again_where_somebody_removed_it(tmp_path: Path) -> None:
    _made(Cache(tmp_path))
    (tmp_path / MARK).unlink()
    _made(open_cache(tmp_path, tmp_path / "out"), key="f" * 24)
    assert kind_of(tmp_path) == "cache"
