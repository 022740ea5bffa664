"""What an examiner asks of a whole ledger, counted from verified records."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from router.audit.show import moment_text
from router.audit.verify.batch import Record
from router.audit.verify.lines import Fields

MOST_DENIALS = 200  # listed one by one; all are counted


@dataclass(slots=True)
class Traffic:
    """What one upstream received and gave."""

    exchanges: int = 0
    sent: int = 0
    received: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    callers: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Summary:
    """Give it every verified record."""

    first: str = ""
    last: str = ""
    upstreams: dict[str, Traffic] = field(default_factory=dict)
    reaches: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    denials: list[tuple[int, str, Fields]] = field(default_factory=list)
    seals: list[tuple[int, str, Fields]] = field(default_factory=list)
    policies: list[tuple[int, str, Fields]] = field(default_factory=list)
    lives: list[tuple[int, str, str, Fields]] = field(default_factory=list)
    keys: list[tuple[int, str, Fields]] = field(default_factory=list)
    _open: dict[int, str] = field(default_factory=dict)

    def see(self, record: Record) -> None:
        kind, body = record.kind, record.body
        self.last = moment_text(record.t)
        self.first = self.first or self.last
        match kind:
            case "decision":
                self._decision(record.number, body)
            case "outcome":
                self._outcome(body)
            case "denial":
                self.reasons[str(body["reason"])] += 1
                if len(self.denials) < MOST_DENIALS:
                    self.denials.append((record.number, self.last, body))
            case _:
                self._rare(record.number, kind, body)

    def _decision(self, number: int, body: Fields) -> None:
        self._open[number] = body["upstream"]
        traffic = self.upstreams.setdefault(body["upstream"], Traffic())
        traffic.exchanges += 1
        traffic.callers[body["caller"]] += 1
        self.reaches[str(body.get("reach", ""))] += 1

    def _outcome(self, body: Fields) -> None:
        upstream = self._open.pop(body["decision"], None)
        if upstream is not None:
            traffic = self.upstreams[upstream]
            traffic.sent += body.get("sent_bytes", 0)
            traffic.received += body.get("received_bytes", 0)
            traffic.endings[body["ending"]] += 1

    def _rare(self, number: int, kind: str, body: Fields) -> None:
        row = (number, self.last, body)
        if kind == "enforcement":
            self.seals.append(row)
        elif kind in ("policy", "reload"):
            self.policies.append(row)
        elif kind == "key_epoch":
            self.keys.append(row)
        elif kind in ("start", "stop", "recovery_gap", "erasure"):
            self.lives.append((number, self.last, kind, body))
