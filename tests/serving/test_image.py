"""The image: who runs in it, which versions stand in it, that these are enough, and how large they are."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import sys
from pathlib import Path

import httpx2
import pytest
import yaml

from compress.serving.limits import DRAIN_SECONDS, LINGER_SECONDS
from tests.pages import ROOT
from tests.serving.folders import make_folder, mean_of
from tests.serving.servers import command

DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
PINS = dict(
    re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "docker" / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
)
MOST_BYTES = 230e6
"""Of what is installed; the base image has some 150 MB, and the whole stays under 400 MB."""


def normalized(name: str) -> str:
    """As pip compares names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_versions_are_those_that_the_tests_run_with() -> None:
    pinned = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    constraints = {normalized(name): version for name, version in pinned}
    assert {name: version for name, version in PINS.items() if constraints.get(normalized(name)) != version} == {}
    assert not {normalized(name) for name in PINS} & {"torch", "transformers", "scipy", "datasets", "huggingface-hub"}


def test_nobody_runs_as_root_and_nothing_stands_between_the_signal_and_the_server() -> None:
    last = DOCKERFILE.split("FROM ")[-1]
    assert last.startswith("python:3.11-slim\n")
    [user] = re.findall(r"^USER (\d+)$", last, re.MULTILINE)
    assert int(user) > 0
    assert last.index("USER ") < last.index("ENTRYPOINT ")
    [entry] = re.findall(r"^ENTRYPOINT (\[.*\])$", last, re.MULTILINE)  # no shell
    assert json.loads(entry) == ["bert-compress", "serve", "--host", "0.0.0.0", "--port", "8080"]
    assert "--no-deps" in last
    assert ":latest" not in DOCKERFILE


def test_what_is_copied_into_the_image_is_there() -> None:
    for names in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        assert all((ROOT / name).exists() for name in names.split())


def test_compose_leaves_the_server_time_to_drain_and_no_rights() -> None:
    service = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))["services"]["serve"]
    assert (
        ROOT / "docker" / service["build"]["context"] / service["build"]["dockerfile"]
    ).resolve() == ROOT / "docker/Dockerfile"
    assert int(service["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS + LINGER_SECONDS
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert all(volume.endswith(":ro") for volume in service["volumes"])


def test_what_is_installed_is_small() -> None:
    files = [path for name in PINS for path in importlib.metadata.files(name) or () if path.suffix != ".pyc"]
    size = sum(Path(str(path.locate())).stat().st_size for path in files if Path(str(path.locate())).is_file())
    assert 50e6 < size < MOST_BYTES


@pytest.mark.slow
def test_what_is_installed_is_enough(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in PINS:
        for path in importlib.metadata.files(name) or ():
            top, place = path.parts[0], packages / path.parts[0]
            if top not in ("..", "__pycache__") and not place.exists():
                place.symlink_to(
                    Path(str(path.locate())).parents[len(path.parts) - 2] if len(path.parts) > 1 else path.locate()
                )
    folder = make_folder(tmp_path / "m", "regression")
    alone = [sys.executable, "-S", "-m", "compress", "serve"]
    paths = os.pathsep.join([str(packages), str(ROOT)])
    with command(str(folder), "--threads", "1", python=alone, PYTHONPATH=paths) as (_, url):
        answer = httpx2.post(f"{url}/predict", json={"inputs": "the film was good"}).json()
        assert answer[0]["score"] == pytest.approx(float(mean_of("regression", "the film was good")[0]), abs=1e-6)
