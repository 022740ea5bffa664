"""What a known caller is refused at the operations' endpoints leaves a denial, as at the generating ones."""

from __future__ import annotations

from starlette.requests import Request

from policies import Caller
from router.api.answers import Sent, as_error
from router.auth import Callers
from router.channel.client import GateClient
from router.channel.exchange import ExchangeFailed
from router.channel.messages import Denial
from router.errors import InvalidKey, RouterError
from router.failures import error_of
from router.settings.snapshot import Snapshot

CHANNEL_WAIT_S = 5.0
REFUSALS = range(400, 429)  # of what was asked; the others say that we cannot now


class Refusals:
    """Answers errors under one snapshot."""

    def __init__(self, snapshot: Snapshot, gate: GateClient) -> None:
        self._callers = Callers(snapshot)
        self._gate = gate

    async def answer(self, request: Request, error: Exception) -> Sent:
        """The error, with the index of its record; 503 where there is none to be had: no record, no answer."""
        assert isinstance(error, RouterError)  # noqa: S101 - registered for this class
        caller = self._caller(request)
        if caller is None or error.status not in REFUSALS:
            return as_error(error)
        try:
            await self._gate.ready(CHANNEL_WAIT_S)
            record = await self._gate.deny(_denial(request, caller, error)).recorded()
        except ExchangeFailed as failed:
            return as_error(error_of([failed.failure]))
        return as_error(error, record)

    def _caller(self, request: Request) -> Caller | None:
        try:
            return self._callers.authenticate(request.headers.get("authorization", ""))
        except InvalidKey:
            return None


def _denial(request: Request, caller: Caller, error: RouterError) -> Denial:
    """By our own names alone: what stood in path or query may be content."""
    endpoint = getattr(request.scope.get("endpoint"), "__name__", "")
    return Denial(request.scope["ringfence.request_id"], caller.name, "", endpoint, error.reason or error.code)
