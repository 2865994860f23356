"""What a folder claims asks for no more memory than its weights have: loaded in a process that may not have more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertForSequenceClassification, PreTrainedModel

from compress.errors import InputError
from compress.methods.share_layers import share_layers
from compress.methods.swap_attention import swap_attention
from compress.models.checkpoint import load, save
from compress.models.checkpoint.loading import read_checkpoint
from compress.models.memory import give_memory, shapes_of
from compress.models.surgery import keep_heads, keep_neurons
from tests.models.checkpoint.changing import change_weights, set_json
from tests.models.checkpoint.test_loading import without_head
from tests.models.test_structure import quantized
from tests.tiny_models import SHAPES, differences, logits_of, state_of, tiny_bert, tiny_of, toy_task

LARGE = (1 << 24) - 1
SIZES: dict[str, tuple[str, ...]] = {
    "bert": (
        "intermediate_size",
        "vocab_size",
        "max_position_embeddings",
        "num_hidden_layers",
        "type_vocab_size",
        "hidden_size",
    ),
    "distilbert": ("dim", "n_layers", "n_heads", "hidden_dim", "max_position_embeddings"),
    "mobilebert": ("intermediate_size", "embedding_size", "intra_bottleneck_size", "num_feedforward_networks"),
    "albert": ("num_hidden_groups", "inner_group_num", "embedding_size", "num_hidden_layers"),
}
ATTENTION: list[dict[str, Any]] = [
    {"kind": "reformer", "chunk": 4, "buckets": 1 << 32, "rounds": 1, "shared": False, "seed": 0},
    {"kind": "reformer", "chunk": 4, "buckets": 2, "rounds": 1 << 32, "shared": False, "seed": 0},
    {"kind": "longformer", "window": 1 << 32, "global_tokens": 1 << 32},
    {"kind": "chunk_and_pool", "segment": 8},
    {"kind": "transformer_xl", "segment": 1 << 32},
]
STRUCTURES: list[dict[str, Any]] = [
    {"ranks": {"bert.pooler.dense": 1 << 20}},
    {"embedding": 1 << 20},
    {"embedding": 1},
    {"layers": [{"heads": 1 << 20, "head_size": 1 << 20, "intermediate": 1 << 20}] * 2},
    *({"attention": attention} for attention in ATTENTION),
]
LIMITED = """
import resource, sys
from pathlib import Path
from compress.models.checkpoint import load
from compress.errors import InputError
plain, *others = sys.argv[1:]
load(plain)
resident = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (resident + (256 << 20), resource.RLIM_INFINITY))
for folder in others:
    try:
        load(folder)
        print("loaded", folder)
    except InputError as err:
        print("refused", folder, str(err).replace(chr(10), " "))
"""


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc and RLIMIT_AS are Linux's")
def test_no_claim_of_a_folder_takes_memory(tmp_path: Path) -> None:
    """25,000 weights and a claim of gigabytes."""
    plain = save(tiny_bert(), tmp_path / "plain")
    folders: list[Path] = []

    def claim(kind: str, structure: dict[str, Any] | None = None, *, bare: bool = False, **changes: Any) -> None:
        folder = save(tiny_of(kind), tmp_path / str(len(folders)))
        set_json(folder / "config.json", **changes)
        set_json(folder / "structure.json", **(structure or {}))
        if bare:
            (folder / "structure.json").unlink()
            change_weights(folder, without_head)
        folders.append(folder)

    for kind, keys in SIZES.items():
        for key in keys:
            claim(kind, **{key: LARGE})
            claim(kind, bare=kind == "bert", **{key: LARGE})
    for bare in (False, True):
        claim("bert", num_labels=10**9, bare=bare)
        claim("bert", num_labels=10**9, id2label=None, bare=bare)
        claim("bert", id2label={str(index): "x" for index in range(200_000)}, bare=bare)
        claim("bert", id2label={str(index): "x" for index in range(1_000_000)}, bare=bare)
    for structure in STRUCTURES:
        claim("bert", structure)
        claim("bert", structure, max_position_embeddings=LARGE, vocab_size=LARGE, intermediate_size=LARGE)
    claim("distilbert", sinusoidal_pos_embds=True, max_position_embeddings=LARGE)
    command = [sys.executable, "-c", LIMITED, str(plain), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == len(folders)
    assert not [line for line in lines if "MemoryError" in line or "not enough memory" in line]


def test_names_of_too_many_bytes_are_refused(model: PreTrainedModel, tmp_path: Path) -> None:
    folder = save(model, tmp_path / "saved")
    set_json(folder / "config.json", id2label={str(index): "x" for index in range(1_000_000)})
    with pytest.raises(InputError, match=r"config\.json has \d+ bytes, at most 8388608 are read"):
        load(folder)


def test_names_beyond_the_head_s_labels_are_left_out(model: PreTrainedModel, tmp_path: Path) -> None:
    folder = save(model, tmp_path / "saved")
    set_json(folder / "config.json", id2label={str(index): f"label {index}" for index in range(100_000)})
    assert load(folder).config.id2label == {0: "label 0", 1: "label 1"}


def test_a_new_head_larger_than_the_model_is_refused(tmp_path: Path) -> None:
    folder = save(tiny_bert(), tmp_path / "saved")
    change_weights(folder, without_head)
    assert load(folder, labels=[str(number) for number in range(1000)]).config.num_labels == 1000
    with pytest.raises(InputError, match=r"a new head would have 1700\d* weights, more than the model"):
        load(folder, labels=[str(number) for number in range(100_000)])


@pytest.mark.parametrize("kind", SHAPES)
def test_a_model_that_gets_memory_later_is_the_same(kind: str, tmp_path: Path) -> None:
    model = tiny_of(kind)
    later = shapes_of(type(model), model.config)
    give_memory(later)
    later.load_state_dict(model.state_dict())
    assert not [name for name, buffer in later.named_buffers() if buffer.is_meta]
    assert {name: buffer.tolist() for name, buffer in later.named_buffers()} == {
        name: buffer.tolist() for name, buffer in model.named_buffers()
    }
    batch = {"input_ids": torch.arange(5, 12)[None], "attention_mask": torch.ones((1, 7), dtype=torch.long)}
    assert torch.equal(logits_of(later.eval(), **batch), logits_of(model, **batch))


def swapped(kind: str, **options: Any) -> Any:
    """Give a model another attention."""
    return lambda model: swap_attention(model, task=toy_task(max_length=8), kind=kind, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda model: share_layers(model, task=toy_task(), group=2),
        quantized,
        lambda model: keep_heads(model, [[0], []]),
        lambda model: keep_neurons(model, [[], [1, 2]]),
        swapped("reformer", chunk=4, buckets=4),
        swapped("longformer", window=4),
        swapped("transformer_xl", segment=6),
        swapped("chunk_and_pool", segment=6),
    ],
)
def test_every_structure_is_the_same_when_it_is_loaded(make: Any, tmp_path: Path) -> None:
    model = make(tiny_bert())
    loaded = load(save(model, tmp_path / "saved"))
    assert not differences(state_of(loaded), state_of(model))
    assert {name: buffer.tolist() for name, buffer in loaded.named_buffers()} == {
        name: buffer.tolist() for name, buffer in model.named_buffers()
    }
    assert torch.equal(logits_of(loaded), logits_of(model))


def test_a_base_checkpoint_with_a_structure_gets_a_head_of_its_seed(tmp_path: Path) -> None:
    folder = save(keep_neurons(tiny_bert(), [[1], [1, 2]]), tmp_path / "saved")
    change_weights(folder, without_head)
    first, again, other = load(folder, seed=1), load(folder, seed=1), load(folder, seed=2)
    assert not differences(state_of(first), state_of(again))
    assert set(differences(state_of(first), state_of(other))) == {"classifier.weight", "bert.pooler.dense.weight"}
    assert first.classifier.bias.eq(0).all()


def test_nothing_is_made_before_its_shape_is_known_to_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save(tiny_bert(), tmp_path / "saved")
    set_json(folder / "config.json", vocab_size=LARGE)
    monkeypatch.setattr("compress.models.checkpoint.loading.give_memory", lambda _: pytest.fail("memory was given"))
    with pytest.raises(InputError, match=r"has shape \(17, 16\), not \(16777215, 16\)"):
        load(folder)


def test_a_checkpoint_is_read_without_a_model_being_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_bert()
    folder = save(model, tmp_path / "saved")
    monkeypatch.setattr(BertForSequenceClassification, "__init__", lambda *_: pytest.fail("a model was made"))
    values, weights = read_checkpoint(folder)
    assert values == json.loads((folder / "config.json").read_text())
    assert not differences(weights, state_of(model))
