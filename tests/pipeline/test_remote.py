"""A store that several machines share: what one made, another takes; what goes wrong there costs no work."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from compress.errors import CompressError, InputError
from compress.marks import MARK
from compress.pipeline import RunOptions, remote, run, run_seeds
from compress.pipeline.cache import FACTS, Cache
from compress.pipeline.remote import Place, RemoteStore, copy_run, open_copy
from compress.recipe import Plan
from tests.pipeline.conftest import contents_of, weights_of

KEY = "0123456789abcdef01234567"
ADDRESS = "memory://shared/cache"


@pytest.fixture(autouse=True)
def memory() -> Iterator[Any]:
    """An empty store in memory."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    remote.open_store.cache_clear()
    yield files
    files.store.clear()


def _store(address: str = ADDRESS) -> RemoteStore:
    place = Place("--cache", address)
    place.check("cache")
    return RemoteStore(place)


def _cache(root: Path, address: str = ADDRESS) -> Cache:
    return Cache(root, remote=_store(address))


def _made(cache: Cache, text: str = "weights") -> Path:
    partial = cache.partial("steps", KEY)
    (partial / "inner").mkdir()
    (partial / "model.safetensors").write_text(text)
    (partial / "inner" / "config.json").write_text("{}")
    return cache.finish("steps", KEY, {"seconds": 1.5})


@pytest.mark.parametrize("protocol", ["memory", "file"])
def test_what_one_cache_made_another_takes(tmp_path: Path, protocol: str) -> None:
    address = ADDRESS if protocol == "memory" else f"file://{tmp_path}/shared/cache"
    first = _made(_cache(tmp_path / "one", address))
    other = _cache(tmp_path / "two", address)
    second = other.find("steps", KEY)
    assert second == tmp_path / "two" / "steps" / KEY
    assert contents_of(second) == contents_of(first)
    assert other.facts(second) == {"seconds": 1.5}
    assert not list(second.parent.glob("*.fetched"))


def test_a_key_that_nobody_made_leaves_nothing_anywhere(tmp_path: Path, memory: Any) -> None:
    assert _cache(tmp_path / "one").find("steps", KEY) is None
    assert not (tmp_path / "one").exists()
    assert not memory.store


def test_a_result_shows_only_when_its_facts_came_last(tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    put, order = MemoryFileSystem.pipe_file, []
    monkeypatch.setattr(
        MemoryFileSystem,
        "pipe_file",
        lambda self, path, *rest, **more: (order.append(path), put(self, path, *rest, **more))[1],
    )
    _made(_cache(tmp_path / "one"))
    assert order[-1].endswith(f"{KEY}/{FACTS}")
    memory.rm_file(f"/shared/cache/steps/{KEY}/{FACTS}")
    assert _cache(tmp_path / "two").find("steps", KEY) is None


def test_two_that_write_the_same_key_do_no_harm(tmp_path: Path) -> None:
    """They started together, and their weights differ in a bit: either is whole, whoever came last."""
    first, second = _cache(tmp_path / "one"), _cache(tmp_path / "two")
    for room, cache, text in (("one", first, "weights"), ("two", second, "weightz")):
        partial = cache.partial("steps", KEY)
        (partial / "model.safetensors").write_text(text)
        assert (tmp_path / room).is_dir()
    first.finish("steps", KEY, {})
    second.finish("steps", KEY, {})
    third = _cache(tmp_path / "three").find("steps", KEY)
    assert third is not None
    assert (third / "model.safetensors").read_text() in ("weights", "weightz")


@pytest.mark.parametrize("harm", ["contents", "missing", "facts", "path"])
def test_a_damaged_result_counts_as_not_there_and_is_mended(
    tmp_path: Path, memory: Any, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    _made(_cache(tmp_path / "one"))
    room = f"/shared/cache/steps/{KEY}"
    blob = next(path for path in memory.find(room) if memory.cat_file(path) == b"weights")
    if harm == "contents":
        memory.pipe_file(blob, b"weightX")
    elif harm == "missing":
        memory.rm_file(blob)
    elif harm == "facts":
        memory.pipe_file(f"{room}/{FACTS}", memory.cat_file(f"{room}/{FACTS}")[:-9])
    else:
        facts = memory.cat_file(f"{room}/{FACTS}").replace(b"model.safetensors", b"../../../safetensors")
        memory.pipe_file(f"{room}/{FACTS}", facts)
    two = _cache(tmp_path / "two")
    with caplog.at_level(logging.WARNING):
        assert two.find("steps", KEY) is None
    assert "is damaged" in caplog.text
    assert not (tmp_path / "two" / "steps" / KEY).exists()
    assert sorted(path.name for path in (tmp_path / "two" / "steps").iterdir()) in ([], [f"{KEY}.fetch.lock"])
    _made(two)
    assert _cache(tmp_path / "three").find("steps", KEY) is not None


def test_a_network_that_goes_away_costs_no_work_and_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = _cache(tmp_path / "one")

    def gone(*args: Any, **more: Any) -> None:
        raise OSError("connection reset")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(MemoryFileSystem, "put_file", gone)
        made = _made(cache)
        assert cache.find("exports", KEY) is None
    assert caplog.text.count("does not answer any more (connection reset)") == 1
    assert cache.find("steps", KEY) == made
    assert _cache(tmp_path / "two").find("steps", KEY) is None
    _cache(tmp_path / "one").find("steps", KEY)  # the next run brings it there
    assert _cache(tmp_path / "two").find("steps", KEY) is not None


def test_a_network_that_goes_away_while_a_result_comes_leaves_no_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _made(_cache(tmp_path / "one"))

    def gone(*args: Any, **more: Any) -> None:
        raise TimeoutError("timed out")

    two = _cache(tmp_path / "two")
    monkeypatch.setattr(MemoryFileSystem, "get_file", gone)
    with caplog.at_level(logging.WARNING):
        assert two.find("steps", KEY) is None
    assert [path.name for path in (tmp_path / "two" / "steps").iterdir() if path.is_dir()] == []
    assert "goes on with the local cache" in caplog.text


def test_a_strange_folder_is_refused_and_left_alone(memory: Any) -> None:
    memory.pipe_file("/shared/cache/photo.png", b"x")
    with pytest.raises(InputError, match=r"holds .*photo\.png"):
        _store()
    memory.store.clear()
    memory.pipe_file(f"/shared/cache/{MARK}", b'{"kind": "run", "schema": 1}')
    with pytest.raises(InputError, match="is a run, and no cache"):
        _store()
    assert len(memory.store) == 1


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://", "names no folder"),
        ("nothing://bucket/x", "fsspec cannot open .*nothing"),
    ],
)
def test_an_address_that_cannot_be_opened_is_told(address: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Place("--cache", address)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=r"--cache is 's3://bucket/x'.*pip install 'bert-compress\[remote\]'"):
        Place("--cache", "s3://bucket/x")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError("Access Denied"), "may not be read and written"),
        (FileNotFoundError("The specified bucket does not exist"), "does not exist.*make the bucket"),
        (ConnectionError("refused"), "does not answer .refused."),
    ],
)
def test_a_store_that_takes_nothing_is_told_before_the_work(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def refuse(*args: Any, **more: Any) -> None:
        raise error

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuse)
    with pytest.raises(InputError, match=said):
        _store()


def test_a_store_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    ended = threading.Event()
    monkeypatch.setattr(remote, "ANSWER_SECONDS", 0.05)
    monkeypatch.setattr(MemoryFileSystem, "ls", lambda *args, **more: ended.wait(20))
    with pytest.raises(InputError, match="no answer in"):
        _store()
    ended.set()


@pytest.mark.slow
@pytest.mark.usefixtures("unmeasured")
def test_a_run_on_another_machine_takes_its_steps_from_the_store(plan: Plan, tmp_path: Path, memory: Any) -> None:
    def on(machine: str, copy_to: str | None = None) -> Any:
        place = tmp_path / machine
        return run(plan, RunOptions(out=place / "out", tiny=True, device="cpu", shared_cache=ADDRESS, copy_to=copy_to))

    first, second = on("one"), on("two", "memory://shared/run")
    assert {step["status"] for step in first["steps"]} == {"computed"}
    assert {step["status"] for step in second["steps"]} == {"reused"}
    made, taken = weights_of(tmp_path / "one" / "out"), weights_of(tmp_path / "two" / "out")
    assert all(made[name].equal(taken[name]) for name in made)
    copied = {path.removeprefix("/shared/run/") for path in memory.find("/shared/run")}
    assert copied == {"run.json", MARK}
    assert memory.cat_file("/shared/run/run.json") == (tmp_path / "two" / "out" / "run.json").read_bytes()
    seeds = run_seeds(plan, [1], RunOptions(out=tmp_path / "s", tiny=True, device="cpu", copy_to="memory://shared/seeds"))
    assert len(seeds) == 1
    assert memory.exists("/shared/seeds/seed-1/run.json")


def test_a_copy_that_fails_has_no_record_and_says_where_the_run_is(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compress.marks import write_mark
    from compress.pipeline.run_files import deliver

    write_mark(tmp_path, "run", wrote={})
    deliver(tmp_path, {"report.html": "page", "run.json": "{}"})
    place = open_copy("memory://shared/copy")
    copy_run(tmp_path, place, "run.json")
    assert memory.cat_file("/shared/copy/report.html") == b"page"
    put = MemoryFileSystem.put_file

    def fail(self: Any, source: str, target: str, **more: Any) -> None:
        if target.endswith("report.html"):
            raise OSError("network is unreachable")
        put(self, source, target, **more)

    monkeypatch.setattr(MemoryFileSystem, "put_file", fail)
    with pytest.raises(CompressError, match=f"whole in {tmp_path}.*network is unreachable") as raised:
        copy_run(tmp_path, open_copy("memory://shared/copy"), "run.json")
    assert raised.value.exit_code == 1
    assert not memory.exists("/shared/copy/run.json")
