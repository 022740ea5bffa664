"""The routes, and what happens to whatever goes wrong in them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local_engine.api import embed, generate, older, rerank, status
from local_engine.api.errors import ApiError
from local_engine.api.front import RETRY, Front
from local_engine.jobs import Unloaded

log = logging.getLogger("local_engine")

Endpoint = Callable[[Front, Request], Awaitable[Response]]


def make_app(front: Front) -> Starlette:
    def route(path: str, endpoint: Endpoint, *methods: str, guarded: bool = True) -> Route:
        async def handle(request: Request) -> Response:
            try:
                if guarded:
                    front.authorise(request)
                with front.service.lease():
                    return await endpoint(front, request)
            except ApiError as error:
                return error.response()
            except Unloaded:
                message = "The model was unloaded meanwhile; send it again."
                return ApiError(503, message, "engine_error", headers=RETRY).response()

        return Route(path, handle, methods=list(methods))

    routes = [
        route("/", status.index, "GET", guarded=False),
        route("/health", status.health, "GET", guarded=False),
        route("/warm", status.warm, "GET", "POST"),
        route("/v1/models", status.models, "GET"),
        route("/v1/models/{name:path}", status.model, "GET"),
        route("/v1/chat/completions", generate.chat, "POST"),
        route("/v1/completions", generate.complete, "POST"),
        route("/v1/embeddings", embed.embed, "POST"),
        route("/v1/rerank", rerank.rerank, "POST"),
        route("/rerank", rerank.rerank, "POST"),
        route("/completion", older.completion, "POST"),
        route("/generate", older.generate, "POST"),
        route("/generate_stream", older.generate_stream, "POST"),
        route("/tokenize", older.tokenize, "POST"),
        route("/detokenize", older.detokenize, "POST"),
    ]
    handlers = {HTTPException: _http_error, Exception: _unexpected}
    return Starlette(routes=routes, exception_handlers=handlers)


async def _http_error(request: Request, error: Exception) -> Response:
    """Unknown paths and wrong methods, which Starlette raises itself."""
    status_code = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict(getattr(error, "headers", None) or {})
    if status_code == 405:
        message = f"{request.method} is not allowed here; use {headers.get('Allow', 'another method')}."
        return ApiError(405, message, "method_not_allowed", headers=headers).response()
    return ApiError(status_code, "There is nothing at this path; see GET /.", "not_found").response()


async def _unexpected(request: Request, error: Exception) -> Response:
    """A defect of ours: the log has where, the client has no internals."""
    log.error("%s %s failed: %s", request.method, request.url.path, type(error).__name__)
    return ApiError(500, "The engine made a mistake; its log says which.", "internal_error").response()
