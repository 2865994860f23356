"""The shared store over S3: a server of moto's, s3fs, and the command line, in an environment of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environments import python_with
from tests.pipeline.conftest import recipe_on_disk

pytestmark = [
    pytest.mark.slow,
    pytest.mark.matrix,
    pytest.mark.skipif(sys.platform == "win32", reason="the folders of an environment are called differently there"),
]
ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, subprocess, sys
from pathlib import Path
import s3fs
from moto.server import ThreadedMotoServer
from tests.training.test_processes import free_port

recipe, folder = sys.argv[1], Path(sys.argv[2])
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
host, port = server.get_host_and_port()
os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
files = s3fs.S3FileSystem()
files.mkdir("bucket")

def run(machine, *options):
    command = [sys.executable, "-W", "ignore", "-m", "tests.pipeline.run_unmeasured_command", recipe,
               "--tiny", "--quiet", *options]
    place = folder / machine
    place.mkdir()
    return subprocess.run(command, capture_output=True, text=True, cwd=place)

for machine in ("one", "two"):
    ended = run(machine, "--cache", "s3://bucket/cache", "--out", f"s3://bucket/{machine}")
    assert ended.returncode == 0, ended.stderr
    assert files.cat(f"bucket/{machine}/run.json") == (folder / machine / "runs/small-tiny/run.json").read_bytes()
no_bucket = run("three", "--cache", "s3://nowhere/cache")
os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{free_port()}"
no_answer = run("four", "--cache", "s3://bucket/cache")
os.environ.pop("AWS_ACCESS_KEY_ID")
no_rights = run("five", "--cache", "s3://bucket/cache")
for ended, machine, said in ((no_bucket, "three", "make the bucket"), (no_answer, "four", "does not answer"),
                             (no_rights, "five", "credentials")):
    assert ended.returncode == 2, (ended.returncode, ended.stderr)
    assert said in ended.stderr and len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    assert not list((folder / machine).iterdir())
server.stop()
"""


def test_two_machines_share_steps_over_s3_and_what_is_wrong_is_told(tmp_path: Path) -> None:
    python = python_with(tmp_path / "environment", "s3fs", "moto[server]")
    recipe = recipe_on_disk(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    environment = {**os.environ, **nowhere, **keys, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [str(python), str(script), str(recipe), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    statuses = [
        {step["status"] for step in json.loads((tmp_path / machine / "runs/small-tiny/run.json").read_text())["steps"]}
        for machine in ("one", "two")
    ]
    assert statuses == [{"computed"}, {"reused"}]
