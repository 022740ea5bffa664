"""POST /v1/rerank: which texts answer a question best, in the form that Jina's and Cohere's clients send and read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from local_engine.api.embed import vectors_of
from local_engine.api.errors import ApiError, invalid
from local_engine.api.fields import Fields, read_json
from local_engine.api.front import Front
from local_engine.api.leaving import unless_left
from local_engine.jobs import Loaded

MOST_DOCUMENTS = 1000


@dataclass(frozen=True, slots=True)
class Wish:
    """`most`: results that are told; `shown`: with their texts."""

    query: str
    documents: list[str]
    most: int
    shown: bool


async def rerank(front: Front, request: Request) -> Response:
    fields = Fields(await read_json(request, front.max_body))
    model = front.model_name(fields.text("model"))
    loaded = await front.loaded()
    if loaded.pair is None:  # known and refused: scores of a model without a ranking head would be made up
        message = "Ranking needs a model with a ranking head, which this one lacks; compare /v1/embeddings instead."
        raise ApiError(501, message, "unsupported_endpoint")
    wish = _read(fields)
    inputs = await unless_left(request, _inputs(front, loaded, loaded.pair, wish))
    scores = [vector[0] for vector in await unless_left(request, vectors_of(front, inputs))]
    count = sum(len(tokens) for tokens in inputs)
    body = {
        "object": "list",
        "model": model,
        "results": _results(wish, scores),
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }
    return Response(msgspec.json.encode(body) + b"\n", media_type="application/json")


async def _inputs(
    front: Front, loaded: Loaded, pair: Callable[[str, str], tuple[int, ...]], wish: Wish
) -> tuple[tuple[int, ...], ...]:
    pairs = [await front.service.off_loop(pair, wish.query, document) for document in wish.documents]
    return tuple(_checked(tokens, index, loaded) for index, tokens in enumerate(pairs))


def _read(fields: Fields) -> Wish:
    query, found = fields.text("query"), fields.take("documents")
    most, shown = fields.integer("top_n", 1, 1 << 31), fields.flag("return_documents")
    fields.labels("user")
    fields.finish()
    if not query:
        raise invalid("query", "query must be a string that is not empty.")
    if not isinstance(found, list) or not 0 < len(found) <= MOST_DOCUMENTS:
        raise invalid("documents", f"documents must be a list of 1 to {MOST_DOCUMENTS} texts.")
    documents = [_text(document, f"documents[{index}]") for index, document in enumerate(found)]
    return Wish(query, documents, most or len(documents), shown)


def _text(found: object, place: str) -> str:
    text = found.get("text") if isinstance(found, dict) and found.keys() == {"text"} else found
    if not isinstance(text, str) or not text:
        raise invalid(place, f'{place} must be a text that is not empty, or {{"text": …}} with one.')
    return text


def _checked(tokens: tuple[int, ...], index: int, loaded: Loaded) -> tuple[int, ...]:
    if len(tokens) > loaded.rank_limit:
        message = f"documents[{index}] and the query have {len(tokens)} tokens; this model reads {loaded.rank_limit}."
        raise ApiError(400, message, "context_length_exceeded", f"documents[{index}]")
    return tokens


def _results(wish: Wish, scores: list[float]) -> list[dict[str, Any]]:
    """The best first; equal ones in the order they came in."""
    ranked = sorted(range(len(scores)), key=lambda index: -scores[index])[: wish.most]
    return [
        {
            "index": index,
            "relevance_score": scores[index],
            **({"document": {"text": wish.documents[index]}} if wish.shown else {}),
        }
        for index in ranked
    ]
