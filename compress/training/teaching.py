"""From a recipe's objectives to what the loop makes small: terms with weights, and the teacher's answers that they need."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from compress.dependencies import DependsOn
from compress.errors import InputError, raise_together
from compress.models.checkpoint.masked_lm import load_masked_lm
from compress.models.families import longest_text
from compress.models.heads import head_of
from compress.models.layout import encoder_layers, head_count, projections_of
from compress.models.states import PROJECTIONS, State
from compress.objectives import OBJECTIVES
from compress.objectives.layer_map import LayerMap
from compress.objectives.outputs import Pairs
from compress.tasks.emphasis import EVEN, Emphasis
from compress.training.answers import Answers, KnownAnswers, LiveAnswers
from compress.training.objective_fit import (
    are_of_one_width,
    check_groups,
    check_labels,
    check_vectors,
    check_vocabularies,
    check_widths,
    with_options,
)
from compress.training.projection import fitted_projection, fitted_to_vectors
from compress.training.step_context import StepContext
from compress.training.teacher_cache import check_room_for_answers, computed_logits, kept_answers
from compress.training.training_loss import TrainingLoss

if TYPE_CHECKING:
    from compress.tasks.encoding import Encoded
    from compress.tasks.labelled import Task

Weight = Annotated[float, Field(gt=0)]
Objectives = Annotated[
    dict[str, Weight], Field(min_length=1, description="objective -> weight in the sum"), DependsOn("objectives")
]
Temperature = Annotated[float, Field(gt=0, le=100, description="softens both answers in the logits objective")]
RelationHeads = Annotated[
    int | None, Field(ge=1, le=1024, description="into how many slices relations split queries; null: the teacher's heads")
]
TeacherCacheBytes = Annotated[
    int, Field(ge=0, description="keep the teacher's answers on disk if they fit into so many bytes")
]

LastTokens = Annotated[
    Literal["all", "first"], Field(description="of the student's last layer, whose hidden states are compared")
]

Nested = Annotated[
    list[Annotated[int, Field(ge=1)]] | None, Field(description="so many first numbers of a vector are a vector, too")
]

LogitTokens = Annotated[
    Literal["all", "answering"], Field(description="where each token has outputs, the tokens whose are compared")
]

ATTENTION = frozenset({*PROJECTIONS, "scores"})


@dataclass(frozen=True)
class Distillation:
    """How a student is taught, beside the weights of its objectives.

    Args:
        temperature: T of the logits objective.
        layers: Which layer of the teacher each of the student's learns from.
        relation_heads: Of the relations objective; None for as many as the teacher has heads.
        project: Learn a projection where widths differ.
        stages: Let one layer learn after the other.
        teacher_cache_bytes: The largest teacher's answers that are kept on disk.
        masked_lm: Checkpoint whose head tells hidden words, for objectives that hide words.
        mlm_probability: Which fraction of the words those hide.
        last_tokens: Of the student's last layer, the tokens whose hidden states are compared.
        logit_tokens: Where each token has outputs, the tokens whose are compared.
        nested: How many first numbers of a vector are to be a vector of their own.
        emphasis: Which labels and answers count more in the labels objective.
    """

    temperature: float = 2.0
    layers: LayerMap = "uniform"
    relation_heads: int | None = None
    project: bool = True
    stages: bool = False
    teacher_cache_bytes: int = 0
    masked_lm: str | None = None
    mlm_probability: float = 0.15
    last_tokens: LastTokens = "all"
    logit_tokens: LogitTokens = "all"
    nested: tuple[int, ...] = ()
    emphasis: Emphasis = EVEN


@dataclass(frozen=True)
class _Term:
    """An objective with its weight, and the layers that it compares; of layer `first_of` the first token alone."""

    name: str
    weight: float
    module: ModuleType
    pairs: Pairs
    first_of: int | None = None

    @property
    def kinds(self) -> frozenset[Any]:
        return frozenset(self.module.NEEDS) - {"teacher"}

    def states(self, side: int) -> set[State]:
        """What it reads of the student (0) or of the teacher (1)."""
        return {
            ("first" if kind == "hidden" and pair[0] == self.first_of else kind, pair[side])
            for kind in self.kinds
            for pair in self.pairs
        }


def training_loss_of(
    method: str,
    objectives: Mapping[str, float],
    how: Distillation,
    *,
    student: PreTrainedModel,
    teacher: PreTrainedModel | None,
    task: Task,
    run: StepContext,
    answers: KnownAnswers | None = None,
) -> TrainingLoss:
    """What a weighted sum of objectives asks of the loop.

    The teacher answers each training example once, where its logits are enough or its answers fit into `teacher_cache_bytes`;
    else it answers in every step.

    Args:
        method: Its name, for messages.
        objectives: Objective -> weight.
        how: Options of the objectives.
        student: Learns.
        teacher: Answers; None where no objective looks at it.
        task: Its training part is answered.
        run: Device, progress, and the folder of the teacher's answers.
        answers: What stands for a teacher that is not there: its logits for the training part.

    Raises:
        InputError: An objective is unknown or needs a teacher that is not given, or student and teacher do not fit together.
    """
    modules, task = _modules(method, objectives), task.read_by(student)
    check_groups(method, modules, task)
    check_vectors(method, modules, how.nested, student)
    if teacher is None:
        _check_answered(method, modules, answers)
        alone = [_Term(name, float(objectives[name]), module, ()) for name, module in modules.items()]
        bound = {term.name: (term.weight, _bound(term, how, nn.ModuleDict(), student, student)) for term in alone}
        return TrainingLoss(bound, teacher=answers)
    depth = len(encoder_layers(student)) if how.last_tokens == "first" else None
    terms = [
        _Term(
            name,
            float(objectives[name]),
            module,
            _pairs(method, module, how, student, teacher),
            None if getattr(module, "MASKS", False) else depth,
        )
        for name, module in modules.items()
    ]
    _check_fit(method, terms, how, student, teacher)
    head = _head(method, terms, how, teacher)
    wanted = {state for term in terms for state in term.states(1)}
    looks = any("teacher" in term.module.NEEDS for term in terms)
    teaches_logits = any(not term.pairs for term in terms)
    if run.is_rehearsal:
        if looks and head is None:
            check_room(teacher, wanted, how, task, run)
        return TrainingLoss({}, teaches_logits=teaches_logits)
    learned = nn.ModuleDict(
        {
            term.name: fitted_projection(student, teacher, task, term.pairs, next(iter(term.kinds)), run)
            for term in terms
            if getattr(term.module, "PROJECTS", False) and _widths(student) != _widths(teacher)
        }
    )
    if any(getattr(term.module, "PROJECTS_VECTORS", False) for term in terms) and not are_of_one_width(student, teacher):
        learned["vectors"] = fitted_to_vectors(student, teacher, task, run)
    if head is not None:
        learned["head"] = head
    return TrainingLoss(
        {term.name: (term.weight, _bound(term, how, learned, student, teacher)) for term in terms},
        states=frozenset(state for term in terms for state in term.states(0)),
        teacher=answers_of(teacher, wanted, how, task, run, live=head is not None) if looks else None,
        learned=learned,
        teaches_logits=teaches_logits,
        stages=len(encoder_layers(student)) if how.stages else 0,
        mlm_probability=how.mlm_probability if head is not None else 0.0,
        compares_answering=how.logit_tokens == "answering",
    )


def _modules(method: str, objectives: Mapping[str, float]) -> dict[str, ModuleType]:
    unknown = [name for name in objectives if name not in OBJECTIVES]
    raise_together(
        [f"{method}.objectives names {name!r}; allowed: {', '.join(OBJECTIVES)}." for name in unknown]
        + [f"{method}.objectives.{name} is {value}; it must be above 0." for name, value in objectives.items() if value <= 0]
        + ([] if objectives else [f"{method}.objectives is empty; name at least one of {', '.join(OBJECTIVES)}."])
    )
    return {name: importlib.import_module(OBJECTIVES[name]) for name in objectives}


def _check_answered(method: str, modules: Mapping[str, ModuleType], answers: KnownAnswers | None) -> None:
    """Raise InputError where an objective looks at more of a teacher than there is."""
    looking = [name for name, module in modules.items() if module.NEEDS]
    if looking and answers is None:
        raise InputError(f"{method}.objectives names {looking[0]!r}, which looks at a teacher; give teacher, or use labels.")
    inside = [name for name in looking if frozenset(modules[name].NEEDS) != {"teacher"} or hasattr(modules[name], "PAIRS")]
    if inside:
        raise InputError(
            f"{method}.objectives names {inside[0]!r}, which looks into a teacher, but of nli there are answers alone; use "
            "logits, logit_mse or labels."
        )


def _pairs(method: str, module: ModuleType, how: Distillation, student: PreTrainedModel, teacher: PreTrainedModel) -> Pairs:
    if not hasattr(module, "PAIRS"):
        return ()
    depths = [len(encoder_layers(model)) for model in (student, teacher)]
    try:
        pairs: Pairs = module.PAIRS(how.layers, *depths)
    except InputError as err:
        raise InputError(f"{method}.{err}") from err
    if not pairs or not all(depths):
        name = module.__name__.rpartition(".")[2]
        raise InputError(
            f"{method}.objectives names {name!r}, which finds no layer to compare: the student has {depths[0]} layers, the "
            f"teacher {depths[1]}; use other objectives, such as logits."
        )
    return pairs


def _check_fit(method: str, terms: list[_Term], how: Distillation, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    if any(not term.pairs for term in terms):
        check_labels(student, teacher)
        check_widths(method, {term.name: term.module for term in terms}, student, teacher, project=how.project)
        if head_of(student).reads_tokens:
            check_vocabularies(f"a task of answers for tokens lets {method} compare", student, teacher)
    comparing = [term for term in terms if term.pairs]
    if comparing:
        check_vocabularies(f"{method}.objectives names {comparing[0].name!r}, which compares", student, teacher)
    if not comparing:
        return
    raise_together(
        [
            f"{method}.objectives names {term.name!r}, but layer {pair[side]} of the {who} has no attention heads; name other "
            "layers, or use hidden."
            for term in comparing
            if term.kinds & ATTENTION
            for pair in term.pairs
            for side, (who, model) in enumerate((("student", student), ("teacher", teacher)))
            if not head_count(encoder_layers(model)[pair[side] - 1])
        ]
    )
    widths = [_widths(model) for model in (student, teacher)]
    heads_again = _relation_heads(how, teacher)
    raise_together(
        [
            *(
                f"{method}.objectives names {term.name!r}, which compares states of width {widths[0]} (student) with "
                f"{widths[1]} (teacher), and project is false; set it to true, or use a student as wide as its teacher."
                for term in comparing
                if getattr(term.module, "PROJECTS", False) and widths[0] != widths[1] and not how.project
            ),
            *(
                f"{method}.objectives names {term.name!r}, which compares head with head, but the student has {heads[0]} "
                f"heads in layer {pair[0]} and the teacher {heads[1]} in layer {pair[1]}; use as many, or relations, "
                "which split anew."
                for term in comparing
                if "heads" in getattr(term.module, "SAME", ())
                for pair in term.pairs
                if len(set(heads := _heads(student, teacher, pair))) > 1
            ),
            *(
                f"{method}.relation_heads is {heads_again}, which does not divide the width {width} of the {who}'s "
                "attention; use a number that divides both."
                for term in comparing
                if "relation_heads" in inspect.signature(getattr(term.module, term.name)).parameters
                for who, model in (("student", student), ("teacher", teacher))
                if (width := _attention_width(model)) % heads_again
            ),
        ]
    )


def _widths(model: PreTrainedModel) -> int:
    width: int = model.config.hidden_size
    return width


def _heads(student: PreTrainedModel, teacher: PreTrainedModel, pair: tuple[int, int]) -> tuple[int, int]:
    own, wanted = encoder_layers(student)[pair[0] - 1], encoder_layers(teacher)[pair[1] - 1]
    return head_count(own), head_count(wanted)


def _relation_heads(how: Distillation, teacher: PreTrainedModel) -> int:
    return how.relation_heads or head_count(encoder_layers(teacher)[-1]) or 1


def _attention_width(model: PreTrainedModel) -> int:
    width: int = projections_of(encoder_layers(model)[-1])[0].out_features
    return width


def _bound(term: _Term, how: Distillation, learned: nn.ModuleDict, student: PreTrainedModel, teacher: PreTrainedModel) -> Any:
    """The objective's function with the options that it takes."""
    function = getattr(term.module, term.name)
    known: dict[str, Any] = {"temperature": how.temperature, "pairs": term.pairs, "tokens": how.logit_tokens}
    known |= {"emphasis": how.emphasis}
    if term.name in learned:
        known["projection"] = learned[term.name]
    if "head" in learned:
        known["head"] = learned["head"]
    if term.pairs:
        known["relation_heads"] = _relation_heads(how, teacher)
        known["heads"] = _heads(student, teacher, term.pairs[-1])
    return with_options(function, term.module, known, how.nested)


def _head(method: str, terms: list[_Term], how: Distillation, teacher: PreTrainedModel) -> nn.Module | None:
    """The head for masked words, which stays as it is; None where no objective hides words."""
    hiding = [term.name for term in terms if getattr(term.module, "MASKS", False)]
    if not hiding:
        return None
    if how.masked_lm is None:
        raise InputError(
            f"{method}.objectives names {hiding[0]!r}, which needs a head for masked words; give masked_lm, the checkpoint "
            "that the teacher was pre-trained as."
        )
    source = load_masked_lm(how.masked_lm)
    if source.tokenizer.get_vocab() != teacher.tokenizer.get_vocab() or _widths(source) != _widths(teacher):
        raise InputError(
            f"{method}.masked_lm is {how.masked_lm}, whose pieces or width ({_widths(source)}) are not the teacher's "
            f"({_widths(teacher)}); give the checkpoint that the teacher was pre-trained as."
        )
    head: nn.Module = source.cls.requires_grad_(False)
    return head


def check_room(teacher: PreTrainedModel, wanted: set[State], how: Distillation, task: Task, run: StepContext) -> None:
    """Raise InputError where the teacher cannot answer, or the disk has no room for answers that would be kept."""
    _check_length(teacher, wanted, task)
    if run.answers and how.teacher_cache_bytes and not (task.rules.head.writes or task.rules.head.of_pieces):
        encoded = _read_by(teacher, wanted, task)
        check_room_for_answers(teacher, encoded, wanted, folder=run.answers, limit_bytes=how.teacher_cache_bytes)


def _read_by(teacher: PreTrainedModel, wanted: set[State], task: Task) -> Encoded:
    """The training part as a teacher reads it; where logits alone are compared, that may be less than the student reads."""
    _check_length(teacher, wanted, task)
    return task.read_by(teacher).encode(task.train.require("train"), teacher.tokenizer)


def _check_length(teacher: PreTrainedModel, wanted: set[State], task: Task) -> None:
    most = longest_text(teacher.config)
    if (wanted or task.rules.head.reads_tokens) and most < task.max_length:
        raise InputError(
            f"the task's max_length is {task.max_length}, but the teacher, whose states are compared, reads {most} tokens at "
            f"most; give distill max_length: {most}."
        )


def answers_of(
    teacher: PreTrainedModel, wanted: set[State], how: Distillation, task: Task, run: StepContext, *, live: bool = False
) -> Answers:
    """A teacher's logits and wanted states for the training part: known, where they fit into memory or onto the disk."""
    encoded = _read_by(teacher, wanted, task)
    # a row of the whole vocabulary for each token would fill the disk, and what is masked anew is answered anew
    live = live or encoded.written is not None or encoded.hides > 0
    if not live:
        known = kept_answers(teacher, encoded, wanted, run, how.teacher_cache_bytes)
        if known is not None:
            return known
    # of answers for tokens, predict keeps those of words alone, and it lets models write that are given texts here
    if wanted or encoded.places is not None or encoded.written is not None:
        return LiveAnswers(teacher, wanted, encoded)
    return KnownAnswers(computed_logits(teacher, encoded, run), {})
