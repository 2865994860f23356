"""Put a small network that reads how pieces are spelled or drawn in the place of the word table."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from transformers import PreTrainedModel

from compress.arguments import fits_together, within_range
from compress.dependencies import InputFile
from compress.errors import InputError, shown
from compress.models.glyphs import Font
from compress.models.pieces import contents_of
from compress.models.spelled import SpelledEmbedding, letters_of, set_spelled
from compress.models.surgery import copy_of
from compress.models.traits import why_too_late
from compress.tasks.labelled import Task
from compress.tasks.words import occurrences, texts_of
from compress.training.step_context import StepContext

logger = logging.getLogger(__name__)

FILTERS = [[1, 32], [2, 32], [3, 64], [4, 128]]
"""The first of ELMo's, whose others are 5 to 7 bytes wide."""
BATCH_SIZE = 256
LEARNING_RATE = 1e-3
Number = Annotated[int, Field(ge=1, le=1 << 11)]


def _wrong(by: str, font: str | None, filters: list[list[int]] | None) -> list[str]:
    if by == "glyphs":
        problems = ["font is missing; give a file of one that has the characters of the vocabulary."] if font is None else []
        return problems + (["filters is given, but only letters have them; leave it out."] if filters is not None else [])
    return ["font is given, but only glyphs are drawn; leave it out, or use by: glyphs."] if font is not None else []


@within_range
@fits_together(_wrong)
def spell_words(
    model: PreTrainedModel,
    *,
    by: Annotated[Literal["letters", "glyphs"], Field(description="what the network reads of a piece")] = "letters",
    filters: Annotated[
        list[Annotated[list[Number], Field(min_length=2, max_length=2)]] | None,
        Field(min_length=1, max_length=16, description="width and count of the convolutions over letters"),
    ] = None,
    highways: Annotated[int, Field(ge=0, le=4, description="layers behind the convolutions over letters")] = 2,
    longest: Annotated[int, Field(ge=4, le=128, description="bytes of a piece that are read, marks included")] = 50,
    font: Annotated[InputFile | None, Field(description="file of a font that characters are drawn with")] = None,
    size: Annotated[int, Field(ge=12, le=64, description="pixels of a picture's side")] = 24,
    channels: Annotated[int, Field(ge=4, le=512, multiple_of=4, description="of the last convolution over glyphs")] = 128,
    steps: Annotated[int, Field(ge=0, le=100_000, description="in which the network learns the table's rows")] = 500,
    task: Task | None = None,
    run: StepContext | None = None,
) -> PreTrainedModel:
    """Put a small network in the word table's place: it reads each piece's letters (ELMo) or pictures of its characters.

    21,128 rows of a Chinese vocabulary become one network of a few hundred thousand weights, in which characters with a part
    in common share what is learned of it. It starts from the table, whose rows it learns for some steps; let `distill` or
    `fine_tune` follow. Exported files hold the rows that the network answers, as a table again, so that they are neither
    larger nor slower than they would be without it, and can hold it in eight or four bits.

    Source: Peters et al. 2018, ELMo, arXiv 1802.05365, section 3; Kim et al. 2016, arXiv 1508.06615, section 2 (letters);
    Meng et al. 2019, Glyce, arXiv 1901.10125, section 3.2 (glyphs); Pinter et al. 2017, MIMICK, arXiv 1707.06961 (learning a
    table's rows by their spelling).
    Differs: pieces of the model's vocabulary are spelled, not words; three convolutions of 3 x 3 over glyphs, one font.

    Args:
        model: Any with a word table of its own; stays as it is.
        by: "letters" reads the bytes of a piece, "glyphs" pictures of its characters, for scripts whose words are pictures.
        filters: Of letters: [bytes that each sees, how many there are]; ELMo's first four kinds if nothing tells.
        highways: Of letters: layers that pass on or change what the convolutions have seen.
        longest: Of letters: longer pieces are cut.
        font: Of glyphs: a .ttf, .otf or .ttc with the characters of the vocabulary; it may lack a tenth of them, which all
            look alike then. Whoever loads the model needs no font: the pictures are in its weights' file.
        size: Of glyphs: 12 pixels tell simple characters apart, 24 all.
        channels: Of glyphs: a quarter and a half of it are the first two convolutions'.
        steps: Of AdamW at a rate of 0.001 on 256 pieces each; 0 starts from a random network.
        task: Its training part tells how often pieces occur: they are drawn by the root of that while the network learns the
            rows; all alike without.
        run: Its seed is used, and its facts take up how much of the rows' spread the network has learned.

    Returns:
        The copy. structure.json tells the network's sizes, and `compress.load` loads it.

    Raises:
        InputError: The head reads the word table too, the table is no longer one, or the font cannot be read or lacks too
            much.
    """
    run = run or StepContext()
    if model.get_output_embeddings() is not None:
        raise InputError(
            "spell_words: the word table of a model of masked-words is what its head multiplies by as well; spell words in a "
            "recipe of the task that comes after it."
        )
    why = why_too_late(model, "spell its words", "factorize_embedding", "quantize_aware", "spell_words")
    if why:
        raise InputError(f"spell_words: {why}")
    student = copy_of(model)
    table = student.get_input_embeddings()
    assert isinstance(table, nn.Embedding)
    tokens, inside, special = _spelled(model, table.num_embeddings)
    facts: dict[str, Any] = {"by": by}
    if by == "letters":
        filters = filters or FILTERS
        spellings = letters_of(tokens, special, inside, longest)
        reach = max(len(spellings[0]), *(wide for wide, _ in filters))
        sizes = {"by": by, "longest": reach, "filters": filters, "highways": highways}
        buffers = {"spellings": torch.tensor([[*row, *[0] * (reach - len(row))] for row in spellings]).float()}
    else:
        assert font is not None
        sizes, buffers, facts["missing"] = _glyphs(tokens, inside, special, Font(Path(font), size), channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(run.seed)
        spelled = set_spelled(student, sizes)
        for name, values in buffers.items():
            getattr(spelled.network, name).copy_(values)
        if not run.is_rehearsal:
            facts["kept"] = _learn(spelled, table.weight.detach(), _frequent(model, task), min(steps, run.max_steps or steps))
    facts |= {"weights": sum(weight.numel() for weight in spelled.parameters()), "rows": table.weight.numel()}
    run.facts["spelling"] = facts
    if not run.is_rehearsal:
        logger.info(
            "a network of %d weights reads %s in the place of %d; it has learned %.1f %% of the rows' spread",
            facts["weights"],
            by,
            facts["rows"],
            100 * facts["kept"],
        )
    return student


def _spelled(model: Any, count: int) -> tuple[list[str], str, frozenset[str]]:
    """The tokens by their ids, what begins those inside of words, and which are no text."""
    tokenizer = model.tokenizer
    names = tokenizer.convert_ids_to_tokens(list(range(min(count, len(tokenizer)))))
    inside = contents_of(tokenizer).get("continuing_subword_prefix") or ""
    rest = [f"[{number}]" for number in range(len(names), count)]  # rows that no token has
    return [*(name or "" for name in names), *rest], inside, frozenset([*tokenizer.all_special_tokens, *rest])


def _glyphs(
    tokens: list[str], inside: str, special: frozenset[str], font: Font, channels: int
) -> tuple[dict[str, Any], dict[str, torch.Tensor], int]:
    """The sizes of a network over glyphs, its buffers, and how many characters have no picture."""
    continues = [bool(inside) and token.startswith(inside) and token not in special for token in tokens]
    texts = [token.removeprefix(inside) if after else token for token, after in zip(tokens, continues, strict=True)]
    pictures, missing = font.pictures(sorted({character for text in texts for character in text}))
    if missing:
        logger.warning(
            "font %s has no picture of %d characters, which look alike then: %s",
            font.path,
            len(missing),
            shown("".join(missing)),
        )
    places = {character: place for place, character in enumerate(pictures, 1)}
    longest = max(map(len, texts))
    spellings = torch.zeros(len(tokens), longest + 1)
    for row, (text, after) in enumerate(zip(texts, continues, strict=True)):
        spellings[row, 0] = after
        spellings[row, 1 : 1 + len(text)] = torch.tensor([places.get(character, 0) for character in text]).float()
    drawn = torch.zeros(len(pictures) + 1, font.size, font.size)
    for character, place in places.items():
        drawn[place] = torch.from_numpy(pictures[character])
    sizes = {"by": "glyphs", "longest": longest, "pictures": len(pictures), "size": font.size, "channels": channels}
    return sizes, {"spellings": spellings, "pictures": drawn}, len(missing)


def _frequent(model: PreTrainedModel, task: Task | None) -> torch.Tensor:
    """How often each piece is drawn in comparison with others, (pieces,)."""
    if task is None:
        return torch.ones(model.config.vocab_size)
    return occurrences(model.tokenizer, texts_of(task.train.require("train")), model.config.vocab_size).sqrt().float()


def _learn(spelled: SpelledEmbedding, rows: torch.Tensor, frequent: torch.Tensor, steps: int) -> float:
    """Let the network learn a table's rows; the share of their spread about their mean that it answers afterwards."""
    mean = rows.mean(0)
    spread = (rows - mean).square().mean().clamp(min=1e-12)
    with torch.no_grad():
        spelled.network.project.bias.copy_(mean)
        spelled.network.project.weight.mul_(spread.sqrt())
    optimizer = torch.optim.AdamW(spelled.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    for _ in range(steps):
        ids = torch.multinomial(frequent, min(BATCH_SIZE, len(rows)))
        loss = (spelled.network(ids) - rows[ids]).square().mean() / spread
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return 1 - ((spelled.weight - rows).square().mean() / spread).item()
