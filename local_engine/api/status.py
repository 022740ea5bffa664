"""What this is and whether it can serve: `/`, `/health`, `/warm`, `/v1/models`."""

from __future__ import annotations

import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from local_engine.api.errors import ApiError
from local_engine.api.front import RETRY, Front
from local_engine.jobs import Failed, Job, Loaded, Sampling

ENDPOINTS = (
    *("POST /v1/chat/completions", "POST /v1/completions", "POST /v1/embeddings", "POST /v1/rerank"),
    *("POST /completion", "POST /generate", "POST /generate_stream", "POST /tokenize", "POST /detokenize"),
    *("GET /v1/models", "GET /v1/models/{id}", "GET /health", "GET|POST /warm"),
)


async def index(front: Front, _request: Request) -> Response:
    body = {"service": "ringfence-engine", "model": front.spec.name, "status": _status(front), "endpoints": ENDPOINTS}
    return _json(body)


def _status(front: Front) -> str:
    service = front.service
    return "idle" if service.idle else "ready" if service.ready else "failed" if service.failure else "loading"


async def health(front: Front, _request: Request) -> Response:
    """503 while the model loads: come again. 500 when it cannot be loaded, or broke: waiting would not help.

    An idle engine is 200: the next request is served once it has loaded the model again.
    """
    if front.service.idle:
        return _json({"status": "idle", "ready": True, "model": front.spec.name})
    loaded = front.service.ready
    if loaded is None:
        failure = front.service.failure
        body = {"status": "failed", "reason": failure} if failure else {"status": "loading"}
        status, headers = (500, None) if failure else (503, RETRY)
        return _json({**body, "model": front.spec.name, "ready": False}, status, headers)
    return _json({"status": "ok", "ready": True, **_facts(front, loaded)})


async def warm(front: Front, _request: Request) -> Response:
    """Generates one token (or scores one), so that the answer is about the model and not about the process."""
    began = time.monotonic()
    loaded = await front.loaded()
    if loaded.rank_limit:
        await front.service.embed(((1,),))
        return _warm(front, began)
    answers = front.service.submit([Job(loaded.beginning or (1,), 1, Sampling(seed=0, temperature=0))])
    while not answers.over:
        for _, event in await answers.next():
            if isinstance(event, Failed):
                raise ApiError(503, event.message, event.code, headers=RETRY)
    return _warm(front, began)


def _warm(front: Front, began: float) -> Response:
    return _json({"status": "warm", "model": front.spec.name, "ms": round((time.monotonic() - began) * 1000, 1)})


async def models(front: Front, _request: Request) -> Response:
    return _json({"object": "list", "data": [_card(front)]})


async def model(front: Front, request: Request) -> Response:
    front.model_name(request.path_params["name"])
    return _json(_card(front))


def _card(front: Front) -> dict[str, object]:
    card: dict[str, object] = {"id": front.spec.name, "object": "model", "created": 0, "owned_by": "local"}
    loaded = front.service.ready
    if loaded is None:
        return card
    return {**card, "description": loaded.description, "context": loaded.context, "pictures": loaded.eye is not None}


def _facts(front: Front, loaded: Loaded) -> dict[str, object]:
    now = loaded.occupancy()
    facts: dict[str, object] = {
        "model": front.spec.name,
        "description": loaded.description,
        "context": loaded.context,
        "parallel": front.spec.parallel,
        "running": now.running,
        "waiting": now.waiting,
        "threads": now.threads,
        "library": loaded.choice.name,
        "pictures": loaded.eye is not None,
    }
    return {**facts, "reason": loaded.choice.reason} if loaded.choice.reason else facts


def _json(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body) + b"\n", status, headers, media_type="application/json")
