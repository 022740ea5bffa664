"""What an examiner asks of a whole ledger, counted from verified records."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from router.audit.show import moment_text
from router.audit.verify.batch import Record
from router.audit.verify.lines import Fields

IDENTITY = ("upstream", "state", "backend", "software", "address", "reason")  # of a probe's answer
MOST_DENIALS = 200  # listed one by one; all are counted


@dataclass(slots=True)
class Traffic:
    """What one upstream received and gave."""

    exchanges: int = 0
    sent: int = 0
    received: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    callers: Counter[str] = field(default_factory=Counter)
    addresses: Counter[str] = field(default_factory=Counter)  # where to, as connected: bytes sent


@dataclass(slots=True)
class Use:
    """What one caller sent, received, and was refused."""

    exchanges: int = 0
    sent: int = 0
    received: int = 0
    refused: int = 0


@dataclass(slots=True)
class Summary:
    """Give it every verified record."""

    first: str = ""
    last: str = ""
    upstreams: dict[str, Traffic] = field(default_factory=dict)
    callers: dict[str, Use] = field(default_factory=dict)
    reaches: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    denials: list[tuple[int, str, Fields]] = field(default_factory=list)
    seals: list[tuple[int, str, Fields]] = field(default_factory=list)
    policies: list[tuple[int, str, Fields]] = field(default_factory=list)
    lives: list[tuple[int, str, str, Fields]] = field(default_factory=list)
    keys: list[tuple[int, str, Fields]] = field(default_factory=list)
    identities: dict[tuple[str, ...], tuple[str, str]] = field(default_factory=dict)  # first and last seen
    _open: dict[int, tuple[str, str]] = field(default_factory=dict)  # upstream and caller

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
                self._use(body["caller"]).refused += 1
                if len(self.denials) < MOST_DENIALS:
                    self.denials.append((record.number, self.last, body))
            case _:
                self._rare(record.number, kind, body)

    def _decision(self, number: int, body: Fields) -> None:
        self._open[number] = body["upstream"], body["caller"]
        self._use(body["caller"]).exchanges += 1
        traffic = self.upstreams.setdefault(body["upstream"], Traffic())
        traffic.exchanges += 1
        traffic.callers[body["caller"]] += 1
        self.reaches[str(body.get("reach", ""))] += 1

    def _outcome(self, body: Fields) -> None:
        upstream, caller = self._open.pop(body["decision"], (None, ""))
        if upstream is None:
            return
        sent, received = body.get("sent_bytes", 0), body.get("received_bytes", 0)
        traffic = self.upstreams[upstream]
        for each in (traffic, self._use(caller)):
            each.sent += sent
            each.received += received
        traffic.endings[body["ending"]] += 1
        if "address" in body:
            traffic.addresses[body["address"]] += sent

    def _use(self, caller: str) -> Use:
        return self.callers.setdefault(caller, Use())

    def _rare(self, number: int, kind: str, body: Fields) -> None:
        row = (number, self.last, body)
        if kind == "enforcement":
            self.seals.append(row)
        elif kind in ("policy", "reload"):
            self.policies.append(row)
        elif kind == "key_epoch":
            self.keys.append(row)
        elif kind == "probe":
            seen = tuple(str(body.get(name, "")) for name in IDENTITY)
            self.identities[seen] = self.identities.get(seen, (self.last, ""))[0], self.last
        elif kind in ("start", "stop", "recovery_gap", "erasure") or (
            kind == "admin" and body["action"] != "digest_key"  # one a day
        ):
            self.lives.append((number, self.last, kind, body))
