"""What the ledger costs: `python bench/ledger.py [--records N] [--directory DIR]`. One line of JSON per figure.

Writes real files and verifies them. CPU times are of the whole process, both threads; the disk decides about the rest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop

from router.audit import Durability, Kind, Ledger, LedgerSettings
from router.audit.bodies import encode_body
from router.audit.codec import CODEC
from router.audit.format import layout
from router.audit.format.tiles import TileStack
from router.audit.home import open_home
from router.audit.inbox import Inbox
from router.audit.reveal import Matcher, digest_keys, with_variants
from router.audit.scribe import Place, Scribe
from router.audit.verify.check import verify
from router.audit.verify.keys import load_keys
from router.audit.verify.lines import STANDARD
from router.audit.verify.processes import cores, verify_with
from router.gate.recorder import Recorder

DECISION = {
    "request_id": "req-0123456789abcdef",
    "caller": "alice",
    "model": "deepseek-coder-1.3b-instruct",
    "served_model": "deepseek-coder-6.7b",
    "endpoint": "chat/completions",
    "tier": "gpu",
    "upstream": "gpu-1",
    "reach": "network",
    "attempt": 1,
    "policy": "ab" * 32,
    "reason": "allowed",
    "body_bytes": 1234,
}
OUTCOME = {"ending": "completed", "status": 200, "sent_bytes": 1234, "received_bytes": 5678, "total_ms": 812.345}
TEXT = b"the text in question"


def cpu_s() -> float:
    ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ours.ru_utime + ours.ru_stime


@contextmanager
def measured(name: str, records: int) -> Iterator[None]:
    """Print how long `records` took, by the clock and by the CPU, with that of processes that have ended."""
    clock, cpu = time.perf_counter(), cpu_s()
    yield
    took, burnt = time.perf_counter() - clock, cpu_s() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    figures = {"records_per_s": round(records / took), "cpu_us_per_record": round(burnt / records * 1e6, 2)}
    print(json.dumps({"figure": name, "records": records, "seconds": round(took, 3), **figures, "peak_mb": peak}))


async def exchanges(recorder: Recorder, count: int) -> None:
    """As the gate does it: the decision is on the disk before anything else happens, nobody waits for the outcome."""
    for _ in range(count):
        index = await recorder.record(Kind.DECISION, DECISION)
        recorder.note(Kind.OUTCOME, {"decision": index, **OUTCOME})


def durable(directory: Path, waiters: int, each: int) -> None:
    """So many exchanges at once on one event loop, as long as they are all under way."""

    async def run() -> None:
        recorder = Recorder(Ledger.open(LedgerSettings(directory, Durability.STRICT)))
        with measured(f"write, strict, {waiters} waiters", 2 * waiters * each):
            await asyncio.gather(*(exchanges(recorder, each) for _ in range(waiters)))
        recorder.close()

    uvloop.run(run())


def record_cost(directory: Path, records: int) -> None:
    """What one record costs on one thread, from append to its bytes: no disk, no switching between threads."""
    home = open_home(directory, "ringfence")
    inbox = Inbox(Scribe(home, Place(), TileStack()), (), checkpoint_every=256, linger_s=1.0)
    inbox.begin_epoch()
    with measured("one record, one thread", records):
        for _ in range(records // 2):
            index = inbox.append(Kind.DECISION, encode_body(Kind.DECISION, DECISION))
            outcome = {"decision": index, **OUTCOME}
            inbox.append(Kind.OUTCOME, encode_body(Kind.OUTCOME, outcome), index)
        b"".join(inbox.take().lines)
    home.close()


def fill(directory: Path, records: int) -> None:
    """A log to verify, without waiting: the cost of a record itself."""
    ledger = Ledger.open(LedgerSettings(directory, Durability.ASYNC))
    with measured("write, async, one caller", records):
        for number in range(records // 2):
            text = TEXT if number % 1000 == 0 else b"another text %d" % number
            ticket = ledger.append(Kind.DECISION, {**DECISION, "message_macs": [ledger.digest("alice", text)]})
            last = ledger.append(Kind.OUTCOME, {"decision": ticket.index, **OUTCOME})
            if number % 5000 == 0:
                last.wait(60)
        last.wait(60)
    ledger.close()


def check(name: str, records: int, run: Callable[[], Any]) -> None:
    with measured(name, records):
        report = run()
    assert report.exit_code() == 0, report.text()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--directory", type=Path, help="an empty directory; a temporary one if left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = options.directory or Path(scratch)
        for waiters in (1, 8, 64):
            durable(root / f"strict-{waiters}", waiters, max(10, 20_000 // waiters if waiters > 1 else 300))
        record_cost(root / "cost", 20_000)
        directory, records = root / "large", options.records
        fill(directory, records)
        keys = load_keys(directory, None, None, ())
        assert keys.reviewer is not None
        check("verify, fast JSON", records, lambda: verify(directory, keys, CODEC))
        check("verify, a process for each core", records, lambda: verify_with(directory, keys, CODEC, cores()))
        matcher = Matcher(digest_keys(directory, layout.log_of(keys.vkey.name), keys.reviewer), with_variants(TEXT))
        check("match", records, lambda: verify(directory, keys, CODEC, matcher.see))
        assert len(matcher.hits) == -(-records // 2000)
        check("verify, standard library", records, lambda: verify(directory, keys, STANDARD))


if __name__ == "__main__":
    main()
