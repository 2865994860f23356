"""What benchmarks/tasks_and_peers.py compares: for each group of rows what makes their files, in which environment."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from peer_process import write_batches

import compress as cp
from compress.benchmark.subjects import CONFIG, read_json, weight_files
from compress.models.checkpoint.model_source import find_model
from compress.tasks.encoding import Encoded
from compress.tasks.labelled import Task
from compress.tasks.laid_texts import laid_out
from compress.training.batches import sorted_batches

OURS = "bert-compress"
TEACHER, STUDENT, THEIRS = "teacher", "student", "student of sentence-transformers"
BATCH, CALIBRATION, SEED = 32, 300, 13
TRACED = 16
"""Tokens of the sample that exporters trace a model with: fewer than any model's positions, which would stay fixed."""
EXAMPLE = {"batch_size": 64, "learning_rate": 1e-4}
"""Of sentence-transformers' own example."""
ENVIRONMENTS: dict[str, list[str]] = {
    "optimum": ["sentence-transformers<6", "datasets<5", "optimum-onnx==0.1.*", "optimum-intel[nncf,openvino]"],
    "nncf": ["nncf==3.4.*"],
    "model2vec": ["model2vec[distill]==0.10.*"],
}
"""Each sees what is installed here behind its own packages, such as torch and onnxruntime."""
GROUPS = {
    "embeddings": "sentence embeddings",
    "static": "static sentence embeddings",
    "tokens": "token classification",
    "questions": "question answering",
    "sequences": "text classification",
    "reranking": "reranking",
}


@dataclass(frozen=True)
class Job:
    """What one process makes.

    Args:
        who: The tool, as rows call it.
        model: What it makes files of, as rows call it.
        environment: One of ENVIRONMENTS; empty for this one.
        request: See `task_peers`.
        note: Stands behind the names of its files.
    """

    who: str
    model: str
    environment: str
    request: Mapping[str, Any]
    note: str = ""

    @property
    def key(self) -> str:
        """What its answer depends on."""
        return hashlib.sha256(json.dumps(dict(self.request), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Group:
    """A finished run, whose teacher and student are given to peers too.

    Args:
        name: One of GROUPS.
        run: The run folder.
        work: Where files are made.
        examples: Measured on at most, spread evenly over the evaluation part.
    """

    name: str
    run: Path
    work: Path
    examples: int

    @cached_property
    def record(self) -> dict[str, Any]:
        """The content of run.json."""
        return read_json(self.run / "run.json")

    @cached_property
    def task(self) -> Task:
        """The task of the run, its evaluation part no longer than asked."""
        task = cp.task(**self.record["recipe"]["task"])
        return replace(task, evaluation=task.evaluation.take(self.examples))

    @cached_property
    def teacher(self) -> Path:
        """The folder of the torch model that the run was measured against."""
        named = self.record["subjects"][0]["path"]
        return self.run / named if (self.run / named).is_dir() else find_model(named)

    @cached_property
    def student(self) -> Path:
        """The folder of the torch model that the run exported."""
        return self.run / [subject for subject in self.record["subjects"] if subject["kind"] == "torch"][-1]["path"]

    @cached_property
    def tokenizer(self) -> Any:
        """The teacher's, which its students share."""
        return cp.load(self.teacher).tokenizer

    @cached_property
    def encoded(self) -> Encoded:
        """What is measured on."""
        read = self.task.within(read_json(self.teacher / CONFIG)["max_position_embeddings"])
        return read.encode(self.task.evaluation.require("evaluation"), self.tokenizer)

    @cached_property
    def batches(self) -> list[Any]:
        """The numbers of the examples of each batch of like length."""
        return sorted_batches(self.encoded.lengths, BATCH)

    @property
    def shape(self) -> tuple[int, int]:
        """What is timed: one example of the recipe's length."""
        return 1, self.record["recipe"]["benchmark"]["length"][0]

    def write_inputs(self) -> None:
        """Write batches and texts to answer, sentences to calibrate with, and a batch to trace with."""
        self.work.mkdir(parents=True, exist_ok=True)
        write_batches(self.work / "evaluation.npz", [self.encoded.batch(batch) for batch in self.batches])
        given = self.task.encode(self.task.calibration.take(CALIBRATION), self.tokenizer)
        write_batches(self.work / "calibration.npz", [given.batch([index]) for index in range(min(len(given), CALIBRATION))])
        traced = {name: values[:, :TRACED] for name, values in given.batch([0, 1]).items()}
        write_batches(self.work / "sample.npz", [traced])
        if self.encoded.rules.head.reads_pairs:
            return
        texts = [text.strip() for text in laid_out(self.task.evaluation)[0]]
        (self.work / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
        (self.work / "sentences").mkdir(exist_ok=True)
        with (self.work / "sentences" / "train.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([["sentence"], *([text] for text in laid_out(self.task.calibration)[0][:CALIBRATION])])

    def jobs(self) -> Iterator[Job]:
        """What makes this group's rows, in the rows' order; the first is of the model that all are compared with."""
        yield self._ours(TEACHER, self.teacher)
        yield self._ours(STUDENT, self.student, self._exported())
        if self.name == "embeddings":
            yield from self._sentence_transformers()
        elif self.name == "static":
            dimensions = self._step("build_student")["embedding"]
            yield self._job("model2vec", STUDENT, "model2vec", "static_files", self.teacher, dimensions=dimensions)
        else:
            head = self.task.rules.head
            for model, folder in ((TEACHER, self.teacher), (STUDENT, self.student)):
                inputs = {name: str(self.work / f"{name}.npz") for name in ("calibration", "sample")}
                yield self._job("transformers", model, "nncf", "transformers_files", folder, **inputs)
                kind = head.opened_as or head.architecture
                yield self._job("optimum-onnx", model, "optimum", "optimum_files", folder, head=kind)

    def _ours(self, model: str, folder: Path, exported: Mapping[str, str] | None = None) -> Job:
        options = {"task": self.record["recipe"]["task"], "exported": exported or {}}
        return self._job(OURS, model, "", "our_files", folder, **options)

    def _exported(self) -> dict[str, str]:
        """The folders that the run exported, by target."""
        return {folder.name: str(folder) for folder in sorted((self.run / "export").iterdir())}

    def _sentence_transformers(self) -> Iterator[Job]:
        made = {"calibration": str(self.work / "sentences")}
        yield self._job("sentence-transformers", TEACHER, "optimum", "embedder_files", self.teacher, **made)
        for settings, forms in (({}, ()), (EXAMPLE, ("torch",))):
            note = ", with its example's batches and learning rate" if settings else ""
            distilled = self._distilled(settings)
            yield distilled
            folder, of = Path(distilled.request["out"]), {"of": distilled.key}
            job = self._job("sentence-transformers", THEIRS, "optimum", "embedder_files", folder, **made, **of, forms=forms)
            yield replace(job, note=note)

    def _distilled(self, settings: Mapping[str, Any]) -> Job:
        """sentence-transformers' own distillation: layers, texts and settings of the recipe, or other settings."""
        layers, learned = self._step("drop_layers")["keep"], self._step("distill")
        train, chosen = self.task.train, self.task.selection
        options = {
            "layers": layers,
            "max_length": self.task.max_length,
            "texts": list(dict.fromkeys(laid_out(train)[0])),
            "selection": [list(chosen.texts), list(chosen.pairs or ()), [float(grade) for grade in chosen.labels]],
            "epochs": learned["epochs"],
            "seed": SEED,
            **{name: learned[name] for name in EXAMPLE},
            **settings,
        }
        return self._job("sentence-transformers", THEIRS, "optimum", "distil_embedder", self.teacher, **options)

    def _step(self, method: str) -> dict[str, Any]:
        return next(step[method] for step in self.record["recipe"]["steps"] if method in step)

    def _job(self, who: str, model: str, environment: str, make: str, folder: Path, **options: Any) -> Job:
        weights = {"model": str(folder), "weights": digest_of(folder), "make": make, **options}
        job = Job(who, model, environment, weights)
        named = f"{make}-{model.replace(' ', '_')}-{job.key}"
        return replace(job, request={**weights, "out": str(self.work / named)})


def digest_of(folder: Path) -> str:
    """A hash of a torch model's weights; empty where there are none yet."""
    files = weight_files(folder) if folder.is_dir() else []
    return hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest() if files else ""
