"""What the service says of itself: /, /livez, /warm, receipts and the list of models."""

from __future__ import annotations

import re

import msgspec
from starlette.requests import Request
from starlette.routing import Route

from policies import Caller, Endpoint, may_ask_for
from router.api.answers import COME_BACK_S, TEXT, Sent, as_json, come_back, gate_lost
from router.api.health import Health
from router.api.leaving import unless_left
from router.api.older import OLDER, RANKING
from router.auth import Callers
from router.channel.client import GateClient
from router.channel.exchange import ExchangeFailed
from router.channel.messages import Ask, Cause, Warm
from router.channel.states import State
from router.errors import (
    InvalidRequest,
    ModelNotFound,
    ReceiptNotFound,
    TierUnknown,
    UpstreamsBusy,
)
from router.settings.snapshot import Snapshot
from router.view import View

WARM_WAIT_S = 120.0
LONGEST_WAIT_S = 600.0
RECORD = re.compile("[0-9]{1,18}")  # within 64 bits, and never longer than int() takes


class Status:
    """The operations' endpoints over one snapshot and what is known of processes and upstreams."""

    def __init__(self, snapshot: Snapshot, gate: GateClient, view: View) -> None:
        self._snapshot = snapshot
        self._gate = gate
        self._view = view
        self._health = Health(snapshot, gate, view)
        self._callers = Callers(snapshot)

    def routes(self) -> list[Route]:
        return [
            Route("/", self.root, methods=["GET"]),
            Route("/livez", self.livez, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/warm", self.warm, methods=["GET", "POST"]),
            Route("/v1/receipts/{index}", self.receipt, methods=["GET"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/models", self.models, methods=["GET"]),
            Route("/v1/models/{model:path}", self.model, methods=["GET"]),
        ]

    async def root(self, _request: Request) -> Sent:
        policy = self._snapshot.policy
        return as_json(
            {
                "service": "ringfence",
                "version": self._view.version,
                "model": policy.default_model,
                "status": self._health.status(),
                "endpoints": self._endpoints(),
            }
        )

    def _endpoints(self) -> list[str]:
        """Every path there is but this one and the operators'."""
        others = [route.path_format for route in self.routes() if route.path != "/"]
        others_names = (path.decode() for path in RANKING)
        return [*(f"/v1/{endpoint}" for endpoint in Endpoint), *others_names, *OLDER.values(), *others]

    async def livez(self, _request: Request) -> Sent:
        return as_json({"status": "alive"})

    async def health(self, _request: Request) -> Sent:
        """Asked by HEAD: what GET is answered, `Application` sees to before any route is looked at."""
        return self._health.answer()

    async def warm(self, request: Request) -> Sent:
        """Make every upstream of a tier, or of all, ready: 200 if every tier has one by then."""
        self._authenticate(request)
        tier = request.query_params.get("tier", "")
        if tier and tier not in self._snapshot.policy.tiers:
            raise TierUnknown(f"There is no tier '{tier[:64]}'.", param="tier")
        wait_s = _seconds(request.query_params.get("wait", str(WARM_WAIT_S)))
        try:
            answer = await unless_left(request, self._gate.warm(Warm(tier, wait_s)).answered())
        except ExchangeFailed as error:
            if error.failure.cause is Cause.BUSY:
                raise UpstreamsBusy("Too many callers wait for a warm-up.", retry_after_s=COME_BACK_S) from None
            raise gate_lost() from None
        rows = msgspec.json.decode(answer or b"[]")
        warm = {row["tier"] for row in rows if row["state"] == State.READY}
        all_warm = warm >= {row["tier"] for row in rows}
        body = {"status": "warm" if all_warm else "cold", "upstreams": rows}
        return as_json(body, 200 if all_warm else 503, () if all_warm else come_back())

    async def receipt(self, request: Request) -> Sent:
        """Proof, for the caller who made the request, that its record is in the ledger (c2sp.org/tlog-proof)."""
        caller = self._authenticate(request)
        written = request.path_params["index"]
        if RECORD.fullmatch(written) is None:
            raise ReceiptNotFound("There is no such record: an index is what X-Ringfence-Record says.")
        index = int(written)
        try:
            text = await self._gate.receipt(Ask(index, caller.name)).answered()
        except ExchangeFailed as error:
            if error.failure.cause is Cause.NO_RECEIPT:
                message = "There is no record of yours with this index, or it is not under a checkpoint yet: try again."
                raise ReceiptNotFound(message) from None
            raise gate_lost() from None
        return Sent(text, kind=TEXT)

    async def models(self, request: Request) -> Sent:
        caller = self._authenticate(request)
        policy = self._snapshot.policy
        names = [name for name in (*policy.autos, *policy.models) if may_ask_for(name, caller, policy)]
        return as_json({"object": "list", "data": [_model(name) for name in names]})

    async def model(self, request: Request) -> Sent:
        caller = self._authenticate(request)
        name = request.path_params["model"]
        if not may_ask_for(name, caller, self._snapshot.policy):
            raise ModelNotFound(f"The model '{name[:256]}' is not served here; see /v1/models.", param="model")
        return as_json(_model(name))

    def _authenticate(self, request: Request) -> Caller:
        return self._callers.authenticate(request.headers.get("authorization", ""))


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_WAIT_S:
        raise InvalidRequest(f"'wait' must be seconds from 0 to {LONGEST_WAIT_S:g}.", param="wait")
    return seconds


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "ringfence"}
