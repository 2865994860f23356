"""A folder goes to the hub as it was made, privately, or not at all; the hub is a small server here."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

from compress.bundles import pushing
from compress.bundles.checksums import SUMS, write_sums
from compress.bundles.pushing import push
from compress.errors import CompressError, InputError
from compress.facts import FACTS
from compress.marks import MARK, state_of, write_mark

REPO = "org/small"


class Hub(HTTPServer):
    """Answers what a push asks, and keeps what it is given."""

    def __init__(self, *, private: bool = True, status: int = 200, there: tuple[str, ...] = ()) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.private, self.status, self.there = private, status, there
        self.asked: list[tuple[str, str]] = []
        self.created: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}

    def is_made_as(self, visibility: str) -> bool:
        """Whether the repository was asked for so, in the words of newer or of older versions of huggingface_hub."""
        return visibility == self.created.get("visibility", "private" if self.created.get("private") else "public")

    @property
    def api(self) -> HfApi:
        return HfApi(endpoint=f"http://127.0.0.1:{self.server_port}", token="hf_" + "a" * 34)


class _Answers(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: Any) -> None:
        """Stay quiet."""

    def do_GET(self) -> None:
        siblings = [{"rfilename": name} for name in self.server.there]
        refs = {"branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": "0" * 40}], "converts": [], "tags": []}
        info = {"id": REPO, "private": self.server.private, "siblings": siblings, "sha": "0" * 40, "tags": []}
        tree = [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in self.server.there]
        self._answer(refs if self.path.endswith("/refs") else tree if "/tree/" in self.path else info)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.path == "/api/repos/create":
            self.server.created = json.loads(body)
            self._answer({"url": f"{self.server.api.endpoint}/{REPO}", "name": REPO})
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            self._answer({"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]})
        elif "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    self.server.files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            self._answer({"commitUrl": f"{self.server.api.endpoint}/{REPO}/commit/{'1' * 40}", "commitOid": "1" * 40})
        else:
            self._answer({})

    def _answer(self, content: Any) -> None:
        self.server.asked.append((self.command, self.path))
        data = json.dumps(content if self.server.status == 200 else {"error": "no"}).encode()
        self.send_response(self.server.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """What a push looks at, without the hours."""
    folder = tmp_path / "bundle"
    (folder / "onnx").mkdir(parents=True)
    for name, text in (("config.json", "{}"), (FACTS, '{"schema": 1}'), ("onnx/model.onnx", "graph"), ("README.md", "card")):
        (folder / name).write_text(text, encoding="utf-8")
    write_sums(folder)
    write_mark(folder, "bundle")
    return folder


@pytest.fixture
def hub(request: pytest.FixtureRequest) -> Iterator[Hub]:
    server = Hub(**getattr(request, "param", {}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_every_file_but_our_mark_is_sent_to_a_private_repository(bundle: Path, hub: Hub) -> None:
    pushed = push(bundle, REPO, api=hub.api)
    assert hub.files == {
        path.relative_to(bundle).as_posix(): path.read_bytes()
        for path in bundle.rglob("*")
        if path.is_file() and path.name != MARK
    }
    assert hub.is_made_as("private")
    assert (pushed.commit, pushed.files.keys()) == ("1" * 40, hub.files.keys())
    assert {"onnx/model.onnx", SUMS} <= hub.files.keys()


def test_public_is_what_the_repository_is_made_as_where_it_is_said(bundle: Path, hub: Hub) -> None:
    push(bundle, REPO, public=True, api=hub.api)
    assert hub.is_made_as("public")


@pytest.mark.parametrize("hub", [{"private": False}], indirect=True)
def test_a_repository_that_is_public_already_is_refused_unless_it_is_said(bundle: Path, hub: Hub) -> None:
    with pytest.raises(InputError, match="is public already; push with --public"):
        push(bundle, REPO, api=hub.api)
    assert not hub.files


def test_a_branch_is_made_and_gets_the_files(bundle: Path, hub: Hub) -> None:
    push(bundle, REPO, branch="trial", api=hub.api)
    posted = [path for method, path in hub.asked if method == "POST"]
    assert f"/api/models/{REPO}/branch/trial" in posted
    assert f"/api/models/{REPO}/commit/trial" in posted


@pytest.mark.parametrize("hub", [{"there": ("old.onnx", ".gitattributes", "config.json")}], indirect=True)
def test_files_that_the_repository_holds_besides_are_told(bundle: Path, hub: Hub) -> None:
    assert push(bundle, REPO, api=hub.api).stale == ("old.onnx",)


def test_a_dry_run_tells_the_files_and_asks_the_hub_nothing(bundle: Path, hub: Hub) -> None:
    pushed = push(bundle, REPO, dry_run=True, api=hub.api)
    assert pushed.files["onnx/model.onnx"] == len("graph")
    assert MARK not in pushed.files
    assert pushed.url is None
    assert not hub.asked


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_may_not_write_is_one_message(bundle: Path, hub: Hub, status: int) -> None:
    hub.status = status
    with pytest.raises(InputError, match=f"does not let this token write to {REPO} \\({status}\\); log in"):
        push(bundle, REPO, api=hub.api)


def test_a_hub_that_fails_is_a_failure_and_no_wrong_input(bundle: Path, hub: Hub) -> None:
    hub.status = 400
    with pytest.raises(CompressError, match="run the same command again") as raised:
        push(bundle, REPO, api=hub.api)
    assert raised.value.exit_code == 1


def test_nobody_logged_in_is_told_how_to_log_in(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(InputError, match="hf auth login"):
        push(bundle, REPO)


@pytest.mark.parametrize("repo", ["small", "org/small/more", "org/", "/small", "org/sm all", "-org/small"])
def test_what_is_no_name_of_a_repository_is_refused(bundle: Path, repo: str) -> None:
    with pytest.raises(InputError, match="allowed: ORG/NAME"):
        push(bundle, repo, dry_run=True)


def test_a_changed_bundle_is_refused(bundle: Path) -> None:
    (bundle / "onnx" / "model.onnx").write_text("other", encoding="utf-8")
    with pytest.raises(InputError, match=r"onnx/model.onnx was changed.*nothing was sent"):
        push(bundle, REPO, dry_run=True)


def test_a_folder_that_is_neither_is_refused(tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(InputError, match="neither a bundle nor an exported folder"):
        push(tmp_path, REPO, dry_run=True)
    (bundle / SUMS).unlink()
    with pytest.raises(InputError, match=f"has no {SUMS}"):
        push(bundle, REPO, dry_run=True)
    with pytest.raises(InputError, match="is no folder"):
        push(tmp_path / "nowhere", REPO, dry_run=True)


def test_an_exported_folder_goes_as_the_run_wrote_it_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "export" / "onnxruntime-cpu"
    folder.mkdir(parents=True)
    for name, text in (("config.json", "{}"), ("model.onnx", "graph"), (FACTS, '{"schema": 1, "target": "onnxruntime-cpu"}')):
        (folder / name).write_text(text, encoding="utf-8")
    names = [f"export/onnxruntime-cpu/{entry.name}" for entry in folder.iterdir()]
    write_mark(tmp_path / "run", "run", wrote={name: [state_of(tmp_path / "run", name)] for name in names})
    assert push(folder, REPO, dry_run=True).files.keys() == {"config.json", "model.onnx", FACTS}
    (folder / "model.onnx").write_text("other", encoding="utf-8")
    with pytest.raises(InputError, match=r"model.onnx was changed"):
        push(folder, REPO, dry_run=True)


def test_the_message_of_the_commit_is_ours_where_none_is_given(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {}

    class Api:
        def __getattr__(self, name: str) -> Any:
            def call(*_: Any, **given: Any) -> Any:
                said[name] = given
                return [] if name == "list_repo_files" else type("Answer", (), {"private": True, "repo_url": "u", "oid": "c"})

            return call

    monkeypatch.setattr(pushing, "_logged_in", Api)
    push(bundle, REPO)
    assert said["upload_folder"]["commit_message"] == "Upload with bert-compress"
    push(bundle, REPO, message="Four bits")
    assert said["upload_folder"]["commit_message"] == "Four bits"
