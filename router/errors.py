"""What a client may be told: one class for each answer, one shape (OpenAI's), stable codes.

str(error) goes to the client: it says what happened and what to do, and never an address, a path or a cause.
"""

from __future__ import annotations

from typing import ClassVar, Final

import msgspec

MISTAKE: Final = "Something went wrong here; the operator's log says what."  # of ours


class RouterError(Exception):
    """Something that we refuse or fail to do."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None, reason: str = ""
    ) -> None:
        super().__init__(message)
        self.param = param
        self.reason = reason  # for the ledger, where the code alone would tell too little
        self.retry_after_s = retry_after_s


class InvalidRequest(RouterError):
    status, type, code = 400, "invalid_request_error", "invalid_request"


class InvalidJSON(InvalidRequest):
    code = "invalid_json"


class ContextLengthExceeded(InvalidRequest):
    code = "context_length_exceeded"


class BodyTooLarge(InvalidRequest):
    status, code = 413, "body_too_large"


class HostNotAllowed(InvalidRequest):
    """A browser was led here under another name (DNS rebinding), or from another site."""

    status, code = 403, "host_not_allowed"


class InvalidKey(InvalidRequest):
    status, code = 401, "invalid_api_key"


class PolicyDenied(InvalidRequest):
    status, code = 403, "policy_denied"


class OperatorNeeded(InvalidRequest):
    status, code = 403, "operator_needed"


class WouldWiden(InvalidRequest):
    """What an operator asks for over HTTP would not take away."""

    status, code = 403, "would_widen"


class UpstreamUnknown(InvalidRequest):
    status, code = 404, "upstream_not_found"


class UpstreamRefused(InvalidRequest):
    """The upstream's own 4xx, put in our words; the answer's status is the upstream's."""

    code = "upstream_refused"


class UnknownPath(InvalidRequest):
    status, code = 404, "unknown_path"


class ModelNotFound(InvalidRequest):
    status, code = 404, "model_not_found"


class MethodNotAllowed(InvalidRequest):
    status, code = 405, "method_not_allowed"


class RequestTimeout(InvalidRequest):
    status, code = 408, "request_timeout"


class ReceiptNotFound(InvalidRequest):
    status, code = 404, "receipt_not_found"


class TierUnknown(InvalidRequest):
    status, code = 404, "tier_not_found"


class HeadTooLarge(InvalidRequest):
    """RFC 6585, 5; of trailers and chunk sizes too."""

    status, code = 431, "head_too_large"


class Unavailable(RouterError):
    """Try again later: `Retry-After` says when."""

    status, code = 503, "unavailable"


class AuditUnavailable(Unavailable):
    """No record, no request."""

    code = "audit_unavailable"


class GateUnavailable(Unavailable):
    code = "gate_unavailable"


class UpstreamsUnavailable(Unavailable):
    code = "upstreams_unavailable"


class UpstreamsBusy(RouterError):
    status, type, code = 429, "rate_limit_error", "upstreams_busy"


class UpstreamFailed(RouterError):
    status, code = 502, "upstream_failed"


class UpstreamTimeout(RouterError):
    status, code = 504, "upstream_timeout"


def as_openai(error: RouterError) -> bytes:
    """The error object that OpenAI's clients read, as JSON."""
    inner = {"message": str(error), "type": error.type, "param": error.param, "code": error.code}
    return msgspec.json.encode({"error": inner})
