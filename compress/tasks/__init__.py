"""What a task is: columns, labels, metric, encoding; and where its data comes from."""

from __future__ import annotations

TASKS = {
    "text-classification": "compress.tasks.text_classification",
}
