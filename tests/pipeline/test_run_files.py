"""A run writes into folders of ours alone, and there it replaces what a run wrote and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from compress.disk import remove, sha256_of
from compress.errors import CompressError, InputError
from compress.marks import MARK, kind_of, read_mark, write_mark, written
from compress.models.checkpoint.saving import save
from compress.pipeline import RunOptions, run, run_files, running
from compress.pipeline.run_files import Content, Copy, Link, check_out, claimed, deliver
from compress.pipeline.run_log import RunLog
from compress.recipe import Plan
from compress.reporting.card import card_text
from tests.pipeline.conftest import contents_of
from tests.tiny_models import tiny_bert

EXAMPLE = Path(__file__).parents[1] / "example_run.json"


def _tiny(out: Path, **changes: Any) -> RunOptions:
    return RunOptions(**{"out": out, "tiny": True, "device": "cpu", **changes})


def _users_folder(folder: Path) -> Path:
    """A project that happens to have the names that a run uses."""
    for name in ("steps/mine.txt", "export/model/weights.bin", "export/onnxruntime-cpu/notes.md", "README.md", "logs/run.log"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"my {name}", encoding="utf-8")
    return folder


def _run_folder(folder: Path, contents: dict[str, Content]) -> Path:
    """A marked run folder that holds what a run delivered."""
    folder.mkdir()
    write_mark(folder, "run", wrote={})
    deliver(folder, contents)
    return folder


def _copy(folder: Path, text: str) -> Copy:
    path = folder / f"source-{len(list(folder.iterdir()))}"
    path.write_text(text)
    return Copy(path, sha256_of(path))


@pytest.mark.usefixtures("unmeasured")
def test_a_run_into_a_users_folder_is_refused_and_everything_stays(plan: Plan, tmp_path: Path) -> None:
    out = _users_folder(tmp_path / "project")
    before = contents_of(out)
    with pytest.raises(InputError, match=r"holds README\.md, export, logs, steps\. Name a new or an empty .*--force"):
        run(plan, _tiny(out))
    assert contents_of(out) == before
    assert not (tmp_path / ".cache").exists()


@pytest.mark.usefixtures("unmeasured")
def test_a_run_into_the_folder_that_one_stands_in_is_refused(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(_users_folder(tmp_path / "project"))
    before = contents_of(Path())
    with pytest.raises(InputError, match="is no run folder of ours"):
        run(plan, _tiny(Path()))
    assert contents_of(Path()) == before


@pytest.mark.usefixtures("unmeasured")
def test_by_force_a_users_folder_is_taken_over_and_loses_nothing(
    plan: Plan, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = _users_folder(tmp_path / "project")
    (out / "run.json").write_text("mine")
    (out / "steps" / "1-fine_tune").mkdir()
    (out / "steps" / "1-fine_tune" / "work.txt").write_text("mine too")
    run(plan, _tiny(out, force=True))
    contents = contents_of(out)
    assert {contents[name] for name in contents if not name.startswith(("steps/1-fine_tune/", "run.json"))} >= {
        b"my steps/mine.txt",
        b"my export/model/weights.bin",
        b"my export/onnxruntime-cpu/notes.md",
        b"my README.md",
    }
    assert contents["run.json.kept"] == b"mine"
    assert contents["steps/1-fine_tune.kept/work.txt"] == b"mine too"
    assert json.loads(contents["run.json"])["schema"] == 1
    assert contents["logs/run.log"].startswith(b"my logs/run.log")
    assert "is taken over" in caplog.text
    assert "run.json.kept" in caplog.text


@pytest.mark.parametrize("name", ["export", "steps", "logs", "run.json", "README.md", "export/onnxruntime-cpu", ".lock", MARK])
def test_a_link_out_of_the_run_folder_is_refused_and_by_force_renamed(tmp_path: Path, name: str) -> None:
    other = _users_folder(tmp_path / "other")
    (other / MARK).write_text("{}")
    before = contents_of(other)
    out = _run_folder(tmp_path / "out", {"run.json": "{}"})
    (out / "export").mkdir(exist_ok=True)
    target = other / "README.md" if name.rpartition(".")[2] in ("json", "md", "lock", MARK[1:]) else other / "export"
    if name == "export":
        (out / "export").rmdir()
    elif name in ("run.json", MARK):
        (out / name).unlink()
    (out / name).symlink_to(target)
    with pytest.raises(InputError, match=r"is a link to .*--force|no run folder of ours"):
        check_out(out, ["onnxruntime-cpu"])
    assert contents_of(other) == before


@pytest.mark.usefixtures("unmeasured")
def test_by_force_a_linked_export_folder_is_renamed_and_what_is_behind_it_stays(plan: Plan, tmp_path: Path) -> None:
    other = _users_folder(tmp_path / "other")
    before = contents_of(other)
    run(plan, _tiny(tmp_path / "out"))
    for name in ("export", "logs.old"):
        (tmp_path / "out" / name).symlink_to(other)
    run(plan, _tiny(tmp_path / "out", force=True))
    assert contents_of(other) == before
    assert (tmp_path / "out" / "export.kept").is_symlink()
    assert (tmp_path / "out" / "logs.old").is_symlink()


@pytest.mark.usefixtures("unmeasured")
def test_an_out_that_is_a_link_to_an_empty_folder_is_fine_and_its_steps_lead_to_the_cache(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "disk" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "deep" / "er")
    run(plan, _tiny(tmp_path / "out"))
    assert (tmp_path / "out" / "steps" / "3-distill" / "model.safetensors").is_file()
    run(plan, _tiny(tmp_path / "out"))


def test_an_out_that_leads_nowhere_or_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "none")
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "link", tmp_path / "file" / "out", tmp_path / ("n" * 300)):
        with pytest.raises(InputError, match="--out"):
            check_out(out)
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_a_lock_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    out = _run_folder(tmp_path / "out", {"run.json": "{}"})
    if kind == "folder":
        (out / ".lock").mkdir()
    elif kind == "link":
        (tmp_path / "mine").write_text("text")
        (out / ".lock").symlink_to(tmp_path / "mine")
    else:
        os.mkfifo(out / ".lock")
    with pytest.raises(InputError, match=r"\.lock is (a folder|a link|no plain file)"):
        check_out(out)
    if kind == "link":
        assert (tmp_path / "mine").read_text() == "text"


def test_folders_of_ours_of_another_kind_are_no_run_folders(tmp_path: Path) -> None:
    save(tiny_bert(), tmp_path / "model")
    assert kind_of(tmp_path / "model") == "model"
    for force in (False, True):
        with pytest.raises(InputError, match="is the folder of a model"):
            check_out(tmp_path / "model", force=force)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("place", ["same", "out in cache", "cache in steps", "model in steps", "model is out"])
def test_a_run_folder_and_its_cache_and_model_keep_apart(plan: Plan, tmp_path: Path, place: str) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    if place.startswith("model"):
        model = out / "steps" / "1-fine_tune" if place == "model in steps" else out
        save(tiny_bert(), model)
        (out / MARK).unlink(missing_ok=True)
        plan = replace(plan, model=str(model))
        around = RunOptions(out=out, cache=cache, device="cpu", force=True)
    else:
        around = _tiny(out, cache={"same": out, "out in cache": tmp_path, "cache in steps": out / "steps" / "c"}[place])
        if place == "out in cache":
            around = _tiny(out / "x", cache=out)
    before = contents_of(tmp_path)
    with pytest.raises(InputError, match="name another"):
        run(plan, around)
    assert contents_of(tmp_path) == before


@pytest.mark.usefixtures("unmeasured")
def test_a_run_that_is_refused_leaves_nothing_behind(plan: Plan, tmp_path: Path) -> None:
    before = contents_of(tmp_path)
    for wrong in ({"model": str(tmp_path / "none")}, {"task": {"data": {"train": str(tmp_path / "none.tsv")}}}):
        with pytest.raises(InputError):
            run(replace(plan, **wrong), RunOptions(out=tmp_path / "a" / "b" / "out", device="cpu"))
    assert contents_of(tmp_path) == before
    assert not (tmp_path / "a").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        run(replace(plan, model=str(tmp_path / "none")), RunOptions(out=tmp_path / "empty", device="cpu"))
    assert not os.listdir(tmp_path / "empty")


@pytest.mark.usefixtures("unmeasured")
def test_a_run_whose_first_step_is_refused_leaves_no_run_folder(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise InputError("no such layer")

    monkeypatch.setattr("compress.pipeline.running.execute_steps", refused)
    with pytest.raises(InputError, match="no such layer"):
        run(plan, _tiny(tmp_path / "a" / "out"))
    assert not (tmp_path / "a").exists()


@pytest.mark.usefixtures("unmeasured")
def test_a_folder_that_an_earlier_version_left_of_a_refused_run_is_ours(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "out" / "logs").mkdir(parents=True)
    (tmp_path / "out" / "logs" / "run.log").write_text("refused\n")
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(InputError, match="another run is writing"):
        run(plan, _tiny(tmp_path / "out"))
    assert run(plan, _tiny(tmp_path / "out"))["steps"]


def test_what_a_user_adds_to_a_run_folder_stays_and_what_a_run_wrote_goes(tmp_path: Path) -> None:
    out = _run_folder(
        tmp_path / "out",
        {
            "export/a/model.onnx": _copy(tmp_path, "one"),
            "steps/1-x": Link("../x"),
            "export/a/config.json": "{}",
            "run.json": "{}",
        },
    )
    for name in ("export/a/notes.md", "export/mine/model.onnx", "steps/notes.md", "steps/9-mine/a.txt", "notes.md"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(f"my {name}")
    deliver(out, {"export/b/model.onnx": _copy(tmp_path, "two"), "steps/1-y": Link("../y"), "run.json": "{ }"})
    contents = contents_of(out)
    assert sorted(name for name, text in contents.items() if text.startswith(b"my ")) == [
        "export/a/notes.md",
        "export/mine/model.onnx",
        "notes.md",
        "steps/9-mine/a.txt",
        "steps/notes.md",
    ]
    assert sorted(set(contents) - {MARK} - {name for name, text in contents.items() if text.startswith(b"my ")}) == [
        "export/b/model.onnx",
        "run.json",
        "steps/1-y",
    ]


def test_an_edited_card_stays_and_the_new_one_is_beside_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = _run_folder(tmp_path / "out", {"README.md": "card one", "run.json": "{}"})
    (out / "README.md").write_text("my own words")
    for card in ("card two", "card three"):
        deliver(out, {"README.md": card, "run.json": "{}"})
        assert (out / "README.md").read_text() == "my own words"
        assert (out / "README.new.md").read_text() == card
    assert "README.md was not written by a run, or was edited since; it stays" in caplog.text
    (out / "README.md").unlink()
    deliver(out, {"README.md": "card four", "run.json": "{}"})
    assert (out / "README.md").read_text() == "card four"
    assert not (out / "README.new.md").exists()


@pytest.mark.parametrize("name", ["export/a/config.json", "report.html", "run.json"])
def test_another_file_that_was_edited_is_kept_under_another_name(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    contents: dict[str, Content] = {"export/a/config.json": "{}", "report.html": "<p>", "run.json": "{}"}
    out = _run_folder(tmp_path / "out", contents)
    for text in ("edited", "again"):
        (out / name).write_text(text)
        deliver(out, contents)
    assert (out / name).read_text() == contents[name]
    assert (out / f"{name}.kept").read_text() == "edited"
    assert (out / f"{name}.kept-2").read_text() == "again"
    assert "is not as a run wrote it" in caplog.text


def test_an_edited_file_that_a_run_has_no_more_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = _run_folder(tmp_path / "out", {"export/a/config.json": "{}", "run.json": "{}"})
    (out / "export" / "a" / "config.json").write_text("edited")
    deliver(out, {"run.json": "{}"})
    assert (out / "export" / "a" / "config.json").read_text() == "edited"
    assert "it stays" in caplog.text


@pytest.mark.parametrize("what", ["file", "link", "folder"])
def test_what_stands_in_the_way_of_a_file_is_kept(tmp_path: Path, what: str) -> None:
    other = _users_folder(tmp_path / "other")
    before = contents_of(other)
    out = _run_folder(tmp_path / "out", {"run.json": "{}"})
    if what == "file":
        (out / "export").write_text("mine")
    elif what == "link":
        (out / "export").symlink_to(other)
    else:
        (out / "export" / "a" / "model.onnx").mkdir(parents=True)
        (out / "export" / "a" / "model.onnx" / "mine.txt").write_text("mine")
    deliver(out, {"export/a/model.onnx": _copy(tmp_path, "one"), "run.json": "{}"})
    assert (out / "export" / "a" / "model.onnx").read_text() == "one"
    assert contents_of(other) == before
    kept = out / ("export/a/model.onnx.kept/mine.txt" if what == "folder" else "export.kept")
    assert kept.is_dir() if what == "link" else kept.read_text() == "mine"


def test_a_copy_of_other_contents_than_were_measured_is_no_delivery(tmp_path: Path) -> None:
    out = _run_folder(tmp_path / "out", {"export/a/model.onnx": _copy(tmp_path, "one"), "run.json": "{}"})
    before = contents_of(out)
    changed = _copy(tmp_path, "measured")
    changed.source.write_text("damaged")
    with pytest.raises(CompressError, match="changed while the run worked"):
        deliver(out, {"export/a/model.onnx": changed, "run.json": "{ }"})
    assert contents_of(out) == before


def test_a_delivery_that_is_cut_short_leaves_no_record_and_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: dict[str, Content] = {f"export/a/{name}": f"{name} one" for name in "abc"}
    second: dict[str, Content] = {f"export/a/{name}": f"{name} two" for name in "bcd"}
    put: Callable[..., None] = run_files.put
    for cut in range(4):
        out = _run_folder(tmp_path / str(cut), first | {"run.json": "one"})
        done: list[str] = []

        def stopping(source: Path, folder: Path, name: str, done: list[str] = done, cut: int = cut) -> None:
            if len(done) == cut:
                raise KeyboardInterrupt
            done.append(name)
            put(source, folder, name)

        monkeypatch.setattr(run_files, "put", stopping)
        with pytest.raises(KeyboardInterrupt):
            deliver(out, second | {"run.json": "two"})
        assert not (out / "run.json").exists()
        monkeypatch.setattr(run_files, "put", put)
        deliver(out, second | {"run.json": "two"})
        assert set(contents_of(out)) == {*second, "run.json", MARK}


def test_a_run_folder_of_an_earlier_version_is_known_by_its_record(tmp_path: Path) -> None:
    out, record = tmp_path / "out", json.loads(EXAMPLE.read_text(encoding="utf-8"))
    target = record["subjects"][-1]["target"]
    (out / "export" / target).mkdir(parents=True)
    (out / "steps").mkdir()
    (out / "steps" / "1-fine_tune").symlink_to("../../.cache/steps/abc")
    texts = {
        "run.json": json.dumps(record),
        "README.md": card_text(record),
        f"export/{target}/export.json": "{}",
        f"export/{target}/model.onnx": "old",
        f"export/{target}/notes.md": "mine",
        "notes.md": "mine",
    }
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    check_out(out)
    with claimed(out, [], RunLog()):
        deliver(out, {"README.md": "new", "run.json": "{}"})
    assert set(contents_of(out)) - {MARK, ".lock", "logs/run.log"} == {
        "README.md",
        "run.json",
        f"export/{target}/notes.md",
        "notes.md",
    }
    assert (out / "README.md").read_text() == "new"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', '{"schema": true, "name": "a"}', "[" * 10**5])
def test_a_foreign_run_json_makes_no_run_folder(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match="no run folder of ours"):
        check_out(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": 3}', '{"kind": "run", "schema": 2}', "\ud800", "[" * 10**5])
def test_a_mark_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / MARK).write_bytes(text.encode("utf-8", errors="surrogatepass"))
    assert read_mark(tmp_path) is None
    with pytest.raises(InputError, match="no run folder of ours"):
        check_out(tmp_path)


def test_a_mark_that_names_what_lies_elsewhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("text")
    state = sha256_of(tmp_path / "mine")
    assert written({"wrote": {"../mine": [state], str(tmp_path / "mine"): [state], "a": "b", "": []}}) == {}


@pytest.mark.usefixtures("unmeasured")
def test_a_run_folder_that_goes_away_while_the_run_works_is_told(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any) -> dict[str, Path]:
        remove(tmp_path / "out")
        return {}

    monkeypatch.setattr(running, "_export_all", gone)
    with pytest.raises(CompressError, match=r"out went away while the run worked; run the same command again"):
        run(plan, _tiny(tmp_path / "out"))
