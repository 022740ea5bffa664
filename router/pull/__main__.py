"""`python -I -m router.pull`: an order on standard input, news on standard output. Exit 0: all is in place; 1: not.

It seals itself as the gate does before it reads a byte of anybody else, opens the ledger of pulls, and dials only the
model sources of its order.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from functools import partial
from pathlib import Path

import msgspec
import uvloop

from local_engine.hub.pins import BadPins
from local_engine.hub.pull import Order, Puller
from local_engine.hub.reference import Reference
from local_engine.hub.sources import Source, Sources
from local_engine.hub.transport import PullFailed
from router.audit import Durability, Kind, Ledger, LedgerError, LedgerSettings, LedgerUnavailable
from router.gate.dial import Dialler
from router.gate.tls import authority_files
from router.pull.order import AnyNews, Arrived, Failed, Progressed, PullOrder, Wanted
from router.pull.records import Records
from router.pull.transport import GateTransport
from router.seal.attestation import Attestation
from router.seal.enclose import Plan, begin, enclose
from router.seal.process import UnexpectedlyHeld
from router.seal.profiles import Profile
from router.seal.rooms import room_of

MOST_MEMORY = 1 << 30
NEWS_EVERY = 4 << 20
"""Bytes between two lines of progress."""


def main() -> int:
    begin()
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))  # a model's template is foreign code
    order = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=PullOrder)
    try:
        return _run(order)
    except (LedgerError, UnexpectedlyHeld, OSError) as error:
        _tell(Failed("", f"the pull could not begin: {error}"))
    except LedgerUnavailable as error:
        _tell(Failed("", f"the ledger of pulls failed, so nothing more is fetched: {error}"))
    return 1


def _run(order: PullOrder) -> int:
    models, directory = Path(order.weights.directory), Path(order.audit.directory)
    for place in (models, directory):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    dialler = Dialler(models)  # no engine is ever asked
    seal = _seal(models, directory)
    if reason := seal.shortfall(order.require_seal):
        _tell(Failed("", reason))
        return 1
    ledger = Ledger.open(LedgerSettings(directory, Durability(order.audit.durability), log_name="ringfence-models"))
    try:
        _note_seal(ledger, seal)
        records = Records(ledger, order.policy)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            transport = GateTransport(order.weights.sources, records, dialler, runner)
            done = [_pull(wanted, order, transport, records) for wanted in order.wanted]
    finally:
        ledger.close()
    return 0 if all(done) else 1


def _seal(models: Path, ledger: Path) -> Attestation:
    """It writes models and its ledger, and nothing else."""
    write = (str(models.resolve()), str(ledger.resolve()))
    return enclose(Plan(Profile.GATE, room_of(Profile.GATE, read=authority_files(), write=write)))


def _note_seal(ledger: Ledger, seal: Attestation) -> None:
    ledger.append(Kind.ENFORCEMENT, {"process": "pull", "level": seal.level, "pid": seal.pid, "seal": seal.seal})


def _pull(wanted: Wanted, order: PullOrder, transport: GateTransport, records: Records) -> bool:
    reference = Reference(wanted.repo, wanted.file, wanted.revision)
    records.model = reference.name
    listed = [Source(source.name, source.destination.origin, source.token) for source in order.weights.sources]
    puller = Puller(Sources(listed), transport, partial(_progress, reference.name))
    try:
        pulled = puller.pull(Order(reference, Path(order.weights.directory), wanted.sha256))
    except (PullFailed, BadPins, OSError) as error:
        records.refused(str(error))
        _tell(Failed(reference.name, str(error)))
        return False
    records.pulled(pulled.pin.sha256)
    _tell(Arrived(reference.name, str(pulled.path), pulled.pin.sha256, pulled.pin.size, pulled.fetched))
    return True


def _progress(model: str, stage: str, done: int, total: int) -> None:
    """A line for every few megabytes, and the last one."""
    if done == total or done % NEWS_EVERY < (1 << 18):
        _tell(Progressed(model, stage, done, total))


def _tell(news: AnyNews) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(news) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
