"""The part of a model card that is code: how a folder's file is run without this package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from compress.record import finite, part
from compress.reporting.reading import rules_of
from compress.runtimes.runtime import Runtime
from compress.tasks.kind import TaskKind
from compress.tasks.texts import SENTENCES

EXAMPLE = """\
```python
import numpy as np
import {module}
from tokenizers import Tokenizer

folder, labels = {folder!r}, {labels!r}
tokenizer = Tokenizer.from_file(f"{{folder}}/tokenizer.json")
tokenizer.enable_padding()
{opened}
{joining}
{sample}
columns = {{
    "input_ids": [encoding.ids for encoding in encodings],
    "attention_mask": [encoding.attention_mask for encoding in encodings],
    "token_type_ids": [encoding.type_ids for encoding in encodings],
}}
{run}
{printed}
```"""


def example_text(run: Mapping[str, Any], runtime: Runtime, folder: str) -> str:
    """How a folder's file is run without this package, as a block of Python; empty where the runtime does not say.

    Args:
        run: The content of run.json.
        runtime: What runs the file.
        folder: Where it lies.
    """
    data, usage, rules = part(run, "data"), runtime.usage, rules_of(run)
    if usage is None:
        return ""
    length, labels = int(finite(data.get("max_length")) or 512), [str(label) for label in data.get("labels") or []]
    whole = f"```python\n{usage.writing}\n```" if rules.head.writes else EXAMPLE
    return whole.format(
        max_length=length,
        module=usage.module,
        opened=usage.opened,
        run=usage.run.replace("{names}", ", ".join(rules.head.outputs)).replace("{outputs}", json.dumps(rules.head.outputs)),
        folder=folder,
        labels=labels,
        **_sample(rules, length, part(data, "joined")),
        printed=rules.snippet(labels),
    )


def _sample(rules: TaskKind, length: int, joined: Mapping[str, Any]) -> dict[str, str]:
    """The lines of the example that read something; joined as in training, where texts are joined."""
    sample = rules.sample(length)
    if not joined.get("text"):
        return {"joining": "", "sample": sample}
    for sentence in SENTENCES:
        parts = ", ".join(json.dumps(part) for part in (sentence, *["..."] * (len(joined["text"]) - 1)))
        sample = sample.replace(f'"{sentence}"', f"joined({parts})")
    separator = json.dumps(joined.get("separator"))
    joining = (
        f"def joined(*parts):  # {', '.join(joined['text'])}\n    return {separator}.join(filter(None, map(str.strip, parts)))"
    )
    return {"joining": f"\n\n{joining}\n", "sample": f"\n{sample}"}
