"""The one owner of upstream states. Others ask for outcomes (`ensure_ready`) and read copies of states."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from policies import Reach
from router.channel.messages import Cause
from router.channel.states import State, UpstreamState
from router.gate.connection import UpstreamFault
from router.gate.dial import Dialler
from router.gate.pool import Pool
from router.gate.probe import probe
from router.settings.snapshot import Snapshot

FAILURES_TO_EJECT = 3  # answers of 5xx in a row; a failed connect ejects at once
LOOKS_APART_S = 0.1  # however many ask for a look
LOOK_AGAIN_S = 5.0  # at what was ready and is ours
PROBE_AGAIN_S = (0.1, 0.2, 0.4, 0.8, 1.5, 2.5, 5.0)  # the last one repeats: no state is for ever
CONNECT_CAUSES = frozenset({Cause.DNS, Cause.REFUSED, Cause.TLS, Cause.CONNECT_TIMEOUT})


@dataclass(slots=True)
class _Upstream:
    pool: Pool
    credential: str
    state: UpstreamState
    failures: int = 0
    prober: asyncio.Task[None] | None = None
    look: asyncio.Event = field(default_factory=asyncio.Event)  # a look is wanted that has not begun
    changed: asyncio.Event = field(default_factory=asyncio.Event)


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
        before: Upstreams | None = None,
    ) -> None:
        self._tell = tell
        self._all: dict[str, _Upstream] = {}
        for name, rule in snapshot.policy.upstreams.items():
            kept = before._all.get(name) if before is not None else None  # noqa: SLF001 - the same class
            credential, tls = snapshot.credentials.get(name, ""), snapshot.tls.get(name)
            if kept is not None and (kept.pool.rule, kept.credential, kept.pool.material) == (rule, credential, tls):
                self._all[name] = kept  # unchanged: it keeps its connections and its state
            else:
                self._all[name] = _Upstream(Pool(rule, dialler, tls), credential, UpstreamState(name, State.COLD))

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
        self._become(upstream, State.READY, "answered")

    def failed(self, name: str, fault: UpstreamFault) -> None:
        """Count a failure that is the upstream's own; a client that left never is."""
        upstream = self._all[name]
        upstream.failures += 1
        if fault.cause is Cause.COLD:
            self._become(upstream, State.WARMING, fault.detail)
        elif fault.cause in CONNECT_CAUSES or upstream.failures >= FAILURES_TO_EJECT:
            self._become(upstream, State.FAILING, str(fault.cause))
        else:
            return
        self._probe_until_ready(upstream)

    async def ready(self, name: str) -> None:
        """Wait until the upstream is ready, however long; the caller sets the limit. A rented one is asked at once."""
        upstream = self._all[name]
        if upstream.state.state is State.COLD:
            return  # never asked: the request itself wakes it as well as a probe would
        self._probe_until_ready(upstream)
        while upstream.state.state is not State.READY:
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
            if upstream.prober is not None:
                upstream.prober.cancel()
            upstream.pool.close()

    def _become(self, upstream: _Upstream, state: State, reason: str) -> None:
        if (upstream.state.state, upstream.state.reason) == (state, reason):
            return
        if upstream.state.state is state is State.READY:
            return
        upstream.state = UpstreamState(upstream.state.name, state, reason, time.time())
        upstream.changed.set()
        self._tell()

    def _probe_until_ready(self, upstream: _Upstream) -> None:
        if upstream.state.state is State.COLD:
            self._become(upstream, State.WARMING, "asked")
        self._touch(upstream)

    def _touch(self, upstream: _Upstream) -> None:
        """Let the prober look now: it is started, or its sleep is cut short."""
        upstream.look.set()
        if upstream.prober is None or upstream.prober.done():
            upstream.prober = asyncio.create_task(self._prober(upstream), name=f"probe {upstream.state.name}")

    async def _probed(self, upstream: _Upstream) -> None:
        """Wait for a look that began after now and found the upstream ready."""
        while upstream.look.is_set() or upstream.state.state is not State.READY:
            upstream.changed.clear()
            await upstream.changed.wait()

    async def _prober(self, upstream: _Upstream) -> None:
        """Look until it is ready; then, unless looking would wake a rented machine, look again now and then."""
        attempt = 0
        while True:
            found = await self._look(upstream)
            if found and upstream.pool.rule.reach is Reach.RENTED and not upstream.look.is_set():
                return
            attempt = 0 if found else attempt + 1
            pause_s = LOOK_AGAIN_S if found else PROBE_AGAIN_S[min(attempt, len(PROBE_AGAIN_S)) - 1]
            await asyncio.sleep(LOOKS_APART_S)
            try:
                async with asyncio.timeout(pause_s - LOOKS_APART_S):
                    await upstream.look.wait()
            except TimeoutError:
                continue

    async def _look(self, upstream: _Upstream) -> bool:
        upstream.look.clear()
        try:
            await probe(upstream.pool, upstream.credential)
        except UpstreamFault as fault:
            state = State.WARMING if fault.cause is Cause.COLD else State.FAILING
            self._become(upstream, state, str(fault.cause))
        else:
            upstream.failures = 0
            self._become(upstream, State.READY, "probed")
        upstream.changed.set()
        return upstream.state.state is State.READY
