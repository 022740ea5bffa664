"""A worker process: `python -I -m router.worker --control FD --listen FD`. Started by the supervisor."""

from __future__ import annotations

import gc
import sys
from types import ModuleType

gc.disable()  # nothing that is imported below is garbage; `settle_memory` switches it on again
if __name__ == "__main__":  # a tenth of a start: click, reloaders, multiprocessing of uvicorn's own program, unused
    sys.modules["uvicorn.main"] = _no_program = ModuleType("uvicorn.main")
    vars(_no_program).update(Server=None, main=None, run=None)  # the names that uvicorn's __init__ takes from there

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any, cast

import msgspec
import uvloop
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config

from router.api.app import Application
from router.api.encrypted import TlsConnection
from router.api.intake import Intake
from router.api.protocol import RouterProtocol
from router.channel.client import GateClient
from router.channel.control import Control, Message, Word, read_memory_file
from router.channel.sealed import seal_process
from router.channel.steering import Steering
from router.descriptors import take_all
from router.heap import keep_heap
from router.logs import Log, hear_libraries
from router.memory import settle_memory
from router.seal.enclose import Plan, begin
from router.seal.profiles import Profile
from router.seal.rooms import room_of
from router.settings.codec import decode
from router.settings.snapshot import Snapshot
from router.tls import server_context
from router.unforeseen import described, hear
from router.view import View
from router.worker.server import Server

KEEP_ALIVE_S = 65
BACKLOG = 2048
BEGUN_S = 2.0  # what is seldom asked for is imported then: gate and engines need the processor first


class Worker:
    """Serves clients on an inherited listener; asks the gate for everything else."""

    def __init__(self, control: socket.socket, listener: socket.socket, name: str) -> None:
        self._log = Log(name)
        self._listener = listener
        self._gate = GateClient(lambda: self._control.send(Message(Word.LOST)))
        self._view = View()
        descriptors = take_all()
        self._log("descriptors", limit=descriptors.limit)
        self._intake = Intake(descriptors)
        self._steering = Steering(self._say)
        self._handshakes = Intake(descriptors)  # TLS connections, counted from before their handshake
        self._front: Any = None  # the TLS context that the next connection is shown, where the listener speaks TLS
        self._sealed = False
        self._application: Application | None = None
        self._server: Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = asyncio.Event()
        self._control = Control(control, self._on_message, self._stop)

    async def run(self) -> None:
        await self._stopped.wait()
        self._gate.close()

    def _on_message(self, message: Message, descriptors: list[int]) -> None:
        match message.word:
            case Word.SETTINGS:
                self._swap(descriptors[0])
            case Word.CHANNEL:
                self._spawn(self._gate.attach(socket.socket(fileno=descriptors[0])))
            case Word.PROCESSES:
                self._view.processes = message.rows
            case Word.NOTICE:
                self._view.reload = msgspec.json.decode(message.text)
            case Word.NARROWED:
                self._steering.heard(message)
            case Word.PING:
                self._control.send(Message(Word.PONG))
            case Word.DRAIN:
                self._stop()

    def _say(self, message: Message) -> None:
        self._control.send(message)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        """A worker that cannot do its work must not look alive: it ends, and is started again."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._log("internal_error", reason=described(error))
            self._stopped.set()

    def _swap(self, descriptor: int) -> None:
        """New settings. If they cannot be taken this process ends, and another begins with them: the gate serves by
        them alone.
        """
        try:
            self._take(decode(read_memory_file(descriptor)))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is said
            self._log("settings_refused", reason=described(error))
            self._stop()

    def _take(self, snapshot: Snapshot) -> None:
        """Serve by these settings from now on; requests under way finish under those they began with."""
        self._sealed = self._sealed or self._seal(snapshot)
        if not self._sealed:
            self._stopped.set()
            return
        try:
            front = server_context(snapshot.front.certificate, snapshot.front.key) if snapshot.listen.tls else None
        except OSError as error:  # or ssl.SSLError: the pair was tried before it was sent, so something is short here
            self._log("settings_refused", reason=f"the certificate of 'listen.tls' cannot be used: {error.strerror}")
            self._stop()  # the gate serves by the new settings only: another worker is started by these
            return
        self._front = front
        self._application = Application(snapshot, self._gate, self._view, self._log, self._steering)
        self._intake.most_connections = self._handshakes.most_connections = snapshot.limits.connections
        settle_memory()
        if self._server is None:
            self._spawn(self._serve(snapshot))
        else:
            self._server.config.timeout_graceful_shutdown = drain_s(snapshot)  # read when it is asked to stop
            self._control.send(Message(Word.READY, text=snapshot.policy.digest))

    def _protocol(self, **named: Any) -> asyncio.BaseProtocol:
        """Uvicorn calls this for each connection."""
        plain = RouterProtocol(self._serving, self._log, self._intake, **named)
        return plain if self._front is None else TlsConnection(plain, self._front, self._handshakes)

    def _serving(self) -> Application:
        assert self._application is not None  # noqa: S101 - there is one before there is a server
        return self._application

    def _seal(self, snapshot: Snapshot) -> bool:
        """Once, before the first request: False when this worker may not serve."""
        held = (self._control.fileno(), self._listener.fileno())
        plan = Plan(Profile.WORKER, room_of(Profile.WORKER), held)
        return seal_process(plan, snapshot.require_seal, self._control, self._log) is not None

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serving()(scope, receive, send)

    async def _serve(self, snapshot: Snapshot) -> None:
        config = Config(
            self._call,
            http=cast("type[asyncio.Protocol]", self._protocol),
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # what is no HTTP is answered 400; a line for each would let a client fill the log
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=drain_s(snapshot),
            backlog=BACKLOG,
        )
        self._server = Server(config)
        self._control.send(Message(Word.READY, text=snapshot.policy.digest))
        asyncio.get_running_loop().call_later(BEGUN_S, lambda: self._serving().operations)
        await self._server.serve(sockets=[self._listener])
        self._stopped.set()

    def _stop(self) -> None:
        if self._server is None:
            self._stopped.set()
        else:
            self._server.stop()


def drain_s(snapshot: Snapshot) -> int:
    """How long requests may go on after a signal to stop, in uvicorn's whole seconds."""
    return max(1, round(snapshot.limits.drain_s))


async def _main(control: int, listener: int, name: str) -> None:
    hear(asyncio.get_running_loop(), Log(name))
    await Worker(socket.socket(fileno=control), socket.socket(fileno=listener), name).run()


def main() -> None:
    given = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))  # argparse would be a thirtieth of all imports
    name = given.get("--name", "worker-0")
    begin()
    keep_heap()
    hear_libraries(Log(name))
    uvloop.run(_main(int(given["--control"]), int(given["--listen"]), name))


if __name__ == "__main__":
    main()
