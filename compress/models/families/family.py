"""What a family of models is: its classes, where each of them keeps its parts, and what can be done to them.

A family is one file of this folder, with a `FAMILY`, and a line in FAMILIES. The classes are those of transformers, so that
anyone loads a saved model without this package.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from compress.models.embedder import PROJECTIONS
from compress.models.head import CLASSIFIER, MASKED, SENTENCES, SEQUENCE, SPAN_LINEAR, SPANS, WRITER

if TYPE_CHECKING:
    from compress.models.init_from_teacher import InitFromTeacher
    from compress.models.students import StudentShape

Size = Callable[[Any], int]
Ability = Literal["narrow", "gate_width", "share", "attend_far", "teach"]
"""What only some families can: `narrow`, lose channels of the stream between layers; `gate_width`, have gates on these;
`share`, let layers share their weights; `attend_far`, have attention for long inputs; `teach`, be what `build_student` starts
from."""
DECODER = "decoder"
HEAD_TABLE = "relative_attention_bias"
"""What a table of relative positions is called, which has a column for each head."""
TURNED = "positions turn the queries and keys of a {kind}, so that its layers' heads cannot be turned to be alike"
SIZES = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings")


def _headless(_: Any, hidden_states: torch.Tensor) -> tuple[torch.Tensor, None]:
    return hidden_states[..., :0], None


def _each_once(_: Any, layers: Sequence[nn.Module]) -> list[nn.Module]:
    return list(layers)


@dataclass(frozen=True, kw_only=True)
class Student:
    """How `build_student` makes a model of a family out of a BERT teacher.

    Args:
        values: The values of its configuration that go by a name of its own, or that it alone has: teacher's configuration and
            shape in.
        begin: Lets a random student take over what the teacher knows.
        takes: What each of the teacher's layers that are taken becomes: a layer, a group of layers that share, or nothing.
        own_sizes: Sizes of StudentShape that not all families have.
        bottleneck: Whether its heads divide a bottleneck inside a layer and not the width.
        halves: Whether it has half of the teacher's layers where nothing tells.
    """

    values: Callable[[Any, StudentShape], dict[str, Any]]
    begin: Callable[[PreTrainedModel, InitFromTeacher], None]
    takes: Literal["layers", "groups", "nothing"] = "layers"
    own_sizes: tuple[str, ...] = ()
    bottleneck: bool = False
    halves: bool = True


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family with an encoder; the names of modules inside a layer are paths from the layer.

    Args:
        config: Its class, which tells `model_type`.
        classes: The class for each kind of head, by how its name ends; one for sequences is among them.
        layer: The class of an encoder layer.
        layers: Path from the base model to what holds the layers.
        attention: Path to the module with the projections.
        projections: Paths of query, key and value.
        context: Path of the Linear that reads what the heads answer.
        attention_norm: Path of the normalization behind attention, or before it (see norms_behind).
        feed_forward: Paths of the two Linears of the (last) feed-forward part.
        gate: Path of a third one whose answers the neurons are multiplied by; None where there is none.
        activation: Path of the function of the neurons.
        output_norm: Path of the normalization behind the feed-forward part, or before it.
        read_alike: Paths of Linears that read one and the same input, the input's normalization done.
        fused: Paths of Linears that stand for several, each with what the parts are called, in order. They are taken apart
            when a model is made, so that paths above may lead to parts (`attn.Wqkv.query`), and are one again in saved and in
            exported files.
        head: Where the names of the weights begin that a new head for sequences is made of.
        token_head: The same of a head for each token; a head for spans has the last Linear at `span_linear`.
        text_linear: Path of the last Linear of a head for sequences.
        span_linear: Path of the last Linear of a head for spans.
        masked_head: Paths of the parts of a head for masked words, in the order in which they run; the first one reads the
            states, the last one is the Linear that the word table is tied to.
        uncalled: Paths of the Linears of that head whose weights the model multiplies by itself, so that they cannot quantize.
        decoder_layers: Path from a model that writes to what holds the layers of its decoder, whose parts are where the
            encoder's are; None where the family has no decoder.
        decoder_linear: Path of the first Linear behind them.
        base_parts: Where the names of a base model's weights begin besides those of its embeddings and its layers.
        unread: Where the names of a base model's weights begin that no class of `classes` has.
        written_as: Parts of weights' names in files of the family's makers, each with the paths that it stands for here; where
            these are several, theirs stand one behind the other.
        mark: A weight that every base model of the family has: what stands before its name stands before all names.
        heads: Attribute of the attention module that counts its heads; None where it has none.
        head_size: Its attribute that tells the width of a head.
        embeddings_norm: Path from the base model to the normalization of the embeddings' sum; empty where there is none.
        pooler: Path from the model to the Linear between the first token's state and the classifier; None where there is none.
        pooler_is_relu: Whether ReLU stands behind it, where BERT has tanh.
        norms_behind: Whether a layer normalizes behind each part's sum (BERT's way), not before each part.
        positions: "absolute" ones have a table, which can be cut; "rotary" ones turn queries and keys; "relative" ones are
            added to the scores.
        first_position: Which row of that table a text's first token has, from the configuration; the rows before it are no
            token's.
        numbered: So many of the lowest ids keep their numbers where a table holds some rows only, since the embeddings know
            one of them by its number.
        summands: Products whose sum an attention score is: it is divided by the root of the head's size times their number.
        head_table: Path from the base model to the table of relative positions that layers share, with a column for each head;
            a layer that lost heads has one of its own in its attention, called HEAD_TABLE.
        sizes: Keys of the configuration that count something, besides SIZES.
        attention_width: Key of the configuration for the width that the heads divide.
        distinct_layers: Keys of the configuration whose product counts the layers that have weights of their own.
        layers_differ: Whether layers of equal sizes compute differently, so that none can stand in for another.
        executed: What of the held layers runs, in order, from the configuration.
        kept: Gives a copy of a model these of its layers, where that takes more than a list of them; None where it does not.
        headless: What the attention module answers when it has no heads any more.
        reads_types: Whether it reads token types.
        adapted: Puts modules of ours in the place of a freshly made model's where no kernel of transformers computes those, or
            they read fused Linears; weights and their names as they were. None where all are fit as they are.
        after_attention: What the layer makes of the heads' answers and of its own input; None where the last layer computes
            every token.
        abilities: See Ability.
        why_not: For an ability that it lacks, why, as the end of a message, where more than its name is to be said.
        own_keys: Keys that config.json of this family alone has.
        other_keys: Keys that its configuration reads although they are no fields of it.
        told_as: Keys of the configuration in files of the family's makers, with what they are called here.
        check: What is wrong with a configuration, as the end of a message; None where nothing is.
        prunes_by_config: Whether a checkpoint of transformers 4 tells pruned heads in its configuration so that they can be
            read.
        masked_words: The class with the head for masked words, and how the names of that head's weights begin; None where the
            toolkit reads none.
        student: How it is made out of a teacher; None where `build_student` makes none.
        as_shared: The model of a family with shared layers that answers as one does whose layers are equal in so many groups.
        other_sizes: What config.json tells besides, under names by which readers of BERT's ask, from the configuration.
    """

    config: type[PretrainedConfig]
    classes: Mapping[str, type[PreTrainedModel]]
    layer: type[nn.Module]
    layers: str
    attention: str
    projections: tuple[str, str, str]
    context: str
    attention_norm: str
    feed_forward: tuple[str, str]
    activation: str
    output_norm: str
    read_alike: tuple[tuple[str, ...], ...]
    head: tuple[str, ...]
    token_head: tuple[str, ...] = ("classifier.",)
    text_linear: str = CLASSIFIER
    span_linear: str = SPAN_LINEAR
    masked_head: tuple[str, ...] = ("cls.predictions", "cls.predictions.decoder")
    uncalled: tuple[str, ...] = ()
    decoder_layers: str | None = None
    decoder_linear: str = "decoder.cls.predictions.transform.dense"
    base_parts: tuple[str, ...] = ("pooler.",)
    unread: tuple[str, ...] = ()
    written_as: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mark: str = "embeddings.position_embeddings.weight"
    gate: str | None = None
    fused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    heads: str | None = "num_attention_heads"
    head_size: str = "attention_head_size"
    embeddings_norm: str = "embeddings.LayerNorm"
    pooler: str | None = None
    pooler_is_relu: bool = False
    norms_behind: bool = True
    positions: Literal["absolute", "rotary", "relative"] = "absolute"
    first_position: Size = lambda _: 0
    numbered: int = 0
    summands: int = 1
    head_table: str | None = None
    sizes: tuple[str, ...] = ("intermediate_size", "type_vocab_size")
    attention_width: str = "hidden_size"
    distinct_layers: tuple[str, ...] = ("num_hidden_layers",)
    layers_differ: bool = False
    executed: Callable[[Any, Sequence[Any]], list[nn.Module]] = _each_once
    kept: Callable[[PreTrainedModel, list[nn.Module]], PreTrainedModel] | None = None
    headless: Callable[[Any, torch.Tensor], tuple[torch.Tensor, None]] = _headless
    reads_types: bool = True
    adapted: Callable[[PreTrainedModel], None] | None = None
    after_attention: Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    abilities: frozenset[Ability] = frozenset()
    why_not: Mapping[Ability, str] = field(default_factory=dict)
    own_keys: tuple[str, ...] = ()
    other_keys: tuple[str, ...] = ()
    told_as: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Any], str | None] = lambda _: None
    prunes_by_config: bool = True
    masked_words: tuple[type[PreTrainedModel], str] | None = None
    student: Student | None = None
    as_shared: Callable[[PreTrainedModel, int], PreTrainedModel] | None = None
    other_sizes: Mapping[str, Size] = field(default_factory=dict)

    @property
    def classifier(self) -> type[PreTrainedModel]:
        """The class with a head for sequences; its `base_model_prefix` stands before the base model's weights."""
        return self.classes[SEQUENCE]

    def last(self, architecture: str) -> str:
        """The path of the last Linear of a head, or of the module that ends in it, which may be empty."""
        paths = {
            SEQUENCE: self.text_linear,
            SPANS: self.span_linear,
            SENTENCES: PROJECTIONS,
            WRITER: self.decoder_linear,
            MASKED: self.masked_head[-1],
        }
        return paths.get(architecture, CLASSIFIER)

    def head_weights(self, architecture: str) -> tuple[str, ...]:
        """Where the names of the weights begin that a head is made of."""
        whole = {SENTENCES: (PROJECTIONS,), WRITER: (DECODER,), MASKED: self.masked_head}.get(architecture)
        if whole is not None:
            return tuple(f"{path}." for path in whole)
        begins = self.head if architecture == SEQUENCE else self.token_head
        return tuple(f"{self.last(architecture)}." if begin == f"{CLASSIFIER}." else begin for begin in begins)

    def has_masked_head(self, names: Collection[str], *, tied: bool) -> bool:
        """Whether weights of these names have a head for masked words; one that is a single Linear, tied to the word table,
        has none of its own."""
        begins = self.head_weights(MASKED)
        return any(name.startswith(begins) for name in names) or (tied and len(self.masked_head) == 1)

    @property
    def prefix(self) -> str:
        """What stands before the names of the base model's weights, with its dot."""
        return f"{self.classifier.base_model_prefix}."

    @property
    def counted(self) -> tuple[str, ...]:
        """Keys of the configuration that count something."""
        return (*SIZES, *self.sizes)

    @property
    def inputs(self) -> list[str]:
        """The names of what a model of the family can read, in order."""
        return ["input_ids", "attention_mask", *(["token_type_ids"] if self.reads_types else [])]

    @property
    def neurons(self) -> tuple[str, ...]:
        """Paths of the Linears that answer the neurons: the first of the feed-forward part, and its gate if it has one."""
        return (self.feed_forward[0], *([self.gate] if self.gate else []))

    @property
    def sums(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """For attention and for the (last) feed-forward part the path of the Linear that ends it, and of the module that reads
        what it adds to; empty where that is the layer's answer."""
        first, second = self.context, self.feed_forward[1]
        if self.norms_behind:
            return (first, self.attention_norm), (second, self.output_norm)
        return (first, self.output_norm), (second, "")

    @property
    def scores_tell_places(self) -> bool:
        """Whether attention scores depend on where tokens stand besides their queries and keys."""
        return self.positions != "absolute" or self.head_table is not None

    @property
    def repeats_layers(self) -> bool:
        """Whether a layer may run several times."""
        return self.executed is not _each_once


@dataclass(frozen=True, kw_only=True)
class EncoderFree:
    """A family without an encoder, whose classes are the toolkit's own: nothing of it can be cut, dropped or watched by layer.

    Args:
        config: Its class, which tells `model_type`.
        classes: See Family.
        counted: Keys of the configuration that count something.
        integer_products: Whether its products are large enough to gain from integer kernels; else only the tables of its int8
            file are whole numbers.
        student_sizes: What the sizes of `build_student` are called in its configuration.
        macs: Multiply-adds of what is neither a Linear nor an LSTM, for one sentence of so many tokens.
        head: Where the names of the weights begin that a new head is made of.
        inputs: The names of what a model can read, in order.
        check: See Family.
        other_sizes: See Family.
    """

    config: type[PretrainedConfig]
    classes: Mapping[str, type[PreTrainedModel]]
    counted: tuple[str, ...]
    integer_products: bool
    student_sizes: Mapping[str, str]
    macs: Callable[[Any, int], int] = lambda config, length: 0
    head: tuple[str, ...] = ("dense.", "classifier.")
    inputs: tuple[str, ...] = ("input_ids", "attention_mask", "token_type_ids")
    own_keys: tuple[str, ...] = ()
    other_keys: tuple[str, ...] = ()
    mark: str = "embeddings.weight"
    fused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    check: Callable[[Any], str | None] = lambda _: None
    other_sizes: Mapping[str, Size] = field(default_factory=dict)

    @property
    def classifier(self) -> type[PreTrainedModel]:
        """The class of its models."""
        return self.classes[SEQUENCE]

    def last(self, architecture: str) -> str:
        """The path of the last Linear of the head, or of the module that ends in it, which may be empty."""
        return PROJECTIONS if architecture == SENTENCES else CLASSIFIER

    def head_weights(self, _: str) -> tuple[str, ...]:
        """Where the names of the weights begin that the head is made of."""
        return self.head

    def first_position(self, _: Any) -> int:
        """Count no positions before a text's first token."""
        return 0
