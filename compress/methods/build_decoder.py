"""Give an encoder a new decoder."""

from __future__ import annotations

import copy
import logging
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from transformers import PreTrainedModel

from compress.arguments import within_range
from compress.errors import InputError
from compress.models.encoder_decoder import decoder_config, set_search
from compress.models.families import family_of
from compress.models.head import WRITER
from compress.models.layout import decoder_layers, encoder_layers, parameter_count
from compress.models.structure import read_structure
from compress.models.students import spread_layers
from compress.models.surgery import copy_of
from compress.models.traits import why_not_cut
from compress.models.writer_tokenizer import FEWEST, ends_of, learned_tokenizer, writer_of
from compress.runtimes.writer_files import MOST_BEAMS
from compress.runtimes.writing import Search
from compress.tasks.labelled import Task
from compress.training.compatibility import labels_aligned
from compress.training.step_context import StepContext

logger = logging.getLogger(__name__)


@within_range
@labels_aligned(trains=True)
def build_decoder(
    model: PreTrainedModel,
    *,
    task: Task,
    layers: Annotated[int, Field(ge=1, le=64, description="of the decoder")] = 2,
    start: Annotated[
        Literal["random", "encoder"], Field(description="what its layers begin as: new ones, or the encoder's")
    ] = "random",
    vocabulary: Annotated[
        int | None,
        Field(ge=FEWEST, le=1 << 17, description="tokens of its own, learned from the texts to write; null: the encoder's"),
    ] = None,
    max_length: Annotated[int, Field(ge=4, le=8192, description="tokens of a text that is written, at most")] = 128,
    beams: Annotated[int, Field(ge=1, le=MOST_BEAMS, description="texts that are followed at once while one is written")] = 1,
    length_penalty: Annotated[
        float, Field(ge=-10, le=10, description="power of the length that scores of beams are divided by")
    ] = 1.0,
    run: StepContext | None = None,
) -> PreTrainedModel:
    """Copy the model with a new decoder, which writes with attention to what the encoder has read; train it with `fine_tune`.

    A model that is loaded for a task of written texts has a decoder already: the checkpoint's, or a new one of two layers with
    the encoder's vocabulary. Text of another language or in another case than the encoder's needs a vocabulary of its own.

    Source: Vaswani et al. 2017, arXiv 1706.03762, section 3 (the decoder); Rothe et al. 2020, arXiv 1907.12461, section 2
    (`start: encoder`, their BERT2BERT: attention to the encoder is new).
    Differs: the decoder may have fewer layers than the encoder, whose evenly spread ones it then begins as, and a vocabulary
    of its own, whose table is new.

    Args:
        model: Stays as it is, its decoder is left out.
        task: Its training part gives the texts that a vocabulary is learned from; the evaluation split is not touched.
        layers: Few make writing fast, since each token runs through all of them, one after the other.
        start: "random" layers need more training; "encoder" ones know a language already, and keep the encoder's positions.
        vocabulary: How many tokens the decoder knows at most. They are bytes and runs of bytes (byte-level BPE), so that no
            text is unknown, and all is written as it was learned, case and spaces included.
        max_length: The decoder's positions.
        beams: Stands in the folder as transformers' `num_beams`; more write a little better and cost time in proportion.
        length_penalty: More favours longer texts.
        run: Its seed is for new weights.

    Returns:
        The copy.

    Raises:
        InputError: The task writes no texts; or the encoder has fewer layers or positions than the decoder is to take over, or
            was changed before.
    """
    run = run or StepContext()
    if not task.rules.head.writes:
        raise InputError(f"build_decoder: a task of {task.kind} writes no texts; remove the step.")
    takes = _taken_layers(model, layers, max_length) if start == "encoder" else None
    writer = _writer(model, task, vocabulary, max_length)
    begin, end, padding = ends_of(writer)
    student: Any = copy_of(model)
    config = decoder_config(
        student.config,
        num_hidden_layers=layers,
        vocab_size=len(writer),
        max_position_embeddings=max_length,
        pad_token_id=padding,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        decoder = type(student.decoder)(config)
    student.config.decoder, student.decoder, student.tokenizer.writer = config, decoder, writer
    set_search(student, Search(begin, end, padding, max_length, beams, length_penalty))
    if takes is not None:
        _take_over(student, takes, own_words=vocabulary is not None)
    student.has_new_head = True
    logger.info("a decoder of %d layers and %d tokens, %.1f M parameters", layers, len(writer), parameter_count(decoder) / 1e6)
    ready: PreTrainedModel = student.eval()
    return ready


def _taken_layers(model: PreTrainedModel, layers: int, max_length: int) -> list[int]:
    """Which of the encoder's layers the decoder begins as, everything checked."""
    depth, config = len(encoder_layers(model)), model.config
    why = why_not_cut(model, do="build a decoder")
    if why:
        raise InputError(f"build_decoder: start is encoder, but {why}")
    if layers > depth:
        raise InputError(
            f"build_decoder.layers is {layers}, but the encoder, which start takes, has {depth}; use at most so many."
        )
    if max_length > config.max_position_embeddings:
        raise InputError(
            f"build_decoder.max_length is {max_length}, but the encoder, which start takes, has "
            f"{config.max_position_embeddings} positions; use at most so many."
        )
    whole = {
        "heads": config.num_attention_heads,
        "head_size": config.hidden_size // config.num_attention_heads,
        "intermediate": config.intermediate_size,
    }
    if any(layer != whole for layer in read_structure(model)["layers"][:depth]):
        raise InputError("build_decoder: start is encoder, but its layers have lost heads or neurons; build a decoder before.")
    return spread_layers(layers, depth)


def _writer(model: PreTrainedModel, task: Task, vocabulary: int | None, max_length: int) -> Any:
    """The tokenizer of what is written."""
    if vocabulary is not None:
        return learned_tokenizer(list(task.train.require("train").labels), vocabulary, max_length)
    writer = copy.deepcopy(writer_of(model.tokenizer))
    vars(writer).pop("writer", None)
    writer.model_max_length = max_length
    return writer


@torch.no_grad()
def _take_over(student: Any, takes: list[int], *, own_words: bool) -> None:
    """Let the decoder begin as these of the encoder's layers, with its positions, and its words where they are the same."""
    family = family_of(student)
    assert WRITER in family.classes
    for index, layer in zip(takes, decoder_layers(student), strict=True):
        old = encoder_layers(student)[index]
        layer.load_state_dict(old.state_dict(), strict=False)  # attention to the encoder is new
    read, write = student.base_model.embeddings, student.decoder.base_model.embeddings
    write.position_embeddings.weight.copy_(read.position_embeddings.weight[: len(write.position_embeddings.weight)])
    write.token_type_embeddings.load_state_dict(read.token_type_embeddings.state_dict())
    write.LayerNorm.load_state_dict(read.LayerNorm.state_dict())
    if not own_words:
        write.word_embeddings.weight.copy_(read.word_embeddings.weight)
