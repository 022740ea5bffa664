"""What the ledger keeps of a pull: a decision before each request, its outcome, and what came of the whole."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

from policies import Reach
from router.audit import Kind, Ledger

CALLER: Final = "operator"
ENDPOINT: Final = "models/pull"
DURABLE_S: Final = 30.0


@dataclass(slots=True)
class Exchange:
    """One request under way; `end` once."""

    ledger: Ledger
    decision: int
    began: float = field(default_factory=time.monotonic)
    status: int = 0
    sent: int = 0
    address: str = ""  # whom it was sent to, once it was
    received: int = 0
    first_byte_ms: float = -1.0

    def asked(self, address: str, sent: int) -> None:
        self.address, self.sent = address, sent

    def answered(self, status: int) -> None:
        self.status = status
        self.first_byte_ms = self._ms()

    def end(self, ending: str) -> None:
        body: dict[str, object] = {
            "decision": self.decision,
            "ending": ending if self.sent else "refused",
            "status": self.status,
            "sent_bytes": self.sent,
            "received_bytes": self.received,
            "first_byte_ms": self.first_byte_ms,
            "total_ms": self._ms(),
            **({"address": self.address} if self.address else {}),
        }
        self.ledger.append(Kind.OUTCOME, body)

    def _ms(self) -> float:
        return (time.monotonic() - self.began) * 1000


class Records:
    """The records of one model's pull after another; `model` says whose turn it is."""

    def __init__(self, ledger: Ledger, policy: str) -> None:
        self._ledger = ledger
        self._policy = policy
        self._turn = 0
        self.model = ""

    def begin(self, source: str, reach: Reach) -> Exchange:
        """Durable before it returns. LedgerUnavailable: nothing may be dialled."""
        self._turn += 1
        ticket = self._ledger.append(
            Kind.DECISION,
            {
                "request_id": f"pull-{self._turn}",
                "caller": CALLER,
                "model": self.model,
                "endpoint": ENDPOINT,
                "upstream": source,
                "policy": self._policy,
                "reason": "allowed",
                "reach": reach.word,
                "attempt": self._turn,
            },
        )
        ticket.wait(DURABLE_S)
        return Exchange(self._ledger, ticket.index)

    def pulled(self, sha256: str) -> None:
        body = {"action": "model_pulled", "actor": CALLER, "target": self.model, "result": "accepted", "digest": sha256}
        self._ledger.append(Kind.ADMIN, body)

    def refused(self, reason: str) -> None:
        """Also what was never dialled: a redirect to a host that is not listed."""
        body = {"request_id": f"pull-{self._turn}", "caller": CALLER, "model": self.model, "endpoint": ENDPOINT}
        self._ledger.append(Kind.DENIAL, {**body, "reason": reason, "policy": self._policy})
