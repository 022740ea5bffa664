"""`/admin/narrow`: what the service was narrowed by, and how an operator takes more away. Nothing here gives back."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from policies import Caller, Reach
from policies.narrowing import Unfit
from router.api.answers import Sent, as_json
from router.auth import Callers
from router.body import parse
from router.channel.steering import NarrowAsk, NarrowTold, NotTold, Steering
from router.errors import InvalidRequest, RouterError, Unavailable, UpstreamUnknown, WouldWiden
from router.settings.snapshot import Snapshot
from router.view import View

IN_FORCE_S: Final = 30.0
MOST_BYTES: Final = 16 * 1024  # escaped twice, still well within one message of the control socket
MOST_DEPTH: Final = 8  # levels of JSON: two are needed
_UNFIT: Final[dict[Unfit, tuple[type[RouterError], str]]] = {
    Unfit.UNLISTED: (UpstreamUnknown, "without"),
    Unfit.NO_REACH: (InvalidRequest, "reach"),
    Unfit.EMPTY: (InvalidRequest, "without"),
    Unfit.WIDER: (WouldWiden, "reach"),
}


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body: there is no word in it that could add anything."""

    without: tuple[str, ...] = ()
    reach: str = ""


class Narrow:
    """The endpoint over one snapshot."""

    def __init__(self, snapshot: Snapshot, view: View, steering: Steering) -> None:
        self._callers = Callers(snapshot)
        self._view = view
        self._steering = steering

    def routes(self) -> list[Route]:
        return [
            Route("/admin/narrow", self.narrowed, methods=["GET"]),
            Route("/admin/narrow", self.narrow, methods=["POST"]),
        ]

    async def narrowed(self, request: Request) -> Sent:
        """What is taken away from the file's settings now."""
        self._operator(request)
        return as_json(self._now())

    async def narrow(self, request: Request) -> Sent:
        """Take away; the answer comes when the gate and every worker serve by it."""
        operator = self._operator(request)
        wanted = await _wanted(request)
        ask = NarrowAsk(tuple(dict.fromkeys(wanted.without)), wanted.reach, operator.name)
        try:
            told = await self._steering.narrow(ask, IN_FORCE_S)
        except NotTold:
            message = "It is not known yet whether this is in force: ask GET /admin/narrow."
            raise Unavailable(message, retry_after_s=1) from None
        if not told.good:
            raise _refusal(told)
        return as_json({**self._now(), "text": told.text})

    def _now(self) -> dict[str, object]:
        told = self._view.reload or {}
        now = {"without": told.get("without", []), "reach": told.get("reach", Reach.RENTED.word)}
        return {**now, "unlisted": told.get("unlisted", {})}

    def _operator(self, request: Request) -> Caller:
        return self._callers.operator(request.headers.get("authorization", ""))


def _refusal(told: NarrowTold) -> RouterError:
    if told.unfit is None:
        return Unavailable("The narrowed settings were not taken; the ledger and the log say why.", retry_after_s=1)
    kind, param = _UNFIT[told.unfit]
    return kind(f"Nothing was changed: {told.text}.", param=param)


async def _wanted(request: Request) -> Wanted:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MOST_BYTES:
            raise InvalidRequest(f"The body is larger than {MOST_BYTES} bytes.")
    try:
        return msgspec.convert(parse(bytes(body), MOST_DEPTH), Wanted)
    except msgspec.ValidationError:
        message = 'The body takes away, and has no other words: {"without": [UPSTREAM, …], "reach": WORD}.'
        raise InvalidRequest(message) from None
