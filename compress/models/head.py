"""What a model's head is for."""

from __future__ import annotations

from dataclasses import dataclass

from compress.runtimes.runtime import LOGITS, SPAN_LOGITS, STATES, VECTORS

SEQUENCE, TOKENS, SPANS = "SequenceClassification", "TokenClassification", "QuestionAnswering"
SENTENCES = "SentenceEmbedding"
WRITER = "Seq2SeqLM"
MASKED = "MaskedLM"
CLASSIFIER, TEXT_LINEAR, SPAN_LINEAR = LAST_LINEARS = ("classifier", "classifier.out_proj", "qa_outputs")
"""What the last Linear of a head is called: in some families a head for sequences is two of them, and in some that of a head
for spans goes by the first name too."""
SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
REGRESSION = "regression"


@dataclass(frozen=True)
class Head:
    """A head, as transformers names it.

    Args:
        architecture: How the name of the model's class ends behind "For".
        problem_type: What config.json says that the outputs are; None where the architecture tells.
        reads_tokens: Whether there are outputs for each token; else there are for the text.
        outputs: What an exported file calls them; of several, each is a column of what the toolkit calls logits.
        ranks: Whether the one output ranks passages, which a folder tells by stating an activation for it.
        beside: What the file gives besides, for readers who look for it; it stands before the outputs.
        is_named: Whether each output has a name, as a label has; the numbers of a vector have none.
        reads_pairs: Whether two texts are read as one; else each by itself.
        opened_as: How the class ends with which other tools open an exported folder, where that is not the model's.
        writes: Whether it is a decoder: its outputs are for each token of the text that is written, and told the tokens before
            it; told none, the model writes a text.
        names: What outputs are called where nobody names them.
        of_pieces: Whether the outputs for each token are the pieces of the vocabulary, read by the word table's own rows.
    """

    architecture: str = SEQUENCE
    problem_type: str | None = SINGLE_LABEL
    reads_tokens: bool = False
    outputs: tuple[str, ...] = (LOGITS,)
    ranks: bool = False
    beside: tuple[str, ...] = ()
    is_named: bool = True
    reads_pairs: bool = True
    opened_as: str = ""
    writes: bool = False
    names: tuple[str, ...] = ("0", "1")
    of_pieces: bool = False

    @property
    def gives_vectors(self) -> bool:
        """Whether the outputs are the numbers of a vector."""
        return not self.is_named and not self.of_pieces


SINGLE_LABEL_HEAD = Head()
OF_TOKENS = {
    TOKENS: Head(TOKENS, None, reads_tokens=True),
    SPANS: Head(SPANS, None, reads_tokens=True, outputs=SPAN_LOGITS),
    WRITER: Head(WRITER, None, reads_tokens=True, writes=True, names=("text",)),
    MASKED: Head(MASKED, None, reads_tokens=True, is_named=False, of_pieces=True),
}
"""Heads with outputs for each token, by their architecture."""
OF_SENTENCES = Head(
    SENTENCES,
    None,
    outputs=(VECTORS,),
    beside=(STATES,),
    is_named=False,
    reads_pairs=False,
    opened_as="FeatureExtraction",
)
NO_CLASSIFIERS = {**OF_TOKENS, SENTENCES: OF_SENTENCES}
"""Heads that do not classify whole texts, by their architecture."""


def head_named(architecture: str, problem: str | None = None, activation: str | None = None) -> Head:
    """The head whose class' name ends so; of a text's, `problem` says what its outputs are, and `activation` what is stated to
    be done to them."""
    ranks = problem == REGRESSION and activation is not None
    return NO_CLASSIFIERS.get(architecture) or Head(architecture, problem, ranks=ranks)


def problem_type(outputs: int) -> str:
    """What so many outputs for a text are where nobody tells, as transformers takes them."""
    return REGRESSION if outputs == 1 else SINGLE_LABEL
