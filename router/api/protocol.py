"""The server's side of one client connection: uvicorn's httptools protocol, with the generating endpoints served in it.

A request for one of ENDPOINTS goes from the parser straight to the pipeline and its answer straight to the transport,
without ASGI in between; everything else goes on to the ASGI application. llhttp parses, strictly; we parse nothing.
How long and how much it may send is `patient`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from msgspec.structs import replace
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from policies import Endpoint
from router.api.answers import at_once
from router.api.app import Application
from router.api.cycle import HotCycle, Identities, TransportReply, request_id
from router.api.host import judge_origin
from router.api.intake import Intake
from router.api.older import OLDER, RANKING, Translation
from router.api.patient import PatientProtocol
from router.api.singletons import judge_singletons
from router.channel.work import Work
from router.errors import BodyTooLarge, InvalidRequest, RouterError, Unavailable
from router.logs import Log
from router.pipeline import Arrival, Pipeline, refuse

ENDPOINTS = (
    {f"/v1/{endpoint}".encode(): endpoint for endpoint in Endpoint}
    | dict.fromkeys(OLDER, Endpoint.COMPLETIONS)
    | dict.fromkeys(RANKING, Endpoint.RERANK)
)
LINGER_S = 1.0  # so that a client that still sends its body gets to read the answer


class RouterProtocol(PatientProtocol):
    """One client connection. `serving` tells the application in force; `named` is what uvicorn gives a protocol."""

    def __init__(self, serving: Callable[[], Application], log: Log, intake: Intake, **named: Any) -> None:
        super().__init__(intake, **named)
        self.serving = serving
        self.log = log
        self._identities = Identities()
        self._tasks = cast("set[Work]", self.tasks)  # uvicorn waits for those in it when it stops, or cancels them
        self._ready: HotCycle | None = (
            None  # whole, or refused: to be begun when all that was read with it is looked at
        )
        self._work: Work | None = None
        self._reply: TransportReply | None = None  # of the work under way
        self._running: RequestResponseCycle | None = None  # the ASGI cycle whose turn it was last

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_work()  # the client left: the upstream stops
        for cycle in (self._running, *(queued for queued, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    # --- reading ---

    def data_received(self, data: bytes) -> None:
        """What follows a request in the same piece may be no HTTP: then the request is not begun either."""
        super().data_received(data)
        ready, self._ready = self._ready, None
        if ready is not None and not self._ended:
            self._begin(ready)

    def on_message_complete(self) -> None:
        if self._ended or self._offered:
            return
        self._unwhole = False
        if self._deadline is not None:
            self._disarm()
        cycle: object = self.cycle
        if isinstance(cycle, HotCycle):
            cycle.more_body = False
            self._hand_on(cycle)
        else:
            super().on_message_complete()

    def _stop_work(self) -> None:
        if self._work is not None:
            self._work.cancel()

    def _reply_begun(self) -> bool:
        return self._reply is not None and self._reply.started

    def _answering(self) -> bool:
        running = self._running is not None and not self._running.response_complete and not self._running.more_body
        return self._work is not None or running

    def send_400_response(self, msg: str) -> None:
        """Bytes that are no HTTP request (RFC 9112, strictly)."""
        self._send_error(InvalidRequest(msg))

    def _send_error(self, error: RouterError) -> None:
        """Answer and close; in the middle of another answer only close: our bytes would stand in its body."""
        self._ended = True
        if self._work is not None and not self._reply_begun():
            self._stop_work()  # nothing of that answer is out yet: this one takes its place
        elif self._answering():
            self.transport.close()
            return
        self.transport.write(at_once(error, self._identities.fresh()))
        self.transport.close()

    # --- the generating endpoints ---

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():  # llhttp would take the body for another protocol, or a next request
            self._offered = True
            if self.parser.get_method() == b"CONNECT" or self.parser.get_http_version() != "1.1":
                self._send_error(InvalidRequest("Nothing here can be upgraded, and no tunnel begins here."))
            return
        path = self.url.partition(b"?")[0]
        endpoint = ENDPOINTS.get(path)
        if endpoint is None or self.parser.get_method() != b"POST":
            self._describe()
            super().on_headers_complete()
            return
        before = self.cycle
        chunks = self.parser.get_http_version() != "1.0"
        keep_alive = chunks and self.parser.should_keep_alive()
        cycle = HotCycle(endpoint, self.headers, keep_alive=keep_alive, path=path)
        cycle.chunks = chunks
        self.cycle = cycle  # type: ignore[assignment]  # uvicorn reads of it what HotCycle has
        cycle.turn = before is None or before.response_complete
        if not cycle.turn:
            self.flow.pause_reading()  # one that waits is enough; uvicorn reads on when the answer before is complete
            self.pipeline.appendleft((self.cycle, self.app))
        self._judge_head(cycle)
        if cycle.refusal is not None:
            self._hand_on(cycle)

    def _judge_head(self, cycle: HotCycle) -> None:
        """What is known without the body: who asks, and how large it will be. Nothing is held for a stranger."""
        announced = cycle.first.get(b"content-length")
        application = self.serving()
        cycle.judge = application.pipeline
        try:
            judge_singletons(cycle.headers, cycle.first)
            cycle.caller = application.pipeline.authenticate(cycle.text(b"authorization"))
        except InvalidRequest as error:
            self._refuse_unread(cycle, error)
        if announced and int(announced) > application.largest_body:
            self._too_large(cycle)
        if self.expect_100_continue and cycle.refusal is None:
            cycle.waits_for_100 = True
            self._go_on(cycle)

    def _go_on(self, cycle: HotCycle) -> None:
        if cycle.turn and cycle.waits_for_100 and cycle.more_body:
            cycle.waits_for_100 = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        cycle: object = self.cycle
        if self._ended:
            return
        if not isinstance(cycle, HotCycle):
            super().on_body(body)
        elif cycle.refusal is None:
            largest = self.serving().largest_body
            if cycle.held + len(body) > largest:
                self._too_large(cycle)
            elif self._intake.take(len(body), largest):
                self._held += len(body)
                cycle.held += len(body)
                cycle.pieces.append(body)
                return
            else:
                self._refuse_unread(cycle, Unavailable("Too many requests are being read; try again.", retry_after_s=1))
            self._hand_on(cycle)

    def _too_large(self, cycle: HotCycle) -> None:
        self._refuse_unread(cycle, BodyTooLarge(f"The body is larger than {self.serving().largest_body} bytes."))

    def _refuse_unread(self, cycle: HotCycle, error: RouterError) -> None:
        """Answer before the body was read. What is left of it is read and dropped, and the connection ends."""
        cycle.refusal = error
        cycle.keep_alive = cycle.more_body = False
        self._drop(cycle.drop_body())

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Uvicorn calls this when it is the cycle's turn."""
        hot: object = cycle
        if isinstance(hot, HotCycle):
            hot.turn = True
            self._go_on(hot)
            self._begin(hot, soon=True)  # many may be answered at once: not one inside the other
        else:
            self._running = cycle
            super()._start_asgi_task(cycle, app)

    def _hand_on(self, cycle: HotCycle) -> None:
        if cycle.turn:  # others are begun when those before them are answered
            self._ready = cycle

    def _begin(self, cycle: HotCycle, *, soon: bool = False) -> None:
        if not cycle.turn or cycle.more_body or cycle.begun:
            return
        cycle.begun = True
        self._reply = None
        self._work = work = Work(self._serve(cycle), self.loop, self._tasks.discard)
        self._tasks.add(work)
        if soon:
            work.begin_soon()
        else:
            work.begin()

    async def _serve(self, cycle: HotCycle) -> None:
        reply = self._reply = TransportReply(cycle, self.transport, self.flow, self.server_state.default_headers)
        application, given = self.serving(), cycle.first.get(b"x-request-id")
        identity = request_id(given) if given is not None else self._identities.fresh()
        try:
            judge_singletons(cycle.headers, cycle.first)
            judge_origin(cycle.headers, application.snapshot)
            arrival = _arrival(cycle, identity, application.pipeline)
            if cycle.path not in OLDER or arrival.refusal is not None:
                await application.pipeline.serve(arrival, reply)
            else:
                await _translated(application, arrival, reply, OLDER[cycle.path])
        except RouterError as error:
            await refuse(reply, error, identity)
        except Exception as error:  # noqa: BLE001 - a mistake of ours: its kind to the log, nothing to the client
            self.log("internal_error", request_id=identity, reason=type(error).__name__)
            cycle.keep_alive = False
            await refuse(reply, RouterError("Something went wrong here; the operator's log says what."), identity)
        self._drop(min(cycle.drop_body(), self._held))  # nothing is held any more where the connection is lost
        self._work = None
        if not cycle.keep_alive:
            self.loop.call_later(LINGER_S if cycle.refusal is not None else 0, self.transport.close)
        self.on_response_complete()


async def _translated(application: Application, arrival: Arrival, reply: TransportReply, path: str) -> None:
    """An older client's request in OpenAI's words, and the answer in its own."""
    translation = Translation(path, arrival.body, application.snapshot.limits)
    asked = replace(arrival, body=translation.body, refusal=translation.error)
    await application.pipeline.serve(asked, translation.reply(reply))


def _arrival(cycle: HotCycle, identity: str, judge: Pipeline) -> Arrival:
    return Arrival(
        endpoint=cycle.endpoint,
        request_id=identity,
        authorization=cycle.text(b"authorization"),
        reach=cycle.all(b"x-ringfence-reach").decode("latin-1"),
        body=b"".join(cycle.pieces),
        session=cycle.text(b"x-session-id"),
        refusal=cycle.refusal,
        caller=cycle.caller if cycle.judge is judge else None,
    )
