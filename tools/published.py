"""What papers report of their own students, to stand beside measured ones."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A paper's student.

    Args:
        name: As the paper calls it.
        source: The paper's arXiv number.
        split: Which data it was judged on: GLUE's dev set, or its test set on the server; the two do not compare.
        accuracy: In percent.
        teacher: The model that it is held against.
        teacher_accuracy: That model's, in percent, on the same split; from the same table unless the note says otherwise.
        work: What it computes, what the teacher does, and in which unit, or None when nothing is stated.
        speedup: Against BERT-base on the paper's own device, or None.
        note: What a reader must know, in a few words.
    """

    name: str
    source: str
    split: str
    accuracy: float
    teacher: str
    teacher_accuracy: float
    work: tuple[float, float, str] | None
    speedup: float | None = None
    note: str = ""

    @property
    def retention(self) -> float:
        """The student's accuracy over the teacher's."""
        return self.accuracy / self.teacher_accuracy

    @property
    def macs_share(self) -> float | None:
        """What the student computes over what the teacher does."""
        return self.work[0] / self.work[1] if self.work else None


OF_THE_AUTHORS_CODE = (
    "figures of the authors' repository, held here against the BERT-base of MiniLM's table; MACs not stated, 60 % and 95 % "
    "are of the encoder's parameters, and the device is a V100 at batch 128"
)

# By the name of the task's data. A figure enters as its source states it, or not at all.
PUBLISHED: dict[str, tuple[Published, ...]] = {
    "sst2": (
        Published("DistilBERT", "1910.01108", "dev", 91.3, "BERT-base", 92.7, (6, 12, "layers"), 1.6),
        Published("TinyBERT6", "1909.10351", "test", 93.1, "BERT-base", 93.4, (11.3, 22.5, "GFLOPs"), 2.0),
        Published("TinyBERT4", "1909.10351", "test", 92.6, "BERT-base", 93.4, (1.2, 22.5, "GFLOPs"), 9.4),
        Published(
            "MobileBERT",
            "2004.02984",
            "test",
            92.8,
            "BERT-base",
            93.4,
            (5.7, 22.5, "GFLOPs"),
            5.5,
            "distilled from IB-BERT-large, held here against the BERT-base of TinyBERT's table",
        ),
        Published("MiniLM L6-H768", "2002.10957", "dev", 92.0, "BERT-base", 93.2, (6, 12, "layers"), 2.0),
        # encoder multiply-adds, layers * length * (12 * width² + 2 * length * width): 6 * 384 wide, 12 * 768 wide
        Published(
            "MiniLM L6-H384",
            "2002.10957",
            "dev",
            91.5,
            "BERT-base",
            93.2,
            (1.43, 11.17, "GMACs at length 128"),
            5.3,
            "distilled from UniLM v2, held here against BERT-base; MACs from its shape",
        ),
        Published("CoFi, 60 % gone", "2204.00408", "dev", 93.0, "BERT-base", 93.2, None, 2.1, OF_THE_AUTHORS_CODE),
        Published("CoFi, 95 % gone", "2204.00408", "dev", 90.4, "BERT-base", 93.2, None, 12.2, OF_THE_AUTHORS_CODE),
        Published(
            "PKD-6", "1908.09355", "dev", 91.1, "BERT-base", 92.6, (6, 12, "layers"), note="figures of the authors' repository"
        ),
        Published(
            "PKD-3", "1908.09355", "dev", 88.1, "BERT-base", 92.6, (3, 12, "layers"), note="figures of the authors' repository"
        ),
        Published("BiLSTM", "1903.12136", "test", 90.7, "BERT-large", 94.9, None, note="MACs not stated, so not drawn"),
    ),
}
