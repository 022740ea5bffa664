"""Refusals in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from starlette.responses import Response

from local_engine.jobs import Failed


class ApiError(Exception):
    """An answer that is not the one asked for. `param` names the field to change."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        param: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})

    @property
    def kind(self) -> str:
        if self.status == 401:
            return "authentication_error"
        if self.status == 429:
            return "rate_limit_error"
        return "invalid_request_error" if self.status < 500 else "server_error"

    def body(self) -> dict[str, object]:
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        return Response(
            msgspec.json.encode(self.body()) + b"\n", self.status, self.headers, media_type="application/json"
        )


def invalid(param: str | None, message: str, code: str = "invalid_value") -> ApiError:
    return ApiError(400, message, code, param)


def unsupported(param: str, message: str) -> ApiError:
    return ApiError(400, message, "unsupported_parameter", param)


def from_failure(failed: Failed) -> ApiError:
    """What the client is told when the engine thread could not finish a job."""
    if failed.code == "queue_full":
        return ApiError(429, failed.message, "queue_full", headers={"Retry-After": "2"})
    if failed.code == "invalid_grammar":
        return ApiError(400, failed.message, "invalid_grammar", "response_format")
    if failed.code == "invalid_picture":
        return ApiError(400, failed.message, "invalid_picture", "messages")
    if failed.code == "engine_error":
        return ApiError(503, failed.message, "engine_error", headers={"Retry-After": "1"})
    return ApiError(499 if failed.code == "client_left" else 500, failed.message, failed.code)
