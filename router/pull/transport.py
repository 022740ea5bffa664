"""A pull's requests by the gate's own dialler: each recorded durably, then dialled at a judged address, then closed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from local_engine.hub.sources import Target
from local_engine.hub.transport import Answer, Cut, PullFailed
from policies import Reach, UpstreamRule, classify_reach
from router.channel.messages import Cause
from router.gate.connection import UpstreamConnection, UpstreamFault
from router.gate.dial import Dialler
from router.gate.pool import Pool
from router.gate.request import AGENT
from router.pull.records import Exchange, Records
from router.settings.snapshot import TlsMaterial, WeightSource

CONNECT_S: Final = 15.0
ANSWER_S: Final = 30.0
SILENCE_S: Final = 30.0


class GateTransport:
    """Synchronous outside: the process does nothing else meanwhile."""

    def __init__(
        self, sources: tuple[WeightSource, ...], records: Records, dialler: Dialler, runner: asyncio.Runner
    ) -> None:
        self._pools = {source.name: _pool(source, dialler) for source in sources}
        self._records = records
        self._runner = runner

    @contextmanager
    def get(self, target: Target, headers: Mapping[str, str]) -> Iterator[Answer]:
        """No record, no request. A redirect is an answer like any other: it is followed by nobody here."""
        pool = self._pools[target.source.name]
        request = _request(pool.rule, target.path, headers)
        exchange = self._records.begin(target.source.name, pool.rule.reach)
        connection: UpstreamConnection | None = None
        ending = "cut"
        try:
            connection = self._runner.run(_ask(pool, request, exchange))
            exchange.answered(connection.status)
            yield Answer(connection.status, connection.texts(), self._chunks(connection, target, exchange))
            ending = "complete" if connection.complete or connection.status >= 300 else "cut"
        except UpstreamFault as fault:
            raise _told(fault, target) from None
        finally:
            if connection is not None:
                self._runner.run(_close(connection))
            exchange.end(ending)

    def _chunks(self, connection: UpstreamConnection, target: Target, exchange: Exchange) -> Iterator[bytes]:
        try:
            while (chunk := self._runner.run(_next(connection))) is not None:
                exchange.received += len(chunk)
                yield chunk
        except UpstreamFault as fault:
            raise _told(fault, target) from None


async def _ask(pool: Pool, request: bytes, exchange: Exchange) -> UpstreamConnection:
    connection = await pool.fresh(CONNECT_S)
    try:
        connection.send(request)
        exchange.asked(connection.address, len(request))
        async with asyncio.timeout(ANSWER_S):
            await connection.head()
    except UpstreamFault as fault:
        if fault.cause is not Cause.REDIRECT:  # its head is read: where it leads is for the pull to judge
            connection.abort()
            raise
    except TimeoutError:
        connection.abort()
        raise UpstreamFault(Cause.CONNECT_TIMEOUT, f"no answer within {ANSWER_S:g} s") from None
    return connection


async def _next(connection: UpstreamConnection) -> bytes | None:
    try:
        async with asyncio.timeout(SILENCE_S):
            return await connection.chunk()
    except TimeoutError:
        raise UpstreamFault(Cause.BROKE, f"silent for {SILENCE_S:g} s") from None


async def _close(connection: UpstreamConnection) -> None:
    connection.abort()
    await asyncio.sleep(0)


def _told(fault: UpstreamFault, target: Target) -> Exception:
    """What policy or TLS refuse stays refused; all else may be better the next time."""
    sentence = f"{target.source.name} ({target.source.origin}): {fault.cause}: {fault.detail}"
    return PullFailed(sentence) if fault.cause in (Cause.POLICY, Cause.TLS) else Cut(sentence)


def _request(rule: UpstreamRule, path: str, headers: Mapping[str, str]) -> bytes:
    host = rule.destination.authority if rule.destination is not None else ""
    fixed = {"Host": host, "User-Agent": AGENT, "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in {**fixed, **headers}.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def _pool(source: WeightSource, dialler: Dialler) -> Pool:
    reach = classify_reach(source.destination) or Reach.RENTED
    rule = UpstreamRule(source.name, reach, destination=source.destination)
    return Pool(rule, dialler, TlsMaterial(source.authorities) if source.authorities else None)
