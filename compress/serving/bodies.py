"""What requests and responses hold; a request's values are taken as they are, and never turned into others.

Source: Text Embeddings Inference, router/src/http/types.rs (Apache-2.0); OpenAI, API reference, "Create embeddings".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from compress.readers.reader import Cut, Item, Reader

Text = Annotated[str, Field(json_schema_extra={"minLength": 1})]
"""An empty one is refused by another status than what is no text."""
Texts = Annotated[list[Text], Field(fail_fast=True, json_schema_extra={"minItems": 1})]
"""The first entry that is none ends the reading: of a million of them no million of mistakes is made."""
Dimensions = Annotated[
    int, Field(ge=1), BeforeValidator(lambda value: int(value) if isinstance(value, float) and value.is_integer() else value)
]
"""JSON has one kind of numbers, so that 3.0 is a whole one."""
Direction = Literal["Left", "Right", "left", "right"]


class Body(BaseModel):
    """What a client sends; fields that are unknown are left out, as other servers do."""

    model_config = ConfigDict(strict=True)


class Truncating(Body):
    """A request whose texts may be cut."""

    truncate: Annotated[bool | None, Field(description="cut texts that are too long; as the server was told if left out")] = (
        None
    )
    truncation_direction: Annotated[Direction, Field(description="where they are cut")] = "Right"

    def cut(self, by_default: bool) -> Cut:
        """What becomes of texts that are too long."""
        is_allowed = by_default if self.truncate is None else self.truncate
        return Cut(is_allowed, "left" if self.truncation_direction.lower() == "left" else "right")


# -- Text Embeddings Inference ----------------------------------------------------------------------------------------------


class EmbedRequest(Truncating):
    """Texts whose vectors are wanted."""

    inputs: Text | Texts
    normalize: Annotated[bool, Field(description="bring vectors to a length of 1")] = True
    prompt_name: Annotated[str | None, Field(description="which of the model's prompts stands before the texts")] = None
    dimensions: Annotated[Dimensions | None, Field(description="first numbers of a vector that are kept")] = None


class SimilarityInput(Body):
    """A text, and those that it is compared with."""

    source_sentence: Text
    sentences: Texts


class SimilarityParameters(Truncating):
    """How texts are read."""

    prompt_name: str | None = None


class SimilarityRequest(Body):
    """Texts that are compared."""

    inputs: SimilarityInput
    parameters: SimilarityParameters | None = None


Pair = Annotated[list[Text], Field(fail_fast=True, min_length=1, max_length=2)]
"""A text, or a pair of texts, in a list."""


class PredictRequest(Truncating):
    """A text, a pair [text, text], or a batch [[text], [text, text], ...]."""

    inputs: Text | Pair | Annotated[list[Pair], Field(fail_fast=True, min_length=1)]
    raw_scores: Annotated[bool, Field(description="as the model gives them, without an activation")] = False


class RerankRequest(Truncating):
    """A query, and passages that are put into order for it."""

    query: Text
    texts: Texts
    raw_scores: Annotated[bool, Field(description="as the model gives them, without an activation")] = False
    return_text: bool = False


class Prediction(BaseModel):
    """A label and its score."""

    score: float
    label: str


class Rank(BaseModel):
    """A passage's place among those that were sent, and its score."""

    index: int
    text: str | None = None
    score: float


class Error(BaseModel):
    """Why there is no answer."""

    error: str
    error_type: str


class Info(BaseModel):
    """What is served, as Text Embeddings Inference says it."""

    model_id: str
    model_sha: str | None = None
    model_dtype: str
    served_model_name: str
    model_type: dict[str, Any]
    max_concurrent_requests: int
    max_input_length: int
    max_batch_tokens: int
    max_batch_requests: int | None = None
    max_client_batch_size: int
    auto_truncate: bool
    tokenization_workers: int
    version: str
    sha: str | None = None
    docker_label: str | None = None


# -- OpenAI -----------------------------------------------------------------------------------------------------------------


class OpenAIEmbeddingsRequest(Body):
    """Texts whose vectors are wanted; numbers of tokens are not taken, since they are another model's."""

    input: Text | Texts
    model: Annotated[str | None, Field(description="a served model; where one alone gives vectors, any name is it")] = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[Dimensions | None, Field(description="first numbers of a vector that are kept")] = None
    user: str | None = None


class OpenAIEmbedding(BaseModel):
    """A vector: numbers, or its float32 values in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class OpenAIUsage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class OpenAIEmbeddings(BaseModel):
    """The vectors."""

    object: Literal["list"] = "list"
    data: list[OpenAIEmbedding]
    model: str
    usage: OpenAIUsage


class OpenAIModel(BaseModel):
    """A model that can be named."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class OpenAIModels(BaseModel):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[OpenAIModel]


class OpenAIErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class OpenAIError(BaseModel):
    """Why there is no answer."""

    error: OpenAIErrorDetail


# -- ours -------------------------------------------------------------------------------------------------------------------


class TextItem(Body):
    """A text."""

    text: Text

    def item(self) -> Item:
        """As readers take it."""
        return Item(self.text)


class PairItem(TextItem):
    """A text and a second one: a query and a passage, a question and the text that answers it."""

    pair: Text

    def item(self) -> Item:
        """As readers take it."""
        return Item(self.text, self.pair)


class TextOrPairItem(TextItem):
    """A text, or a pair of texts."""

    pair: Text | None = None

    def item(self) -> Item:
        """As readers take it."""
        return Item(self.text, self.pair)


ITEMS: dict[str, Any] = {
    "a text": Text | TextItem,
    "a text or a pair": Text | TextOrPairItem,
    "a pair": PairItem,
}
"""By what a reader takes."""


class ModelInfo(BaseModel):
    """A model that is served."""

    name: str
    kind: str
    state: Literal["loading", "ready"]
    labels: list[str]
    max_length: int
    takes: str
    routes: list[str]


class Models(BaseModel):
    """All of them."""

    models: list[ModelInfo]


class Health(BaseModel):
    """Whether the server is there, and what it does."""

    status: Literal["ok", "loading", "draining"]
    models: dict[str, Literal["loading", "ready"]]


def answer_bodies(reader: Reader, name: str) -> tuple[type[Truncating], type[BaseModel]]:
    """The request and the response of a model's own route.

    Args:
        reader: The model's.
        name: Of the model, by which the two are told from those of others in the schema.
    """
    item = ITEMS[reader.takes]
    items = Annotated[list[item], Field(fail_fast=True, json_schema_extra={"minItems": 1})]  # type: ignore[valid-type]
    request = create_model(f"AnswersRequest_{name}", __base__=Truncating, inputs=(item | items, ...))
    response = create_model(f"Answers_{name}", model=(str, ...), answers=(list[reader.answers], ...))  # type: ignore[name-defined]
    return request, response


def items_of(inputs: Any) -> list[Item]:
    """The items of a request, of which a single one is no list."""
    given = inputs if isinstance(inputs, list) else [inputs]
    return [Item(entry) if isinstance(entry, str) else entry.item() for entry in given]
