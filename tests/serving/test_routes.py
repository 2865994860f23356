"""What clients of Text Embeddings Inference and of OpenAI, and ours, are answered; and what they are told otherwise."""

from __future__ import annotations

import asyncio
import base64
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.serving.hosting import Host
from compress.serving.limits import Limits
from tests.serving.folders import LABELS, LONGEST, WORDS, make_folder, mean_of
from tests.serving.servers import Client, posted, with_server

TEXT, OTHER = "the film was very good", "a sad plot"
KINDS = ("text-classification", "reranking", "sentence-embedding", "question-answering")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One folder of each kind."""
    room = tmp_path_factory.mktemp("folders")
    return {kind: make_folder(room / kind, kind) for kind in LABELS}


def only(folders: dict[str, Path], *kinds: str) -> dict[str, Path]:
    """Some of them."""
    return {kind: folders[kind] for kind in kinds}


def softmax(logits: np.ndarray) -> dict[str, float]:
    """Of two labels, by hand."""
    first = 1 / (1 + math.exp(logits[1] - logits[0]))
    return dict(zip(LABELS["text-classification"], (first, 1 - first), strict=True))


def scores(predictions: list[dict[str, Any]]) -> dict[str, float]:
    """Of one text, which stand in falling order."""
    values = [prediction["score"] for prediction in predictions]
    assert values == sorted(values, reverse=True)
    return {prediction["label"]: prediction["score"] for prediction in predictions}


# -- Text Embeddings Inference ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "texts"),
    [
        (TEXT, None),
        ([TEXT], None),
        ([TEXT, OTHER], None),  # a pair
        ([[TEXT]], [(TEXT,)]),
        ([[TEXT], [OTHER, TEXT], [OTHER]], [(TEXT,), (OTHER, TEXT), (OTHER,)]),
    ],
)
def test_predict_takes_a_text_a_pair_or_a_batch_of_both(inputs: Any, texts: Any, folders: dict[str, Path]) -> None:
    status, body = posted(only(folders, "text-classification"), "/predict", {"inputs": inputs})
    assert status == 200
    answers = body if texts else [body]
    wanted = texts or [(inputs,) if isinstance(inputs, str) else tuple(inputs)]
    assert len(answers) == len(wanted)
    for answer, own in zip(answers, wanted, strict=True):
        assert scores(answer) == pytest.approx(softmax(mean_of("text-classification", *own)), abs=1e-6)


def test_predict_gives_logits_if_asked_and_each_label_its_own_probability_where_several_may_stand(
    folders: dict[str, Path],
) -> None:
    _, raw = posted(only(folders, "text-classification"), "/predict", {"inputs": TEXT, "raw_scores": True})
    logits = dict(zip(LABELS["text-classification"], mean_of("text-classification", TEXT).tolist(), strict=True))
    assert scores(raw) == pytest.approx(logits, abs=1e-6)
    _, several = posted(only(folders, "multi-label-classification"), "/predict", {"inputs": TEXT})
    own = [1 / (1 + math.exp(-number)) for number in mean_of("multi-label-classification", TEXT)]
    assert scores(several) == pytest.approx(dict(zip(LABELS["multi-label-classification"], own, strict=True)), abs=1e-6)
    _, number = posted(only(folders, "regression"), "/predict", {"inputs": TEXT})
    assert scores(number) == pytest.approx({"score": float(mean_of("regression", TEXT)[0])}, abs=1e-6)


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("with_text", [True, False])
def test_rerank_puts_passages_into_order(raw: bool, with_text: bool, folders: dict[str, Path]) -> None:
    texts = [TEXT, OTHER, "ada lovelace", "it is bad"]
    body = {"query": "how was it", "texts": texts, "raw_scores": raw, "return_text": with_text}
    status, ranks = posted(only(folders, "reranking"), "/rerank", body)
    logits = [float(mean_of("reranking", "how was it", text)[0]) for text in texts]
    order = sorted(range(4), key=lambda index: -logits[index])
    assert status == 200
    assert [rank["index"] for rank in ranks] == order
    wanted = [logits[index] if raw else 1 / (1 + math.exp(-logits[index])) for index in order]
    assert [rank["score"] for rank in ranks] == pytest.approx(wanted, abs=1e-6)
    assert [rank.get("text") for rank in ranks] == [texts[index] if with_text else None for index in order]
    assert all(("text" in rank) == with_text for rank in ranks)


def unit(vector: np.ndarray) -> list[float]:
    """Of length 1."""
    return (vector / np.linalg.norm(vector)).tolist()  # type: ignore[no-any-return]


def test_embed_gives_vectors_of_length_one_unless_asked_and_their_first_numbers(folders: dict[str, Path]) -> None:
    first, second = mean_of("sentence-embedding", TEXT), mean_of("sentence-embedding", OTHER)
    served = only(folders, "sentence-embedding")
    _, alone = posted(served, "/embed", {"inputs": TEXT})
    _, both = posted(served, "/embed", {"inputs": [TEXT, OTHER], "normalize": False})
    _, short = posted(served, "/embed", {"inputs": [OTHER], "dimensions": 2})
    np.testing.assert_allclose(alone, [unit(first)], atol=1e-6)
    np.testing.assert_allclose(both, [first, second], atol=1e-6)
    np.testing.assert_allclose(short, [unit(second[:2])], atol=1e-6)
    _, alike = posted(served, "/similarity", {"inputs": {"source_sentence": TEXT, "sentences": [OTHER, TEXT]}})
    assert alike == pytest.approx([float(np.dot(unit(first), unit(second))), 1.0], abs=1e-5)


def test_prompts_are_those_of_the_folder(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "sentence-embedding")
    (folder / "config_sentence_transformers.json").write_text('{"prompts": {"query": "how "}}', encoding="utf-8")
    _, asked = posted({"m": folder}, "/embed", {"inputs": TEXT, "prompt_name": "query"})
    np.testing.assert_allclose(asked, [unit(mean_of("sentence-embedding", f"how {TEXT}"))], atol=1e-6)
    status, body = posted({"m": folder}, "/embed", {"inputs": TEXT, "prompt_name": "passage"})
    assert (status, body["error_type"]) == (422, "Validation")
    assert "prompt_name" in body["error"]


def test_several_models_have_routes_of_their_own_and_the_first_has_the_plain_ones(tmp_path: Path) -> None:
    named = {
        "one": make_folder(tmp_path / "one", "text-classification"),
        "two": make_folder(tmp_path / "two", "text-classification", labels=["left", "right"]),
    }

    async def ask(client: Client, host: Host) -> None:
        labels = []
        for path in ("/predict", "/models/one/predict", "/models/two/predict"):
            labels.append({prediction["label"] for prediction in (await client.post(path, json={"inputs": TEXT})).json()})
        assert labels == [{"bad", "good"}, {"bad", "good"}, {"left", "right"}]
        info = (await client.get("/models/two/info")).json()
        assert info["model_type"]["classifier"]["id2label"] == {"0": "left", "1": "right"}
        assert info["max_input_length"] == LONGEST
        assert (await client.get("/info")).json()["model_id"] == "one"
        assert (await client.post("/embed", json={"inputs": TEXT})).status_code == 404

    with_server(named, ask)


# -- OpenAI -----------------------------------------------------------------------------------------------------------------


def test_openai_clients_get_vectors_as_numbers_or_packed(folders: dict[str, Path]) -> None:
    served, texts = only(folders, "sentence-embedding"), [TEXT, OTHER]
    wanted = [unit(mean_of("sentence-embedding", text)) for text in texts]
    status, body = posted(served, "/v1/embeddings", {"input": texts, "model": "text-embedding-3-small"})
    assert (status, body["object"], body["model"]) == (200, "list", "sentence-embedding")
    assert [(entry["object"], entry["index"]) for entry in body["data"]] == [("embedding", 0), ("embedding", 1)]
    np.testing.assert_allclose([entry["embedding"] for entry in body["data"]], wanted, atol=1e-6)
    tokens = sum(len(text.split()) + 2 for text in texts)
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    _, packed = posted(served, "/v1/embeddings", {"input": TEXT, "encoding_format": "base64"})
    numbers = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), dtype="<f4")
    np.testing.assert_allclose(numbers, wanted[0], atol=1e-6)
    _, short = posted(served, "/v1/embeddings", {"input": TEXT, "dimensions": 3})
    np.testing.assert_allclose(short["data"][0]["embedding"], unit(mean_of("sentence-embedding", TEXT)[:3]), atol=1e-6)


def test_of_several_embedders_openai_clients_name_one(tmp_path: Path) -> None:
    named = {name: make_folder(tmp_path / name, "sentence-embedding") for name in ("a", "b")}
    assert posted(named, "/v1/embeddings", {"input": TEXT, "model": "b"})[1]["model"] == "b"
    status, body = posted(named, "/v1/embeddings", {"input": TEXT, "model": "c"})
    assert (status, body["error"]["code"], body["error"]["type"]) == (404, "model_not_found", "invalid_request_error")
    assert "those are: a, b" in body["error"]["message"]


# -- ours -------------------------------------------------------------------------------------------------------------------


def test_every_kind_is_answered_on_its_own_route(folders: dict[str, Path]) -> None:
    inputs: dict[str, Any] = {
        "reranking": [{"text": "how was it", "pair": TEXT}],
        "question-answering": {"text": "how was it", "pair": TEXT},
        "regression": [TEXT, {"text": TEXT, "pair": OTHER}],
    }
    keys = {
        "text-classification": {"label", "score", "scores"},
        "multi-label-classification": {"labels", "scores"},
        "regression": {"score"},
        "reranking": {"score"},
        "token-classification": {"spans"},
        "question-answering": {"answer", "start", "end", "score"},
        "sentence-embedding": {"vector"},
        "masked-words": {"masks"},
    }

    async def ask(client: Client, host: Host) -> None:
        for kind in folders:
            response = await client.post(f"/models/{kind}/answers", json={"inputs": inputs.get(kind, TEXT)})
            body = response.json()
            assert (response.status_code, body["model"]) == (200, kind), body
            assert all(answer.keys() == keys[kind] for answer in body["answers"])
            assert len(body["answers"]) == (2 if kind == "regression" else 1)
        models = (await client.get("/models")).json()["models"]
        assert {entry["name"]: entry["kind"] for entry in models} == {kind: kind for kind in folders}
        assert all(f"/models/{entry['name']}/answers" in entry["routes"] for entry in models)

    with_server(folders, ask)


# -- what is refused --------------------------------------------------------------------------------------------------------

LONG = " ".join(["film"] * 40)


@pytest.mark.parametrize(
    ("path", "body", "status", "kind", "said"),
    [
        ("/predict", {"inputs": LONG}, 413, "Validation", "`inputs` must have less than 16 tokens. Given: 42"),
        ("/predict", {"inputs": LONG, "truncate": False}, 413, "Validation", "must have less than 16 tokens"),
        ("/predict", {"inputs": ""}, 400, "Empty", "`inputs` cannot be empty"),
        ("/predict", {"inputs": [["a"], [""]]}, 400, "Empty", "`inputs` cannot be empty"),
        ("/predict", {"inputs": [["a", "b", "c"]]}, 422, "Validation", "inputs"),
        ("/predict", {"inputs": ["a", "b", "c"]}, 422, "Validation", "inputs"),
        ("/predict", {"inputs": 7}, 422, "Validation", "valid string"),
        ("/predict", {"inputs": TEXT, "truncate": "yes"}, 422, "Validation", "truncate: Input should be a valid boolean"),
        ("/predict", {}, 422, "Validation", "inputs: Field required"),
        ("/predict", [], 422, "Validation", "the body"),
        ("/predict", {"inputs": [["a"]] * 9}, 413, "Validation", "batch size 9 > maximum allowed batch size 8"),
        ("/embed", {"inputs": []}, 400, "Empty", "`inputs` cannot be empty"),
        ("/embed", {"inputs": TEXT, "dimensions": 7}, 422, "Validation", "`dimensions` is 7, but the model's vectors have 6"),
        ("/embed", {"inputs": TEXT, "dimensions": 0}, 422, "Validation", "dimensions"),
        ("/similarity", {"inputs": {"source_sentence": TEXT, "sentences": []}}, 400, "Empty", "`sentences` cannot be empty"),
        ("/rerank", {"query": "", "texts": [TEXT]}, 400, "Empty", "`query` cannot be empty"),
        ("/rerank", {"query": TEXT, "texts": []}, 400, "Empty", "`texts` cannot be empty"),
        ("/models/question-answering/answers", {"inputs": TEXT}, 422, "Validation", "inputs"),
        ("/models/question-answering/answers", {"inputs": {"text": TEXT}}, 422, "Validation", "pair: Field required"),
        ("/models/nobody/answers", {"inputs": TEXT}, 404, "NotFound", "GET /openapi.json tells the routes"),
    ],
)
def test_what_is_wrong_is_told_with_its_status(
    path: str, body: Any, status: int, kind: str, said: str, folders: dict[str, Path]
) -> None:
    answer = posted(only(folders, *KINDS), path, body, Limits(max_client_batch=8))
    assert answer[0] == status
    assert answer[1].keys() == {"error", "error_type"}
    assert answer[1]["error_type"] == kind
    assert said in answer[1]["error"]


def test_texts_that_are_too_long_are_cut_where_that_is_asked_for(folders: dict[str, Path]) -> None:
    served = only(folders, "text-classification")
    for body, limits in (({"inputs": LONG, "truncate": True}, Limits()), ({"inputs": LONG}, Limits(auto_truncate=True))):
        status, answer = posted(served, "/predict", body, limits)
        assert status == 200
        assert scores(answer) == pytest.approx(softmax(mean_of("text-classification", " ".join(["film"] * 14))), abs=1e-6)
    words = " ".join(["good"] * 20 + ["bad"] * 14)
    _, left = posted(served, "/predict", {"inputs": words, "truncate": True, "truncation_direction": "Left"})
    assert scores(left) == pytest.approx(softmax(mean_of("text-classification", " ".join(["bad"] * 14))), abs=1e-6)


def test_errors_of_openai_routes_have_its_form(folders: dict[str, Path]) -> None:
    for body, status in (({"input": ""}, 400), ({"input": 3}, 422), ({"input": LONG}, 413), ({"input": [[1, 2]]}, 422)):
        answer = posted(only(folders, "sentence-embedding"), "/v1/embeddings", body)
        assert answer[0] == status
        assert answer[1]["error"].keys() == {"message", "type", "param", "code"}
        assert answer[1]["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"nothing", b"[" * 100_000, b'{"inputs":' * 50_000, b'{"inputs": "\xff"}', b'{"inputs": NaN}']
)
def test_a_body_that_is_no_json_or_nested_without_end_is_refused(content: bytes, folders: dict[str, Path]) -> None:
    async def ask(client: Client, host: Host) -> tuple[int, Any]:
        response = await client.post("/predict", content=content, headers={"content-type": "application/json"})
        return response.status_code, response.json()

    status, body = with_server(only(folders, "text-classification"), ask)
    assert (status, body["error_type"]) == (422, "Validation")


# -- many at once -----------------------------------------------------------------------------------------------------------


def test_each_of_many_clients_gets_the_answer_to_its_own_text(folders: dict[str, Path]) -> None:
    random = np.random.default_rng(7)
    texts = [" ".join(random.choice(WORDS, random.integers(1, 14))) for _ in range(300)]

    async def ask(client: Client, host: Host) -> None:
        async def one(number: int) -> None:
            text = texts[number]
            if number % 3:
                body = (await client.post("/predict", json={"inputs": text})).json()
                assert scores(body) == pytest.approx(softmax(mean_of("text-classification", text)), abs=1e-5)
            else:
                batch = [text, *texts[:5]]
                body = (await client.post("/embed", json={"inputs": batch})).json()
                np.testing.assert_allclose(body, [unit(mean_of("sentence-embedding", own)) for own in batch], atol=1e-5)

        await asyncio.gather(*map(one, range(len(texts))))
        said = (await client.get("/metrics")).text
        computed = float(said.split('bert_compress_batch_texts_count{model="text-classification"} ')[1].split()[0])
        assert 0 < computed < 200  # of 200 texts, some of which stood together

    with_server(only(folders, "text-classification", "sentence-embedding"), ask, Limits(max_batch_tokens=256))
