"""The one owner of upstream states. Others wait for an outcome (`ready`, `identified`, `warm`) and read copies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec

from policies import Decision, Reach, UpstreamRule, asked_by_upstream
from router.channel.messages import Cause
from router.channel.states import State, UpstreamState
from router.gate.connection import UpstreamFault
from router.gate.dial import Dialler
from router.gate.identity import identify
from router.gate.pool import Pool
from router.gate.probe import probe
from router.gate.upstream import CONNECT_CAUSES, Upstream
from router.settings.snapshot import Snapshot

FAILURES_TO_EJECT = 3  # answers of 5xx in a row; a failed connect ejects at once
LOOKS_APART_S = 0.1  # however many ask for a look
LOOK_AGAIN_S = 5.0  # at what was ready and is ours
ENGINE_AGAIN_S = 0.15  # our own child: looking costs nothing, and somebody waits for it
PROBE_AGAIN_S = (0.1, 0.2, 0.4, 0.8, 1.5, 2.5, 5.0)  # the last one repeats: no state is for ever
IDENTIFY_AGAIN_S = 60.0
STALE_S = 600.0  # of a rented upstream, which is not looked at while nobody uses it
PLAIN = frozenset({"answered", "probed"})
Note = Callable[[dict[str, object]], None]


class Warmed(msgspec.Struct, frozen=True):
    """One row of a warm-up's answer."""

    upstream: str
    tier: str
    state: State
    was_cold: bool
    ms: int
    reason: str = ""


class Upstreams:
    """States, pools and probers of all listed upstreams."""

    def __init__(
        self,
        snapshot: Snapshot,
        dialler: Dialler,
        tell: Callable[[], None],
        note: Note,
        before: Upstreams | None = None,
    ) -> None:
        self._tell = tell
        self._note = note
        self._all: dict[str, Upstream] = {}
        asked_by = asked_by_upstream(snapshot.policy)
        for name, rule in snapshot.policy.upstreams.items():
            kept = before._all.get(name) if before is not None else None  # noqa: SLF001 - the same class
            may_sleep = rule.engine is not None or name in snapshot.may_sleep
            pool = Pool(rule, dialler, snapshot.tls.get(name))
            new = Upstream(
                pool, snapshot.credentials.get(name, ""), UpstreamState(name, State.COLD), asked_by[name], may_sleep
            )
            # unchanged: it keeps its connections, its state and what it was found to be
            self._all[name] = kept if kept is not None and kept.given == new.given else new

    def start(self) -> None:
        """Probe what is ours. A rented machine is left asleep until it is asked for: a probe would wake and bill it."""
        for upstream in self._all.values():
            if upstream.pool.rule.reach is not Reach.RENTED and upstream.state.state is State.COLD:
                self._probe_until_ready(upstream)

    def states(self) -> bytes:
        """All states as JSON, for the workers."""
        return msgspec.json.encode([upstream.state for upstream in self._all.values()])

    def pool(self, name: str) -> Pool:
        return self._all[name].pool

    def credential(self, name: str) -> str:
        return self._all[name].credential

    def is_ready(self, name: str) -> bool:
        return self._all[name].state.state is State.READY

    def succeeded(self, name: str) -> None:
        upstream = self._all[name]
        upstream.failures = 0
        if upstream.refusal is None:
            self._become(upstream, State.READY, upstream.praise("answered"))

    def failed(self, name: str, fault: UpstreamFault) -> None:
        """Count a failure that is the upstream's own; a client that left never is."""
        upstream = self._all[name]
        upstream.failures += 1
        if fault.cause is Cause.IDENTITY:
            return
        if fault.cause is Cause.COLD:
            self._become(upstream, State.WARMING, _why(fault))
        elif fault.cause in CONNECT_CAUSES or upstream.failures >= FAILURES_TO_EJECT:
            self._become(upstream, State.FAILING, _why(fault))
        else:
            return
        self._probe_until_ready(upstream)

    async def identified(self, name: str, wait_s: float) -> None:
        """Returns once it is known what answers there; UpstreamFault when that gets no prompt, or is not there.

        An upstream that has no word about itself may serve: its list of models is no part of the bargain.
        """
        upstream = self._all[name]
        if upstream.identity is None and upstream.watched and upstream.pool.rule.destination is not None:
            self._probe_until_ready(upstream)
            try:
                async with asyncio.timeout(wait_s):
                    await self._looked(upstream)
            except TimeoutError:
                raise UpstreamFault(Cause.COLD, "silent about what it is") from None
            if upstream.fault is not None and upstream.fault.cause is not Cause.BAD_ANSWER:
                raise upstream.fault
        elif upstream.identity is not None and time.monotonic() - upstream.identified_at > STALE_S:
            self._touch(upstream)  # a rented one, which is awake now anyway
        upstream.check()

    def caught(self, name: str, decision: Decision) -> None:
        """A real answer gave away what this upstream is: it gets no more requests until the settings change."""
        upstream = self._all[name]
        if upstream.caught is None:
            upstream.caught = decision
            self._become(upstream, State.FAILING, f"{decision.reason}: {decision.detail}")
            self._note(upstream.finding())

    async def ready(self, name: str) -> None:
        """Wait until the upstream is ready, however long; the caller sets the limit.

        UpstreamFault: it may not serve, or there is nothing to wait for (nobody listens at its address).
        """
        upstream = self._all[name]
        if not upstream.watched:
            return
        self._probe_until_ready(upstream)
        while upstream.state.state is not State.READY:
            upstream.check()
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
            self._probe_until_ready(upstream)
        else:
            self._touch(upstream)
        try:
            async with asyncio.timeout(wait_s):
                await self._probed(upstream)
        except TimeoutError:
            pass
        state = upstream.state
        return Warmed(name, tier, state.state, was_cold, round((time.monotonic() - began) * 1000), state.reason)

    async def keep_warm(self, names: Sequence[str], every_s: float) -> None:
        """Touch these upstreams now and every so often, for as long as the task lives."""
        while True:
            for name in names:
                self._touch(self._all[name])
            await asyncio.sleep(every_s)

    def close(self, heir: Upstreams | None = None) -> None:
        """Stop probing and close kept connections, but for those that `heir` has taken over."""
        for name, upstream in self._all.items():
            if heir is not None and heir._all.get(name) is upstream:  # noqa: SLF001 - the same class
                continue
            upstream.closed = True
            if upstream.prober is not None:
                upstream.prober.cancel()
            upstream.pool.close()

    def _become(self, upstream: Upstream, state: State, reason: str) -> None:
        if (upstream.state.state, upstream.state.reason) == (state, reason):
            return
        if upstream.state.state is state is State.READY and {reason, upstream.state.reason} <= PLAIN:
            return
        upstream.state = UpstreamState(upstream.state.name, state, reason, time.time())
        upstream.changed.set()
        self._tell()

    def _probe_until_ready(self, upstream: Upstream) -> None:
        if upstream.state.state is State.COLD:
            self._become(upstream, State.WARMING, "asked")
        self._touch(upstream)

    def _touch(self, upstream: Upstream) -> None:
        """Let the prober look now: it is started, or its sleep is cut short. One that was taken off the list: never."""
        if upstream.closed:
            return
        upstream.look.set()
        if upstream.prober is None or upstream.prober.done():
            upstream.prober = asyncio.create_task(self._prober(upstream), name=f"probe {upstream.state.name}")

    async def _probed(self, upstream: Upstream) -> None:
        """Wait for a look that began after now and found the upstream ready."""
        while upstream.look.is_set() or upstream.state.state is not State.READY:
            upstream.changed.clear()
            await upstream.changed.wait()

    async def _prober(self, upstream: Upstream) -> None:
        """Look until it is ready; then, unless looking would wake a rented machine, look again now and then."""
        attempt = 0
        while True:
            found = await self._look(upstream)
            if found and upstream.pool.rule.reach is Reach.RENTED and not upstream.look.is_set():
                return
            attempt = 0 if found else attempt + 1
            pause_s = LOOK_AGAIN_S if found else _pause_s(upstream.pool.rule, attempt)
            await asyncio.sleep(LOOKS_APART_S)
            try:
                async with asyncio.timeout(pause_s - LOOKS_APART_S):
                    await upstream.look.wait()
            except TimeoutError:
                continue

    async def _looked(self, upstream: Upstream) -> None:
        """Wait for a look that began after now, whatever it found."""
        while upstream.look.is_set() or upstream.looking:
            upstream.changed.clear()
            await upstream.changed.wait()

    async def _look(self, upstream: Upstream) -> bool:
        upstream.look.clear()
        upstream.looking = True
        try:
            await self._ask(upstream)
        except UpstreamFault as fault:
            upstream.fault = fault
            state = State.WARMING if fault.cause is Cause.COLD else State.FAILING
            self._become(upstream, state, _why(fault))
        else:
            upstream.fault = None
            upstream.failures = 0
            self._become(upstream, State.READY, upstream.praise("probed"))
        finally:
            upstream.looking = False
            upstream.changed.set()
        return upstream.state.state is State.READY

    async def _ask(self, upstream: Upstream) -> None:
        """Can it serve, and what is it? One that only refuses the first question is asked the second all the same."""
        try:
            await probe(upstream.pool, upstream.credential)
        except UpstreamFault as fault:
            if fault.cause is Cause.BAD_ANSWER:
                await self._identify(upstream)
            raise
        await self._identify(upstream)

    async def _identify(self, upstream: Upstream) -> None:
        """Ask again now and then, and at each look while it is refused. UpstreamFault(IDENTITY): it is."""
        rule = upstream.pool.rule
        if rule.destination is None:
            return  # an engine of ours, started by us
        age_s = time.monotonic() - upstream.identified_at
        if upstream.identity is None or age_s > IDENTIFY_AGAIN_S or not upstream.identity.decision.allowed:
            found = await identify(upstream.pool, upstream.credential, upstream.asked)
            upstream.identified_at = time.monotonic()
            if found != upstream.identity:
                upstream.identity = found
                self._note(upstream.finding())
        upstream.check()


def _why(fault: UpstreamFault) -> str:
    """Why it is not ready, for people."""
    if fault.cause is Cause.IDENTITY:
        return fault.detail
    told = _ADVICE.get(fault.cause, fault.detail if fault.cause is Cause.COLD else "")
    return f"{fault.cause}: {told}" if told else str(fault.cause)


_ADVICE = {
    Cause.DNS: "its name has no address",
    Cause.REFUSED: "nobody listens at its address and port",
    Cause.CONNECT_TIMEOUT: "its address does not answer",
    Cause.TLS: "no TLS connection: see its certificate, ca_file and tls_pin",
}


def _pause_s(rule: UpstreamRule, attempt: int) -> float:
    return ENGINE_AGAIN_S if rule.engine is not None else PROBE_AGAIN_S[min(attempt, len(PROBE_AGAIN_S)) - 1]
