"""What every endpoint shares: the engine, its name, its limits, its keys."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request

from local_engine.api.errors import ApiError
from local_engine.jobs import Loaded
from local_engine.launch import EngineSpec
from local_engine.service import EngineFailed, Service

RETRY = {"Retry-After": "1"}
SCOPE_HEADER = "x-ringfence-scope"
MAX_SCOPE = 200


@dataclass(frozen=True, slots=True)
class Front:
    """`keys` are SHA-256 digests; empty means that anyone who can connect may ask."""

    service: Service
    spec: EngineSpec
    max_body: int
    ready_wait: float
    keys: tuple[bytes, ...] = ()

    def authorise(self, request: Request) -> None:
        if not self.keys:
            return
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(key.strip().encode("utf-8", "surrogateescape")).digest()
        matches = [hmac.compare_digest(digest, known) for known in self.keys]
        if scheme.lower() != "bearer" or not any(matches):
            headers = {"WWW-Authenticate": "Bearer"}
            raise ApiError(401, "Send a valid key as `Authorization: Bearer KEY`.", "invalid_api_key", headers=headers)

    async def loaded(self) -> Loaded:
        """Waits for a model that is still loading, as a request in the backlog would."""
        try:
            return await self.service.wait_ready(self.ready_wait)
        except TimeoutError:
            raise ApiError(503, "The model is still loading.", "model_loading", headers=RETRY) from None
        except EngineFailed:
            raise ApiError(503, "The engine cannot serve; see GET /health.", "engine_error", headers=RETRY) from None

    async def writer(self) -> Loaded:
        """A model that writes and embeds. 501 from one that ranks only: what it gave would be made up."""
        loaded = await self.loaded()
        if loaded.rank_limit:
            raise ApiError(501, "This model ranks texts and writes none; use POST /v1/rerank.", "unsupported_endpoint")
        return loaded

    def model_name(self, wanted: str | None) -> str:
        """The name to answer by: the one that was asked for, if it is one of ours."""
        accepted = (self.spec.name, *self.spec.aliases)
        if wanted is None or wanted in accepted or "*" in accepted:
            return wanted or self.spec.name
        message = f"The model {wanted[:100]!r} is not served here; this is {self.spec.name!r}."
        raise ApiError(404, message, "model_not_found", "model")

    def scope(self, request: Request) -> str:
        """Whose cached prefixes a request may reuse. An opaque word of the caller in front of this engine."""
        scope = request.headers.get(SCOPE_HEADER, "")
        if len(scope) > MAX_SCOPE:
            raise ApiError(400, f"X-Ringfence-Scope is longer than {MAX_SCOPE} characters.", "invalid_header")
        return scope

    def fingerprint(self, loaded: Loaded) -> str:
        return f"{loaded.fingerprint[:12]}-{loaded.choice.name}"


def read_keys(path: Path | None) -> tuple[bytes, ...]:
    """Digests of the keys in a file, one per line; # starts a comment. Raises OSError, and ValueError when empty."""
    if path is None:
        return ()
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    keys = tuple(hashlib.sha256(line.encode()).digest() for line in lines if line and not line.startswith("#"))
    if not keys:
        raise ValueError(f"{path}: holds no key; write one per line")
    return keys
