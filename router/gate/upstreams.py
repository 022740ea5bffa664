"""The one owner of upstream states. Others wait for an outcome (`ready`, `identified`, `warm`) and read copies."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from policies import Decision, Reach, asked_by_upstream
from router.channel.messages import Cause
from router.channel.programs import ProgramState
from router.channel.states import State, UpstreamReport, UpstreamState, Warmed
from router.gate.admission import AT_ONCE, Admitted
from router.gate.breaker import Breaker
from router.gate.connection import UpstreamFault
from router.gate.dial import Dialler
from router.gate.doors import FAILED, RUNNING
from router.gate.pool import Pool
from router.gate.upstream import CONNECT_CAUSES, Upstream
from router.gate.watcher import Note, Watcher, why
from router.settings.snapshot import Snapshot

STALE_S = 600.0  # of a rented upstream, which is not looked at while nobody uses it
PLAIN = frozenset({"answered", "probed"})
_READY = State.READY  # found in its class, it would cost three calls
Changed = Callable[[str, State, UpstreamState, str], None]


class Ears(Struct, frozen=True):
    """Who is told. `changed`: a state did (from what, what was found); `rests`: one said 429; `note`: the ledger."""

    changed: Changed
    rests: Callable[[], None]
    note: Note
    wanted: Callable[[str], None] = lambda _: None  # a program that does not run is asked for, and not waited for


class Upstreams:
    """States, loads, pools and probers of all listed upstreams."""

    def __init__(self, snapshot: Snapshot, dialler: Dialler, ears: Ears, before: Upstreams | None = None) -> None:
        self._ears = ears
        self._watcher = Watcher(self._become, ears.note)
        self._all: dict[str, Upstream] = {}
        asked_by = asked_by_upstream(snapshot.policy)
        for name, rule in snapshot.policy.upstreams.items():
            kept = before._all.get(name) if before is not None else None  # noqa: SLF001 - the same class
            new = Upstream(
                Pool(rule, dialler, snapshot.tls.get(name)),
                snapshot.credentials.get(name, ""),
                UpstreamState(name, State.COLD),
                asked_by[name],
                may_sleep=rule.engine is not None or rule.managed or name in snapshot.may_sleep,
                places=snapshot.places.get(name, 0),
                dormant=rule.managed,
            )
            # unchanged: it keeps its connections, its state and what it was found to be
            self._all[name] = kept if kept is not None and kept.given == new.given else new

    def start(self) -> None:
        """Probe what is ours. A rented machine is left asleep until it is asked for: a probe would wake and bill it."""
        for upstream in self._all.values():
            if upstream.pool.rule.reach is not Reach.RENTED and upstream.state.state is State.COLD:
                self._watcher.until_ready(upstream)

    def program(self, name: str, state: ProgramState) -> None:
        """What the supervisor says of the program behind an upstream. Only one that runs is looked at."""
        upstream = self._all.get(name)
        if upstream is None or not upstream.pool.rule.managed:
            return
        upstream.dormant = state.phase != RUNNING
        if not upstream.dormant:
            upstream.breaker = Breaker()  # what the last process did is over
            self._become(upstream, State.WARMING, state.reason)
            self._watcher.until_ready(upstream)
            return
        if upstream.prober is not None:
            upstream.prober.cancel()
        upstream.look.clear()  # nobody will
        upstream.changed.set()
        upstream.pool.flush()
        failed = state.phase == FAILED
        self._become(upstream, State.FAILING if failed else State.COLD, state.reason or state.phase)

    # --- what is known ---

    def states(self) -> bytes:
        """All states as JSON, for the workers."""
        return msgspec.json.encode([upstream.state for upstream in self._all.values()])

    def loads(self) -> bytes:
        """All loads as JSON, for the workers."""
        return msgspec.json.encode([upstream.load() for upstream in self._all.values()])

    def reports(self, name: str = "") -> list[UpstreamReport]:
        """For the operator: all that is known of this upstream, or of all."""
        return [upstream.report() for known, upstream in self._all.items() if name in ("", known)]

    def pool(self, name: str) -> Pool:
        return self._all[name].pool

    def credential(self, name: str) -> str:
        return self._all[name].credential

    def is_ready(self, name: str) -> bool:
        return self._all[name].state.state is State.READY

    def serves(self, name: str) -> bool:
        """Is it ready, and known? UpstreamFault as `known`."""
        return self._all[name].state.state is _READY and self.known(name)

    # --- what exchanges tell ---

    def take(self, name: str) -> bool:
        """As `enter`, if the upstream has a place for it now."""
        upstream = self._all[name]
        if upstream.places and not upstream.admission.take():
            return False
        upstream.meter.in_flight += 1
        return True

    async def enter(self, name: str, caller: str, timeout_s: float) -> Admitted:
        """An exchange begins, once the upstream has a place for it; UpstreamFault(BUSY) when that takes too long."""
        upstream = self._all[name]
        upstream.meter.in_flight += 1
        if not upstream.places:
            return AT_ONCE
        try:
            return await upstream.admission.enter(caller, timeout_s)
        except BaseException:
            upstream.meter.in_flight -= 1
            raise

    def leave(self, name: str) -> None:
        """An exchange that entered is over, whatever became of it."""
        upstream = self._all[name]
        if upstream.places:
            upstream.admission.leave()
        upstream.meter.in_flight -= 1

    def succeeded(self, name: str, first_byte_s: float = 0.0) -> None:
        upstream = self._all[name]
        if upstream.dormant:
            return
        upstream.breaker.succeeded(time.monotonic())
        upstream.meter.succeeded(first_byte_s)
        if upstream.state.state is _READY and upstream.state.reason in PLAIN and upstream.plain:
            return  # nothing could be told that is not known
        if upstream.refusal is None:
            self._become(upstream, State.READY, upstream.praise("answered"))

    def failed(self, name: str, fault: UpstreamFault) -> None:
        """Count a failure that is the upstream's own; a client that left never is."""
        upstream = self._all[name]
        if fault.cause is Cause.IDENTITY or upstream.dormant:
            return
        if fault.cause is Cause.BUSY:
            upstream.meter.rest_until = time.monotonic() + fault.retry_after_s
            self._ears.rests()
            return
        upstream.meter.failed()
        if fault.cause is Cause.COLD:
            self._become(upstream, State.WARMING, why(fault))
        elif upstream.state.state is State.FAILING or not self._ejected(upstream, fault):
            return  # already out: what had begun before tells nothing new
        self._watcher.until_ready(upstream)

    def _ejected(self, upstream: Upstream, fault: UpstreamFault) -> bool:
        connecting = fault.cause in CONNECT_CAUSES
        reason = upstream.breaker.failed(time.monotonic(), connecting=connecting)
        if fault.cause is Cause.CREDENTIAL:
            reason = reason or "refused"  # a mistake in the settings: no second request need fail by it
            upstream.breaker.relapses = max(upstream.breaker.relapses, 1)
        if reason:
            told = why(fault)
            self._become(upstream, State.FAILING, told if connecting else f"{told} ({reason})")
        return bool(reason)

    def caught(self, name: str, decision: Decision) -> None:
        """A real answer gave away what this upstream is: it gets no more requests until the settings change."""
        upstream = self._all[name]
        if upstream.caught is None:
            upstream.caught = decision
            self._become(upstream, State.FAILING, f"{decision.reason}: {decision.detail}")
            if (news := upstream.news()) is not None:
                self._ears.note(news)

    # --- waiting ---

    def known(self, name: str) -> bool:
        """Is it known what answers there? UpstreamFault(IDENTITY) when that gets no prompt."""
        upstream = self._all[name]
        if upstream.identity is None:
            if upstream.watched and upstream.pool.rule.destination is not None:
                return False
        elif time.monotonic() - upstream.identified_at > STALE_S:
            self._watcher.touch(upstream)  # a rented one, which is awake now anyway
        if not upstream.plain:
            upstream.check()
        return True

    async def identified(self, name: str, wait_s: float) -> None:
        """Returns once it is known what answers there; UpstreamFault when that gets no prompt, or is not there.

        An upstream that has no word about itself may serve: its list of models is no part of the bargain.
        """
        if self.known(name):
            return
        upstream = self._all[name]
        self._watcher.until_ready(upstream)
        try:
            async with asyncio.timeout(wait_s):
                await self._watcher.looked(upstream)
        except TimeoutError:
            raise UpstreamFault(Cause.COLD, "silent about what it is") from None
        if upstream.fault is not None and upstream.fault.cause is not Cause.BAD_ANSWER:
            raise upstream.fault
        upstream.check()

    async def ready(self, name: str) -> None:
        """Wait until the upstream is ready, however long; the caller sets the limit.

        UpstreamFault: it may not serve, or there is nothing to wait for (nobody listens at its address).
        """
        upstream = self._all[name]
        if not upstream.watched:
            return
        self._watcher.until_ready(upstream)
        while upstream.state.state is not State.READY:
            upstream.check()
            if upstream.dormant:
                raise UpstreamFault(Cause.COLD, upstream.state.reason)
            if (absent := upstream.absent) is not None:
                raise absent
            upstream.changed.clear()
            await upstream.changed.wait()

    async def warm(self, name: str, tier: str, wait_s: float) -> Warmed:
        """Touch the upstream (a host that sleeps when idle stays awake) and wait until it is ready or the time is over.

        The probing is one for all who ask, and goes on without us.
        """
        upstream = self._all[name]
        was_cold = upstream.state.state is not State.READY
        began = time.monotonic()
        if was_cold:
            self._rouse(upstream)
            self._watcher.until_ready(upstream)
        else:
            self._watcher.touch(upstream)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._watcher.probed(upstream)
        state = upstream.state
        return Warmed(name, tier, state.state, was_cold, round((time.monotonic() - began) * 1000), state.reason)

    async def look(self, name: str, wait_s: float) -> None:
        """Probe it now, for the operator, and wait for what that finds, at most so long. Any hold is over."""
        upstream = self._all[name]
        upstream.breaker.out_until = 0.0
        self._watcher.touch(upstream)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._watcher.looked(upstream)

    async def keep_warm(self, names: Sequence[str], every_s: float) -> None:
        """Touch these upstreams now and every so often, for as long as the task lives."""
        while True:
            for name in names:
                self._rouse(self._all[name])
                self._watcher.touch(self._all[name])
            await asyncio.sleep(every_s)

    def _rouse(self, upstream: Upstream) -> None:
        if upstream.dormant:
            self._ears.wanted(upstream.state.name)

    def close(self, heir: Upstreams | None = None) -> None:
        """Stop probing and close kept connections, but for those that `heir` has taken over."""
        for name, upstream in self._all.items():
            if heir is not None and heir._all.get(name) is upstream:  # noqa: SLF001 - the same class
                continue
            upstream.closed = True
            if upstream.prober is not None:
                upstream.prober.cancel()
            upstream.pool.retire()

    def _become(self, upstream: Upstream, state: State, reason: str) -> None:
        before = upstream.state
        if (before.state, before.reason) == (state, reason):
            return
        if before.state is state is State.READY and {reason, before.reason} <= PLAIN:
            return
        upstream.become(UpstreamState(before.name, state, reason, time.time()))
        self._ears.changed(before.name, before.state, upstream.state, upstream.found)
