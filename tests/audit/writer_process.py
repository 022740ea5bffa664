"""A writer to be scanned, traced and killed: `python -m tests.audit.writer_process DIR COUNT [wait]`.

Writes COUNT exchanges, strictly durable, with small segments, and prints the index of each acknowledged record on a
line of its own, as a client would see it. With `wait` it then waits to be killed.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from router.audit import Durability, Kind, Ledger, LedgerError, LedgerUnavailable
from tests.audit.ledgers import DECISION, WAIT_S, settings


def say(text: object) -> None:
    os.writev(1, [f"{text}\n".encode()])  # not write(): that is what the fault injection counts


def main() -> int:
    directory, count = Path(sys.argv[1]), int(sys.argv[2])
    try:
        ledger = Ledger.open(settings(directory, durability=Durability.STRICT, segment_bytes=3000))
    except LedgerError as error:
        say(f"refused: {error}")
        return 3
    try:
        for _ in range(count):
            ticket = ledger.append(Kind.DECISION, DECISION)
            ticket.wait(WAIT_S)
            say(ticket.index)
            ledger.append(Kind.OUTCOME, {"decision": ticket.index, "ending": "completed"})
    except LedgerUnavailable as error:
        say(f"unavailable: {error}")
        return 4
    if "wait" in sys.argv[3:]:
        say("ready")
        signal.pause()
    ledger.close()
    say("closed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
