"""A fake OpenAI-compatible upstream: `python -m tests.fakes.upstream [--port N | --socket PATH] [--faults NAME]`.

Its first line says the port it serves on, the second the control port, which works even while the first one refuses:
GET /_seen (what came in and what became of it), POST /_reset, POST /_faults with a JSON object of `Behaviour` fields.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import time
from pathlib import Path

from tests.fakes import answers
from tests.fakes.faults import AT_ACCEPT, FAULTS, FOR_PROBES, NAMES
from tests.fakes.generation import Behaviour, Generation
from tests.fakes.wire import ClientLeft, Request, Seen, Wire, whole

MODEL = "fake-model"
SLOW_READ_S = 0.05
GENERATING = ("/chat/completions", "/completions", "/embeddings", "/rerank")
NOT_HERE = whole(404, answers.error("no such path", "not_found"))


class Upstream:
    """One fake server: its behaviour, what it saw, its listeners."""

    def __init__(self, behaviour: Behaviour, port: int, path: Path | None) -> None:
        self._at_start = behaviour
        self._behaviour = dataclasses.replace(behaviour)
        self._since = time.monotonic()
        self._port = port
        self._path = path
        self._seen: list[Seen] = []
        self._wires: dict[int, Wire] = {}
        self._accepted = 0
        self._server: asyncio.Server | None = None

    async def run(self) -> None:
        await self._open_door()
        control = await asyncio.start_server(self._control, "127.0.0.1", 0)
        print(self._port, flush=True)
        print(control.sockets[0].getsockname()[1], flush=True)
        if self._fault() == "refuse":
            self._close_door()
        await control.serve_forever()

    async def _open_door(self) -> None:
        if self._server is not None:
            return
        if self._path is not None:
            self._server = await asyncio.start_unix_server(self._accept, self._path)
        else:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port, reuse_address=True)
            self._port = self._server.sockets[0].getsockname()[1]

    def _close_door(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for wire in self._wires.values():
            wire.reset()

    def _fault(self) -> str:
        """The fault in force; "" once its time is over."""
        over = self._behaviour.seconds and time.monotonic() - self._since > self._behaviour.seconds
        return "" if over else self._behaviour.fault

    # --- serving ---

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted += 1
        wire = Wire(reader, writer, self._accepted)
        self._wires[wire.number] = wire
        try:
            await self._serve(wire)
        except (ClientLeft, ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            wire.close()
            del self._wires[wire.number]

    async def _serve(self, wire: Wire) -> None:
        if self._fault() == "reset_connect":
            wire.reset()
            return
        while not wire.closing:
            request = await wire.request(pause_s=SLOW_READ_S if self._fault() == "slow_reader" else 0.0)
            if request is None:
                return
            if self._fault() == "blackhole":
                seen = self._remember(wire, request)
                await wire.client_leaves()
                seen.ending = "client_left"
                return
            await self._answer(wire, request)

    async def _answer(self, wire: Wire, request: Request) -> None:
        seen = self._remember(wire, request)
        generation = Generation(wire, request, self._behaviour, seen)
        try:
            if request.method == "GET":
                await self._answer_probe(wire, request, generation)
                seen.ending = "complete"
            elif request.path.endswith(GENERATING):
                seen.ending = "fault" if await self._generate(generation) else "complete"
            else:
                await wire.send(NOT_HERE)
        except ClientLeft:
            seen.ending = "client_left"
            raise

    def _remember(self, wire: Wire, request: Request) -> Seen:
        body = request.body.decode("utf-8", "replace")
        seen = Seen(wire.number, request.method, request.path, request.headers, body)
        self._seen.append(seen)
        return seen

    async def _answer_probe(self, wire: Wire, request: Request, generation: Generation) -> None:
        if (fault := self._fault()) in FOR_PROBES:
            await FAULTS[fault](generation)
        elif request.path.endswith("/models"):
            await wire.send(whole(200, answers.models(MODEL)))
        elif request.path in ("/health", "/api/version", "/"):
            await wire.send(whole(200, b'{"status":"ok"}'))
        else:
            await wire.send(NOT_HERE)

    async def _generate(self, generation: Generation) -> bool:
        """Answer; True if badly."""
        fault = FAULTS.get(self._fault())
        if fault is None:
            await generation.run()
            return False
        if self._behaviour.times:
            self._behaviour.times -= 1
            if not self._behaviour.times:
                self._behaviour.fault = ""
        await fault(generation)
        return True

    # --- control ---

    async def _control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer, 0)
        with contextlib.suppress(ClientLeft, ConnectionError):
            while (request := await wire.request()) is not None:
                await wire.send(whole(200, answers.as_bytes(await self._command(request))))
        wire.close()

    async def _command(self, request: Request) -> object:
        if request.path == "/_seen":
            return {"requests": [dataclasses.asdict(seen) for seen in self._seen], "connections": len(self._wires)}
        if request.path == "/_reset":
            self._seen.clear()
            await self._become(dataclasses.replace(self._at_start))
        elif request.path == "/_faults":
            await self._become(dataclasses.replace(self._behaviour, **json.loads(request.body)))
        return {"behaviour": dataclasses.asdict(self._behaviour)}

    async def _become(self, behaviour: Behaviour) -> None:
        if behaviour.fault and behaviour.fault not in NAMES:
            raise SystemExit(f"no such fault: {behaviour.fault}")
        self._behaviour = behaviour
        self._since = time.monotonic()
        if behaviour.fault == "refuse":
            self._close_door()
            return
        await self._open_door()
        if behaviour.fault in AT_ACCEPT:
            for wire in self._wires.values():
                wire.reset()


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.fakes.upstream")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--socket", type=Path)
    parser.add_argument("--faults", choices=("", *NAMES), default="")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--tokens", type=int, default=5)
    parser.add_argument("--delay", type=float, default=0.0)
    given = parser.parse_args()
    behaviour = Behaviour(fault=given.faults, seconds=given.seconds, tokens=given.tokens, delay_s=given.delay)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Upstream(behaviour, given.port, given.socket).run())


if __name__ == "__main__":
    main()
