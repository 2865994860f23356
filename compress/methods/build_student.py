"""Build a student of another shape or family from its teacher."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.dependencies import InputFile
from compress.errors import InputError, NoEffect, raise_together
from compress.models.families import KNOWN, WITHOUT_ENCODER, can, encoder_family, inputs_of
from compress.models.families.family import EncoderFree, Student
from compress.models.from_teacher import student_of
from compress.models.head import SENTENCES, SEQUENCE
from compress.models.heads import head_of
from compress.models.init_from_teacher import InitFromTeacher
from compress.models.layout import encoder_layers
from compress.models.principal import Batches, seen_by
from compress.models.structure import read_structure
from compress.models.students import StudentShape, new_student, spread_layers
from compress.models.traits import why_not_cut
from compress.tasks.labelled import Task
from compress.tasks.word_vectors import vocabulary_of
from compress.tasks.words import texts_of
from compress.training.batches import sorted_batches
from compress.training.predict import on_device
from compress.training.step_context import StepContext

READ = 384
BATCH_SIZE = 64
WORDS = 20_000
SHAPES: dict[str, dict[str, int]] = {
    "tinybert4": {"layers": 4, "width": 312, "intermediate": 1200, "heads": 12},
    "tinybert6": {"layers": 6, "width": 768, "intermediate": 3072, "heads": 12},
    "minilm6": {"layers": 6, "width": 384, "intermediate": 1536, "heads": 12},
    "minilm12": {"layers": 12, "width": 384, "intermediate": 1536, "heads": 12},
    "bert_tiny": {"layers": 2, "width": 128, "intermediate": 512, "heads": 2},
    "bert_mini": {"layers": 4, "width": 256, "intermediate": 1024, "heads": 4},
    "bert_small": {"layers": 4, "width": 512, "intermediate": 2048, "heads": 8},
    "mobilebert": {
        "layers": 24,
        "width": 512,
        "intermediate": 512,
        "heads": 4,
        "embedding": 128,
        "bottleneck": 128,
        "feed_forwards": 4,
    },
    "albert_base": {"layers": 12, "width": 768, "intermediate": 3072, "heads": 12, "embedding": 128, "groups": 1},
}
"""TinyBERT's, MiniLM's, those of Turc et al. 2019, MobileBERT's and ALBERT's."""
OF_VECTORS = ("vectors", "words")
"""Arguments about a file of vectors, which students without an encoder start from."""
StudentKind = Annotated[
    Literal["bert", "distilbert", "mobilebert", "albert", "bilstm", "static"], Field(description="family of the student")
]
ShapeName = Literal[
    "tinybert4", "tinybert6", "minilm6", "minilm12", "bert_tiny", "bert_mini", "bert_small", "mobilebert", "albert_base"
]
Count = Annotated[int | None, Field(ge=1, le=1 << 16)]
LayerIndex = Annotated[int, Field(ge=0)]


@within_range
def build_student(
    model: PreTrainedModel,
    *,
    kind: StudentKind = "bert",
    shape: ShapeName | None = None,
    layers: Count = None,
    width: Count = None,
    intermediate: Count = None,
    heads: Count = None,
    embedding: Count = None,
    bottleneck: Count = None,
    feed_forwards: Count = None,
    normalization: Literal["no_norm", "layer_norm"] | None = None,
    groups: Count = None,
    buckets: Annotated[int | None, Field(ge=0, le=1 << 22)] = None,
    mix: bool | None = None,
    vectors: Annotated[InputFile | None, Field(description="file of word vectors: word2vec, GloVe, fastText")] = None,
    words: Annotated[
        int | None, Field(ge=1, le=1 << 22, description="of the vectors, at most; 20,000 if nothing tells")
    ] = None,
    keep: Annotated[list[LayerIndex], Field(min_length=1)] | None = None,
    initial: Literal["auto", "copy", "principal", "random"] = "auto",
    task: Task | None = None,
    run: StepContext | None = None,
) -> PreTrainedModel:
    """Build a smaller student of another shape or family that starts from what the model, its teacher, knows.

    BERT and DistilBERT take the teacher's layers, as they are or by principal components of its states. ALBERT takes one layer
    for each group, and embeddings in two factors. MobileBERT takes the embeddings; its bottlenecked layers start at random.
    A BiLSTM and a static student, a mean of vectors, take what the teacher's encoder says of each piece alone, or vectors of
    words from a file of word2vec, GloVe or fastText.
    Train it with `distill` afterwards, or without its teacher with `fine_tune`.

    Source: Sanh et al. 2019, DistilBERT, arXiv 1910.01108, section 3 (layers copied); Jiao et al. 2020, TinyBERT, arXiv
    1909.10351 (shapes); Sun et al. 2020, MobileBERT, arXiv 2004.02984, table 1; Lan et al. 2020, ALBERT, arXiv 1909.11942,
    section 3.1; Ashkboos et al. 2024, SliceGPT, arXiv 2401.15024, section 3 (principal components of the states).
    Differs: SliceGPT folds LayerNorm's gains into matrices, which BERT's residual sums do not allow, so they are fitted by
    least squares. DistilBERT's position table takes up the first token type, and its head holds each column of the pooler
    twice, as z and -z, since it has ReLU where the pooler has tanh; half of the pooler's columns stay.

    Args:
        model: A BERT classifier, the teacher; stays as it is.
        kind: The student's family; each is a class of transformers, but for "bilstm" (Tang et al. 2019, arXiv 1903.12136; with
            `layers` and `mix` Peters et al. 2018, ELMo, arXiv 1802.05365) and "static" (model2vec,
            https://github.com/MinishLab/model2vec), which are small classes of ours.
        shape: Sizes by name; sizes that are given besides go before.
        layers: How many run; half of the teacher's if nothing tells, all of them for ALBERT and MobileBERT, and of a BiLSTM 1.
        width: Of the states between layers; the teacher's if nothing tells. Of a BiLSTM's state in each direction, 150 if
            nothing tells; of the layer between a static student's mean and its labels, 128 if nothing tells.
        intermediate: Of a feed-forward part; the teacher's if nothing tells, four bottlenecks for MobileBERT.
        heads: Of each layer; the teacher's if nothing tells, 4 for MobileBERT. They divide the width (MobileBERT's the
            bottleneck).
        embedding: Width of the word table of MobileBERT and ALBERT; a quarter of the width if nothing tells. Of a BiLSTM's
            vectors, 256 if nothing tells, and of a static student's, 96; neither can be wider than what it starts from.
        bottleneck: Width inside MobileBERT's layers; a quarter of the width if nothing tells.
        feed_forwards: Feed-forward parts of a MobileBERT layer; 4 if nothing tells.
        normalization: MobileBERT's; "no_norm" is the paper's and made for telephones, "layer_norm" trains more surely.
        groups: ALBERT's layers with weights of their own; 1 if nothing tells. Fewer are a smaller file, not a faster one.
        buckets: Vectors that a static student's pairs of neighbouring pieces are hashed to; 0 leaves the order of words out.
        mix: Whether a BiLSTM's head reads a learned mix of vectors and all layers' states (ELMo), and not the last layer's.
            The vectors are then half or just as wide as a state, which has both directions.
        vectors: File whose vectors of words a BiLSTM or a static student starts from, in the place of the teacher's:
            word2vec's (text or binary), GloVe's, fastText's .vec or .bin, also packed (.gz, .bz2, .xz). The student reads
            words then, with a tokenizer of its own; as wide as the file if `embedding` does not tell less, which takes
            principal components.
        words: In the vocabulary, each a row: those of the task's training texts, the most frequent ones first, then the
            file's. Those that have no vector start at the mean. fastText's .bin gives words without a row the vector of their
            n-grams, and the teacher's pieces inside words theirs, which spell words that are not in the vocabulary; else these
            are unknown.
        keep: Teacher layers that the student's come from, counted from 0, rising, one for each (ALBERT: for each group). If
            nothing tells, they are spread evenly, which for 6 of 12 is DistilBERT's 0, 2, 4, 7, 9, 11.
        initial: "copy" takes layers as they are and needs equal sizes; "principal" fits them into smaller ones; "auto" is copy
            where sizes are equal, else principal; "random" takes nothing.
        task: Its training part gives the sentences on which the teacher's states are seen, at most 384; and tells a BiLSTM and
            a static student whether there are pairs of sentences. `vectors` needs the words of its training part.
        run: Its seed is used, and its facts take up how many words have a vector.

    Returns:
        The student, with the teacher's tokenizer and labels.

    Raises:
        InputError: The teacher is no even float BERT classifier, sizes do not fit each other or the teacher, or the file of
            vectors is damaged or has none for the task's words.
        NoEffect: The student would be a copy of its teacher.
    """
    given = {
        "layers": layers,
        "width": width,
        "intermediate": intermediate,
        "heads": heads,
        "embedding": embedding,
        "bottleneck": bottleneck,
        "feed_forwards": feed_forwards,
        "normalization": normalization,
        "groups": groups,
        "buckets": buckets,
        "mix": mix,
        "vectors": vectors,
        "words": words,
    }
    _check_teacher(model)
    run = run or StepContext()
    if kind in WITHOUT_ENCODER:
        return _without_encoder(model, kind, given | {"shape": shape, "keep": keep}, initial, task, run)
    student_kind = encoder_family(kind).student
    assert student_kind is not None
    sizes, chosen = _settled(model, student_kind, SHAPES.get(shape or "", {}), given, keep)
    copies = _copies(model, student_kind, sizes, initial)
    _check(model, kind, student_kind, given, sizes, keep, initial, copies)
    is_same = kind == model.config.model_type
    if is_same and copies and chosen == list(range(len(encoder_layers(model)))):
        raise NoEffect("build_student: the student would have the teacher's shape and layers; make it smaller.")
    student = new_student(kind, model, sizes, run.seed)
    if initial == "random":
        return student
    needs_sentences = not is_same or not copies
    if needs_sentences and task is None:
        raise InputError(f"build_student of kind {kind} looks at the teacher's states; give task, or use initial: random.")
    if run.is_rehearsal:
        return student
    batches = _batches(model, task) if needs_sentences and task is not None else []
    seen = seen_by(model, batches) if batches else None
    student_kind.begin(student, InitFromTeacher(model, chosen, copies, _as_read(student, batches), seen, run.seed))
    return student


def _without_encoder(
    model: PreTrainedModel, kind: str, given: dict[str, Any], initial: str, task: Task | None, run: StepContext
) -> PreTrainedModel:
    family = KNOWN[kind]
    assert isinstance(family, EncoderFree)
    vectors, words = (given.pop(name) for name in OF_VECTORS)
    names, values = family.student_sizes, {name: value for name, value in given.items() if value is not None}
    wrong = values.keys() - names.keys()
    problems = [f"{name} is given, but a {kind} has {', '.join(names)} alone; leave it out." for name in wrong]
    if initial not in ("auto", "random"):
        problems.append(f"initial is {initial}, but no layer of a BERT fits into a {kind}; use auto or random.")
    if vectors is None and words is not None:
        problems.append(f"words is {words}, but tells how many of a file of vectors are used; give vectors, or leave it out.")
    if vectors is not None and initial == "random":
        problems.append("initial is random, and vectors are given to start from; leave one of the two out.")
    if vectors is not None and task is None:
        problems.append("vectors are read for the words of a task's texts; give task.")
    raise_together([f"build_student.{problem}" for problem in sorted(problems)])
    sizes = {names[name]: value for name, value in values.items()}
    pairs = task is not None and task.rules.head.reads_pairs and task.train.are_pairs
    if vectors is not None and task is not None:
        try:
            vocabulary = vocabulary_of(Path(vectors), model.tokenizer, texts_of(task.train.require("train")), words or WORDS)
        except InputError as err:
            raise InputError(f"build_student.vectors: {err}") from err
        run.facts["word_vectors"] = vocabulary.facts
        sizes |= {"tokenizer": vocabulary.tokenizer, "vectors": vocabulary.vectors}
    random = vectors is None and (initial == "random" or run.is_rehearsal)
    return student_of(model, kind, random=random, seed=run.seed, pairs=pairs, **sizes)


def _check_teacher(model: PreTrainedModel) -> None:
    if not can(model, "teach") or head_of(model).architecture not in (SEQUENCE, SENTENCES):
        raise InputError(
            f"build_student starts from a BERT or RoBERTa that classifies texts or embeds sentences, but the model is a "
            f"{type(model).__name__} ({model.config.model_type}); give one."
        )
    why = why_not_cut(model, width=True, do="build the student")
    if why:
        raise InputError(f"build_student: {why}")
    heads, width = model.config.num_attention_heads, model.config.hidden_size
    expected = {"heads": heads, "head_size": width // heads, "intermediate": model.config.intermediate_size}
    if any(layer != expected for layer in read_structure(model)["layers"]):
        raise InputError(
            "build_student: the teacher's layers are of other sizes than its config.json tells; start from the model before "
            "pruning."
        )


def _settled(
    model: PreTrainedModel, student: Student, named: dict[str, int], given: dict[str, Any], keep: list[int] | None
) -> tuple[StudentShape, list[int]]:
    """The student's sizes, and the teacher layers that its own come from, if it takes any."""
    config, depth = model.config, len(encoder_layers(model))
    groups, bottleneck = student.takes == "groups", student.bottleneck
    shared = named.keys() - _own_sizes().keys()
    overrides = {key: size for key, size in named.items() if key in shared or key in student.own_sizes}
    overrides |= {key: size for key, size in given.items() if size is not None}
    width = overrides.get("width", config.hidden_size)
    inside = overrides.get("bottleneck", max(1, width // 4))
    sizes = StudentShape(
        layers=overrides.get("layers", len(keep) if keep and not groups else max(1, depth // 2) if student.halves else depth),
        width=width,
        intermediate=overrides.get("intermediate", 4 * inside if bottleneck else config.intermediate_size),
        heads=overrides.get("heads", 4 if bottleneck else config.num_attention_heads),
        embedding=overrides.get("embedding", max(1, width // 4)),
        bottleneck=inside,
        feed_forwards=overrides.get("feed_forwards", 4),
        normalization=given["normalization"] or "no_norm",
        groups=overrides.get("groups", len(keep) if keep and groups else 1),
    )
    count = {"nothing": 0, "groups": sizes.groups, "layers": sizes.layers}[student.takes]
    if keep is None and groups and 0 < count <= depth:
        return sizes, [(2 * group + 1) * depth // (2 * count) for group in range(count)]
    return sizes, list(keep) if keep is not None else spread_layers(count, depth) if 0 < count <= depth else []


def _own_sizes() -> dict[str, list[str]]:
    """The sizes that not all kinds have, each with the kinds that have it."""
    kinds: dict[str, list[str]] = {}
    for kind, family in KNOWN.items():
        if isinstance(family, EncoderFree):
            own = (*(family.student_sizes.keys() - {"width", "embedding", "layers"}), *OF_VECTORS)
        else:
            own = family.student.own_sizes if family.student else ()
        for size in own:
            kinds.setdefault(size, []).append(kind)
    return kinds


def _copies(model: PreTrainedModel, student: Student, sizes: StudentShape, initial: str) -> bool:
    config = model.config
    alike = (sizes.width, sizes.intermediate, sizes.heads) == (
        config.hidden_size,
        config.intermediate_size,
        config.num_attention_heads,
    )
    return student.takes != "nothing" and (initial == "copy" or (initial == "auto" and alike))


def _check(
    model: PreTrainedModel,
    kind: str,
    student: Student,
    given: dict[str, Any],
    sizes: StudentShape,
    keep: list[int] | None,
    initial: str,
    copies: bool,
) -> None:
    depth, config = len(encoder_layers(model)), model.config
    problems = [
        f"{name} is given, but only {' and '.join(kinds)} have it; leave it out."
        for name, kinds in _own_sizes().items()
        if given[name] is not None and kind not in kinds
    ]
    divided, width = ("bottleneck", sizes.bottleneck) if student.bottleneck else ("width", sizes.width)
    if width % sizes.heads:
        problems.append(f"heads is {sizes.heads}, which does not divide {divided} {width}; choose another of the two.")
    if student.takes == "groups" and sizes.groups > sizes.layers:
        problems.append(f"groups is {sizes.groups}, but only {sizes.layers} layers run; use at most as many.")
    if "embedding" in student.own_sizes and sizes.embedding > sizes.width:
        problems.append(f"embedding is {sizes.embedding}, but width is {sizes.width}; use at most as much.")
    takes_layers = initial != "random" and student.takes != "nothing"
    if student.takes == "nothing" and initial in ("copy", "principal"):
        problems.append(f"initial is {initial}, but no layer of a BERT fits into a {kind}; use auto or random.")
    if keep is not None and not takes_layers:
        problems.append(f"keep is {keep}, but no layer is taken from the teacher; leave it out.")
    elif keep is not None:
        problems += _wrong_keep(keep, depth, student.takes, sizes.groups if student.takes == "groups" else sizes.layers)
    limits = {
        "layers": depth,
        "width": config.hidden_size,
        "intermediate": config.intermediate_size,
        "heads": config.num_attention_heads,
    }
    for name, most in limits.items() if takes_layers else ():
        size = getattr(sizes, name)
        if size > most or (copies and name != "layers" and size != most):
            need = "must be equal to be copied" if copies and size < most else "is the most that can be taken from it"
            problems.append(
                f"{name} is {size}, the teacher's {most} {need}; use {most}, or initial: "
                f"{'principal' if copies and size < most else 'random'}."
            )
    raise_together([f"build_student.{problem}" for problem in problems])


def _wrong_keep(keep: list[int], depth: int, what: str, count: int) -> list[str]:
    outside = [index for index in keep if index >= depth]
    if outside:
        return [f"keep names layer {', '.join(map(str, outside))}, but the teacher has layers 0 to {depth - 1}; name these."]
    if any(later <= earlier for earlier, later in pairwise(keep)):
        return [f"keep is {keep}; name each layer once, in rising order: {sorted(set(keep))}."]
    if len(keep) != count:
        return [f"keep names {len(keep)} layers, but {what} is {count}; name one for each."]
    return []


def _batches(model: PreTrainedModel, task: Task) -> Batches:
    """Sentences of the training part, as the teacher reads them, in batches of like length."""
    encoded = task.read_by(model).encode(task.train.require("train").take(READ), model.tokenizer)
    return [on_device(encoded.batch(indices), "cpu") for indices in sorted_batches(encoded.lengths, BATCH_SIZE)]


def _as_read(student: PreTrainedModel, batches: Batches) -> Batches:
    """The same batches with what the student reads."""
    return [{name: batch[name] for name in inputs_of(student.config) if name in batch} for batch in batches]
