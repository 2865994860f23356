"""What grows is a file and a line: nothing outside of the file that owns a kind, a family or a trait asks for it by name."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

import compress
from compress.models import families, traits
from compress.models.families import KNOWN, WITHOUT_ENCODER
from compress.models.families.family import EncoderFree, Family
from compress.models.traits.trait import Trait
from compress.tasks import TASKS

ROOT = Path(compress.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py"))
NAMES = "|".join(re.escape(name) for name in [*KNOWN, *TASKS] if name != "static")
ASKS = {
    "a model_type": re.compile(r"model_type\s*(==|!=|in\b|not in\b)"),
    "a family's class": re.compile(r"isinstance\([^)]*\b(Bert|DistilBert|MobileBert|Albert|ModernBert)\w*"),
    "a kind or a family by its name": re.compile(rf"(==|!=)\s*[\"\']({NAMES})[\"\']|[\"\']({NAMES})[\"\']\s*(==|!=)"),
    "a runtime by how a target begins": re.compile(r"startswith\([\"\'](openvino|onnxruntime|tensorrt)"),
}
OWNERS = {
    "models/checkpoint/configuration.py": "refuses what a foreign config.json may not be",
}


def _owns(path: Path) -> bool:
    return path.parent.name in ("families", "traits") or path.relative_to(ROOT).as_posix() in OWNERS


@pytest.mark.parametrize("what", ASKS)
def test_nobody_asks_for_what_only_its_owner_knows(what: str) -> None:
    places = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in FILES
        if not _owns(path)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if ASKS[what].search(line)
    ]
    assert not places, f"{what} is asked for outside of its file"


@pytest.mark.parametrize("name", KNOWN)
def test_a_family_is_one_file_that_is_called_like_its_models(name: str) -> None:
    family = KNOWN[name]
    assert family.config.model_type == name
    assert families.FAMILIES[name] == f"compress.models.families.{name.replace('-', '_')}"
    assert isinstance(family, EncoderFree) == (name in WITHOUT_ENCODER)
    assert family.classifier.__name__.endswith("ForSequenceClassification")


def test_each_file_of_a_family_stands_in_the_table_once() -> None:
    files = {path.stem for path in Path(str(families.__file__)).parent.glob("*.py")} - {"__init__", "family"}
    assert sorted(families.FAMILIES.values()) == sorted(f"compress.models.families.{file}" for file in files)


def test_a_family_s_paths_lead_to_parts_of_its_layer() -> None:
    from compress.models.layout import encoder_layers
    from tests.tiny_models import tiny_of

    for name in families.encoders():
        family = KNOWN[name]
        assert isinstance(family, Family)
        layer = encoder_layers(tiny_of(name))[0]
        paths = [family.attention, *family.projections, family.context, family.attention_norm, *family.neurons]
        for path in [*paths, *family.feed_forward, family.activation, family.output_norm, *family.fused]:
            assert layer.get_submodule(path), f"{name}: {path}"
        assert hasattr(layer.get_submodule(family.attention), family.head_size)


def test_each_file_of_a_trait_stands_in_the_table_once_and_tells_its_key() -> None:
    files = {path.stem for path in Path(str(traits.__file__)).parent.glob("*.py")} - {"__init__", "trait"}
    assert sorted(traits.TRAITS.values()) == sorted(f"compress.models.traits.{file}" for file in files)
    for key, module in traits.TRAITS.items():
        trait = importlib.import_module(module).TRAIT
        assert isinstance(trait, Trait)
        assert trait.key == key
