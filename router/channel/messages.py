"""What the frames of the channel hold, as msgspec structs (MessagePack arrays: small and strict)."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from policies import Endpoint
from router.channel.frames import ChannelError, Payload

T = TypeVar("T")
LONGEST_NAME = 1024  # of what a worker names: the gate remembers by some of it
LONGEST_S = 31 * 86_400.0  # settings take durations up to 30 days
RequestId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")]  # it stands in a header that the gate writes
Name = Annotated[str, Meta(max_length=LONGEST_NAME)]


class Open(msgspec.Struct, frozen=True, array_like=True):
    """Ask for one exchange. Names only: where an upstream lives, and what it is told, is the gate's to know."""

    request_id: RequestId
    caller: Name
    model: Annotated[Name, Meta(min_length=1)]  # the policy's name of it
    endpoint: Endpoint
    tier: Name
    upstream: Name
    attempt: Annotated[int, Meta(ge=1, le=1_000_000)]
    stream: bool
    body_bytes: Annotated[int, Meta(ge=1)]
    policy: Name  # the digest that the worker decided by
    reach: Annotated[int, Meta(ge=0, le=3)] | None = None  # the client's own ceiling
    deadline_s: Annotated[float, Meta(ge=0.0, le=LONGEST_S)] = 600.0  # what is left of the chain's time
    wait: bool = False  # if it is cold, wait until it is ready (the tier's cold_start)
    continued: bool = False  # its body ends with what another upstream has said before it broke off


class Denial(msgspec.Struct, frozen=True, array_like=True):
    """Ask for a denial to be recorded."""

    request_id: Name
    caller: Name
    model: Name
    endpoint: Name
    reason: Name
    param: Name = ""


class Warm(msgspec.Struct, frozen=True, array_like=True):
    """Ask for upstreams to be made ready; "" means every tier."""

    tier: Name
    wait_s: Annotated[float, Meta(ge=0.0, le=LONGEST_S)]


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """Ask for the receipt of a record, for the caller whose request it was."""

    index: int
    caller: Name


class Look(msgspec.Struct, frozen=True, array_like=True):
    """Ask for reports on this upstream, "" for all. `wait_s` above 0: it is probed first, and waited for so long."""

    upstream: Name = ""
    wait_s: Annotated[float, Meta(ge=0.0, le=LONGEST_S)] = 0.0


class Queued(msgspec.Struct, frozen=True, array_like=True):
    """The exchange had to wait for its place in the tier."""

    position: int  # when it came, from 1
    waited_s: float


class Head(msgspec.Struct, frozen=True, array_like=True):
    """The upstream's answer begins."""

    status: int
    content_type: str
    retry_after: str = ""
    clamped: str = ""


class Cause(StrEnum):
    """Why an exchange failed, from a closed list; the worker maps each to an answer or a next attempt."""

    POLICY = "policy_denied"
    AUDIT = "audit_unavailable"
    DNS = "dns"
    REFUSED = "refused"
    TLS = "tls"
    CONNECT_TIMEOUT = "connect_timeout"
    FIRST_TOKEN_TIMEOUT = "first_token_timeout"  # noqa: S105 - a token of text
    BETWEEN_TOKENS_TIMEOUT = "between_tokens_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    BROKE = "upstream_broke"
    BAD_ANSWER = "bad_answer"
    REDIRECT = "redirect"
    COLD = "cold"
    BUSY = "busy"
    IDENTITY = "identity_refused"  # what answers there is a cloud, or a gateway that nobody declared
    CREDENTIAL = "credential_refused"
    TOO_LARGE = "answer_too_large"
    STALE_POLICY = "stale_policy"
    GATE_LOST = "gate_lost"
    NO_RECEIPT = "no_receipt"
    CANCELLED = "cancelled"
    HEDGED = "hedged"  # another upstream, asked because this one stayed silent, answered first
    PROTOCOL = "protocol"
    MISTAKE = "internal_error"  # of ours, whichever side made it


class Failure(msgspec.Struct, frozen=True, array_like=True):
    """An exchange is over without a whole answer."""

    cause: Cause
    detail: str = ""  # names from the policy and figures; safe to log, never content
    retry_after_s: float = 0.0


MISTAKE_OF_OURS: Final = Failure(Cause.MISTAKE, "a mistake of ours")

encode: Final[Callable[[msgspec.Struct], bytes]] = msgspec.msgpack.Encoder().encode
_KINDS: Final = (Open, Denial, Warm, Ask, Look, Queued, Head, Failure)
_decoders: Final[dict[type[Any], msgspec.msgpack.Decoder[Any]]] = {
    kind: msgspec.msgpack.Decoder(kind) for kind in _KINDS
}


def decode(kind: type[T], payload: Payload) -> T:
    """Read one message; ChannelError if the other side sent something else."""
    try:
        message: T = _decoders[kind].decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise ChannelError(f"not a {kind.__name__}: {type(error).__name__}") from None
    return message
