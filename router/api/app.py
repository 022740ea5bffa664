"""What one worker serves under one snapshot: the pipeline, `/health`, and Starlette's routes for everything else."""

from __future__ import annotations

from functools import cached_property

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.api.answers import Sent, as_error
from router.api.cycle import request_id
from router.api.health import Health
from router.api.host import judge_origin
from router.api.singletons import judge_singletons
from router.channel.client import GateClient
from router.channel.steering import Steering
from router.errors import MISTAKE, InvalidRequest, RouterError
from router.logs import Log
from router.pipeline import Pipeline
from router.settings.snapshot import Snapshot
from router.unforeseen import described
from router.view import View


class Application:
    """One snapshot's worth of service. As an ASGI application it serves all but the generating endpoints' POST."""

    def __init__(self, snapshot: Snapshot, gate: GateClient, view: View, log: Log, steering: Steering) -> None:
        self.snapshot = snapshot
        self.pipeline = Pipeline(snapshot, gate)
        self.largest_body = snapshot.limits.body_bytes
        self._gate = gate
        self._view = view
        self._log = log
        self._steering = steering
        self._health = Health(snapshot, gate, view)

    @cached_property
    def operations(self) -> ASGIApp:
        """Starlette's routes. They are imported when the service has begun, or by who asks for one before that: nobody
        waits for them to see that it is up.
        """
        from router.api.operations import operations  # noqa: PLC0415 - when the service has begun

        return operations(self.snapshot, self._gate, self._view, self._steering, self._mistake)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        first = dict(reversed(scope["headers"]))
        given = request_id(first.get(b"x-request-id", b""))
        scope["ringfence.request_id"], identity = given, given.encode()

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", identity)]
            await send(message)

        try:
            judge_singletons(scope["headers"], first, old=scope["http_version"] == "1.0")
            judge_origin(scope["headers"], self.snapshot)
        except InvalidRequest as error:
            await as_error(error)(scope, receive, named)
            return
        asks_health = scope["path"] == "/health" and scope["method"] == "GET"
        await self._answer(asks_health=asks_health)(scope, receive, named)

    def _answer(self, *, asks_health: bool) -> ASGIApp:
        """Also an import may fail, where descriptors are short: whoever asks next has it tried again."""
        try:
            return self._health.answer() if asks_health else self.operations
        except Exception as error:  # noqa: BLE001 - whatever it is: its place to the log, nothing to the client
            return self._mistake(error)

    def _mistake(self, error: Exception) -> Sent:
        self._log("internal_error", reason=described(error))
        return as_error(RouterError(MISTAKE))
