"""What is known of one upstream. `Upstreams` owns it: nobody else changes a field."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field

from policies import Decision, Identity, Reach
from router.channel.messages import Cause
from router.channel.states import Transition, UpstreamLoad, UpstreamReport, UpstreamState
from router.gate.admission import Admission
from router.gate.breaker import Breaker
from router.gate.connection import UpstreamFault
from router.gate.meter import Meter
from router.gate.pool import Pool

MOST_TRANSITIONS = 20
UNLIMITED = 1 << 30
CONNECT_CAUSES = frozenset({Cause.DNS, Cause.REFUSED, Cause.TLS, Cause.CONNECT_TIMEOUT})


@dataclass(slots=True)
class Upstream:
    """Its connections, its state, what it was found to be, and the task that looks at it."""

    pool: Pool
    credential: str
    state: UpstreamState
    asked: frozenset[str]  # the models that it may be asked for
    may_sleep: bool = False  # nothing listens there until it has started: a refused connection is waited for
    places: int = 0  # exchanges that it may have at the same time; 0: as many as its tier lets through
    admission: Admission = field(init=False)
    breaker: Breaker = field(default_factory=Breaker)
    meter: Meter = field(default_factory=Meter)
    transitions: deque[Transition] = field(default_factory=lambda: deque(maxlen=MOST_TRANSITIONS))  # newest last
    looked_at: float = 0.0  # UNIX time
    identity: Identity | None = None
    identified_at: float = 0.0  # time.monotonic
    told: dict[str, object] = field(default_factory=dict)  # the last finding that became a record
    caught: Decision | None = None  # what a real answer gave away: no probe takes it back, only new settings do
    fault: UpstreamFault | None = None  # of the last look
    prober: asyncio.Task[None] | None = None
    looking: bool = False
    dormant: bool = False  # a program of ours that does not run, or gives way: nobody looks at it
    closed: bool = False  # no longer listed: nothing may look at it again, whoever still holds it
    look: asyncio.Event = field(default_factory=asyncio.Event)  # a look is wanted that has not begun
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.admission = Admission(self.places or UNLIMITED, UNLIMITED)  # who waits has a place of the tier's

    @property
    def given(self) -> object:
        """What the settings say of it."""
        return self.pool.rule, self.pool.material, self.credential, self.asked, self.may_sleep, self.places

    @property
    def watched(self) -> bool:
        """Is it looked at, or (a rented one) would it be if it were asked for? All are, once `start` was called."""
        return self.prober is not None or self.pool.rule.reach is Reach.RENTED

    @property
    def absent(self) -> UpstreamFault | None:
        """Why waiting for it is in vain: the last look got no connection, and it is none that is still starting."""
        if self.may_sleep or self.look.is_set() or self.looking or self.fault is None:
            return None
        return self.fault if self.fault.cause in CONNECT_CAUSES else None

    @property
    def found(self) -> str:
        """Beside the state's reason, what the last look found, for the operator alone: an address that was refused."""
        return self.fault.found if self.fault is not None else ""

    @property
    def refusal(self) -> Decision | None:
        """Why it gets no prompt, whatever its state is."""
        if self.caught is not None:
            return self.caught
        decision = self.identity.decision if self.identity is not None else None
        return None if decision is None or decision.allowed else decision

    @property
    def plain(self) -> bool:
        """Nothing is known of it that an operator should be told."""
        identity = self.identity
        return self.caught is None and (identity is None or (identity.decision.allowed and not identity.notes))

    def become(self, state: UpstreamState) -> None:
        self.transitions.append(Transition(state.since, self.state.state, state.state, state.reason))
        self.state = state
        self.changed.set()

    def load(self) -> UpstreamLoad:
        """For the workers."""
        return self.meter.load(self.state.name, self.places)

    def report(self) -> UpstreamReport:
        """For the operator."""
        load = self.load()
        return UpstreamReport(
            name=self.state.name,
            state=self.state.state,
            reason=self.state.reason,
            found=self.found,
            since=self.state.since,
            reach=self.pool.rule.reach.word,
            backend=str(self.pool.rule.backend),
            software=str(self.finding()["software"]),
            in_flight=load.in_flight,
            places=self.places,
            first_byte_ms=load.first_byte_ms,
            failing=load.failing,
            failures_in_a_row=self.breaker.in_a_row,
            rest_until=time.time() + rests_s if (rests_s := load.rest_until - time.monotonic()) > 0 else 0.0,
            looked_at=self.looked_at,
            certificate_ends=self.pool.certificate_ends,
            transitions=tuple(self.transitions),
        )

    def check(self) -> None:
        """UpstreamFault(IDENTITY) when it may not be sent prompts."""
        refusal = self.refusal
        if refusal is not None:
            raise UpstreamFault(Cause.IDENTITY, f"{refusal.reason}: {refusal.detail}")

    def praise(self, plain: str) -> str:
        """Why it is ready: `plain`, or what the operator should know of it besides."""
        notes = self.identity.notes if self.identity is not None else ()
        return "; ".join(notes) or plain

    def news(self) -> dict[str, object] | None:
        """The finding, if it is another than the last that was told, or from another address."""
        finding = self.finding()
        if finding == self.told:
            return None
        self.told = finding
        return finding

    def finding(self) -> dict[str, object]:
        """For the ledger and the log: what answers there, and what is wrong with it."""
        refusal, found = self.refusal, self.identity
        software = f"{found.software} {found.version}".strip() if found is not None else ""
        return {
            "upstream": self.state.name,
            "state": "accepted" if refusal is None else "refused",
            "backend": str(self.pool.rule.backend),
            "software": software or "unknown",
            "reason": self.praise("allowed") if refusal is None else f"{refusal.reason}: {refusal.detail}",
            **({"address": self.pool.asked} if self.pool.asked else {}),
        }
