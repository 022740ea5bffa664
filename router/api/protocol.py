"""The server's side of one client connection: uvicorn's httptools protocol, with the generating endpoints served in it.

A request for one of ENDPOINTS goes from the parser straight to the pipeline and its answer straight to the transport,
without ASGI in between; everything else goes on to the ASGI application. llhttp parses, strictly; we parse nothing.
How long and how much it may send is `patient`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from hmac import compare_digest
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from policies import Endpoint
from router.answer import JSON
from router.api.answers import at_once
from router.api.app import Application
from router.api.cycle import HotCycle, Identities, TransportReply, answer_bytes, request_id
from router.api.errand import Errand, arrival_of
from router.api.intake import Intake
from router.api.older import OLDER, RANKING, translated
from router.api.patient import PatientProtocol, expects_100
from router.api.singletons import judge_singletons
from router.channel.work import Work
from router.errors import MISTAKE, BodyTooLarge, InvalidRequest, RouterError, Unavailable
from router.logs import Log
from router.pipeline import Judged, refuse
from router.unforeseen import described

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
        # uvicorn waits for those in it when it stops, or cancels them
        self._tasks = cast("set[Work | Errand]", self.tasks)
        self._work: Work | Errand | None = None
        self._reply: TransportReply | None = None  # of the work under way
        self._running: RequestResponseCycle | None = None  # the ASGI cycle whose turn it was last

    def connection_lost(self, exc: Exception | None) -> None:
        if self._reply is not None:
            self._reply.leave()
        self._stop_work()  # the client left: the upstream stops
        self._work = None
        for cycle in (self._running, *(queued for queued, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        super().connection_lost(exc)

    def on_message_complete(self) -> None:
        if self._ended or self._offered:
            return
        self._unwhole = False
        if self._deadline is not None:
            self._disarm()
        cycle: object = self.cycle
        if type(cycle) is HotCycle:
            cycle.more_body = False
            if cycle.turn:
                self._ready = cycle
        else:
            super().on_message_complete()

    def _stop_work(self) -> None:
        if self._work is not None:
            self._work.cancel()

    def _answering(self) -> bool:
        running = self._running is not None and not self._running.response_complete and not self._running.more_body
        return self._work is not None or running

    def send_400_response(self, msg: str) -> None:
        """Bytes that are no HTTP request (RFC 9112, strictly)."""
        self._send_error(InvalidRequest(msg))

    def _send_error(self, error: RouterError) -> None:
        """Answer and close; in the middle of another answer only close: our bytes would stand in its body."""
        self._ended = True
        if self._work is not None and not (self._reply is not None and self._reply.started):
            self._stop_work()  # nothing of that answer is out yet: this one takes its place
        elif self._answering():
            self.transport.close()
            return
        self.transport.write(at_once(error, self._identities.fresh()))
        self.transport.close()

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
        before, headers = self.cycle, self.headers
        chunks = self.parser.get_http_version() != "1.0"
        keep_alive = chunks and self.parser.should_keep_alive()
        turn, application = before is None or before.response_complete, self.serving()
        pipeline, most, first = application.pipeline, application.largest_body, dict(reversed(headers))
        cycle = HotCycle(endpoint, path, headers, first, chunks, keep_alive, turn, pipeline, most)
        self.cycle = cycle  # type: ignore[assignment]  # uvicorn reads of it what HotCycle has
        if not turn:
            self.flow.pause_reading()  # one that waits is enough; uvicorn reads on when the answer before is complete
            self.pipeline.appendleft((self.cycle, self.app))
        self._judge_head(cycle, before)

    def _judge_head(self, cycle: HotCycle, before: object) -> None:
        """What is known without the body: who asks, and how large it will be. Nothing is held for a stranger."""
        announced, key = cycle.first.get(b"content-length"), cycle.first.get(b"authorization", b"")
        try:
            if len(cycle.first) != len(cycle.headers) or b"host" not in cycle.first:
                judge_singletons(cycle.headers, cycle.first, old=not cycle.chunks)
            if type(before) is HotCycle and before.pipeline is cycle.pipeline:  # most ask again on their connection
                known = compare_digest(before.first.get(b"authorization", b""), key)
                cycle.caller = before.caller if known else None
            cycle.caller = cycle.caller or cycle.pipeline.caller_of(key)
        except InvalidRequest as error:
            self._refuse_unread(cycle, error)
        if announced and int(announced) > cycle.most:
            self._too_large(cycle)
        if cycle.refusal is not None:
            self._hand_on(cycle)
        elif b"expect" in cycle.first and expects_100(cycle.headers):
            cycle.waits_for_100 = True
            self._go_on(cycle)

    def _go_on(self, cycle: HotCycle) -> None:
        if cycle.turn and cycle.waits_for_100 and cycle.more_body:
            cycle.waits_for_100 = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        cycle: object = self.cycle
        self._fruitless = 0
        if self._ended:
            return
        if type(cycle) is not HotCycle:
            super().on_body(body)
        elif cycle.refusal is None:
            size = len(body)
            if cycle.held + size > cycle.most:
                self._too_large(cycle)
            elif self._intake.take(size, cycle.most):
                self._held += size
                cycle.held += size
                cycle.pieces.append(body)
                return
            else:
                self._refuse_unread(cycle, Unavailable("Too many requests are being read; try again.", retry_after_s=1))
            self._hand_on(cycle)

    def _too_large(self, cycle: HotCycle) -> None:
        self._refuse_unread(cycle, BodyTooLarge(f"The body is larger than {cycle.most} bytes."))

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
        if soon:
            self._work_on(self._serve(cycle)).begin_soon()
        elif cycle.refusal is not None or cycle.path in OLDER or not self._sent(cycle):
            self._work_on(self._serve(cycle)).begin()

    def _work_on(self, serving: Coroutine[Any, None, None]) -> Work:
        self._work = work = Work(serving, self.loop, self._tasks.discard)
        self._tasks.add(work)
        return work

    def _sent(self, cycle: HotCycle) -> bool:
        """Begin without a coroutine. False: nothing is begun, and `_serve` tells why, if it is a mistake."""
        application, given = self.serving(), cycle.first.get(b"x-request-id")
        identity = self._identities.fresh() if given is None else request_id(given)
        try:
            judged = application.pipeline.judge(arrival_of(cycle, identity, application))
            forwarder = judged.forwarder
            exchange = forwarder.begin() if forwarder is not None else None
        except Exception:  # noqa: BLE001 - the coroutine meets it again, and answers it
            return False
        cycle.pipeline, cycle.caller = application.pipeline, judged.caller
        if exchange is None or forwarder is None:
            self._work_on(self._serve(cycle, judged)).begin()
            return True
        self._work = errand = Errand(cycle, judged, forwarder, self.loop, self._answered, self._tasks.discard)
        self._tasks.add(errand)
        exchange.wait_whole(JSON, errand)
        return True

    def _answered(self, errand: Errand) -> None:
        """There is something to look at: an answer is written at once; a coroutine sees to all else."""
        if errand.over:
            return
        errand.over = True
        self._tasks.discard(errand)
        cycle = errand.cycle
        try:
            whole = None if self.flow.write_paused else errand.forwarder.answered()
            fixed, stays = self.server_state.default_headers, cycle.keep_alive
            answer = answer_bytes(fixed, whole, keep_alive=stays) if whole is not None else b""
        except Exception:  # noqa: BLE001 - the coroutine meets it again, and answers it
            answer = b""
        if not answer:
            self._work_on(self._serve(cycle, errand.judged)).begin()
            return
        if not cycle.disconnected:
            self.transport.write(answer)
        cycle.response_complete = True
        self._served(cycle)

    async def _serve(self, cycle: HotCycle, judged: Judged | None = None) -> None:
        """From the beginning, or of what was judged all the rest."""
        reply = self._reply = TransportReply(cycle, self.transport, self.flow, self.server_state.default_headers)
        given = cycle.first.get(b"x-request-id")
        if judged is not None:
            identity = judged.arrival.request_id
        else:
            identity = self._identities.fresh() if given is None else request_id(given)
        refused: RouterError | None = None
        try:
            if judged is not None:
                await cycle.pipeline.answer(judged, reply)
            else:
                await self._serve_anew(cycle, identity, reply)
        except RouterError as error:
            refused = error
        except Exception as error:  # noqa: BLE001 - a mistake of ours: its place to the log, nothing to the client
            self.log("internal_error", request_id=identity, reason=described(error))
            refused, cycle.keep_alive = RouterError(MISTAKE), False
        try:
            if refused is not None:
                await refuse(reply, refused, identity)
        except Exception as error:  # noqa: BLE001 - the answering itself fails: nobody may wait for what does not come
            self.log("internal_error", request_id=identity, reason=described(error))
            self.transport.abort()
        self._served(cycle)

    async def _serve_anew(self, cycle: HotCycle, identity: str, reply: TransportReply) -> None:
        application = self.serving()
        arrival = arrival_of(cycle, identity, application)
        path, serve = OLDER.get(cycle.path), application.pipeline.serve
        if path is None or arrival.refusal is not None:
            await serve(arrival, reply)
        else:
            await translated(serve, application.snapshot.limits, arrival, reply, path)

    def _served(self, cycle: HotCycle) -> None:
        size = min(cycle.held, self._held)  # nothing is held any more where the connection is lost
        cycle.held, cycle.pieces = 0, []
        self._held -= size
        self._intake.give(size)
        self._work = None
        if not cycle.keep_alive:
            self.loop.call_later(LINGER_S if cycle.refusal is not None else 0, self.transport.close)
        self.on_response_complete()
