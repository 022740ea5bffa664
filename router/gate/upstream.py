"""What is known of one upstream. `Upstreams` owns it: nobody else changes a field."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from policies import Decision, Identity, Reach
from router.channel.messages import Cause
from router.channel.states import UpstreamState
from router.gate.connection import UpstreamFault
from router.gate.pool import Pool

CONNECT_CAUSES = frozenset({Cause.DNS, Cause.REFUSED, Cause.TLS, Cause.CONNECT_TIMEOUT})


@dataclass(slots=True)
class Upstream:
    """Its connections, its state, what it was found to be, and the task that looks at it."""

    pool: Pool
    credential: str
    state: UpstreamState
    asked: frozenset[str]  # the models that it may be asked for
    may_sleep: bool = False  # nothing listens there until it has started: a refused connection is waited for
    failures: int = 0
    identity: Identity | None = None
    identified_at: float = 0.0  # time.monotonic
    caught: Decision | None = None  # what a real answer gave away: no probe takes it back, only new settings do
    fault: UpstreamFault | None = None  # of the last look
    prober: asyncio.Task[None] | None = None
    looking: bool = False
    closed: bool = False  # no longer listed: nothing may look at it again, whoever still holds it
    look: asyncio.Event = field(default_factory=asyncio.Event)  # a look is wanted that has not begun
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def given(self) -> object:
        """What the settings say of it."""
        return self.pool.rule, self.pool.material, self.credential, self.asked, self.may_sleep

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
    def refusal(self) -> Decision | None:
        """Why it gets no prompt, whatever its state is."""
        if self.caught is not None:
            return self.caught
        decision = self.identity.decision if self.identity is not None else None
        return None if decision is None or decision.allowed else decision

    def check(self) -> None:
        """UpstreamFault(IDENTITY) when it may not be sent prompts."""
        refusal = self.refusal
        if refusal is not None:
            raise UpstreamFault(Cause.IDENTITY, f"{refusal.reason}: {refusal.detail}")

    def praise(self, plain: str) -> str:
        """Why it is ready: `plain`, or what the operator should know of it besides."""
        notes = self.identity.notes if self.identity is not None else ()
        return "; ".join(notes) or plain

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
        }
