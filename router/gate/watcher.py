"""Looking at upstreams: can each serve, and what is it? One look at a time for each, shared by all who ask.

A look never carries a prompt. Nothing that fails is given up: the pauses grow to seconds, and stay there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from policies import Reach, Reason, UpstreamRule
from router.channel.messages import Cause
from router.channel.states import State
from router.gate.connection import UpstreamFault
from router.gate.identity import identify
from router.gate.probe import probe
from router.gate.upstream import CONNECT_CAUSES, Upstream
from router.unforeseen import described, heard

LOOKS_APART_S = 0.1  # however many ask for a look
LOOK_S = 4.0  # for an answer, of one that does not serve: a look that hangs must not hide that it is back
LOOK_AGAIN_S = 5.0  # at what was ready and is ours
ENGINE_AGAIN_S = 0.15  # our own child: looking costs nothing, and somebody waits for it
PROBE_AGAIN_S = (0.1, 0.2, 0.4, 0.8, 1.5, 2.5, 5.0)  # the last one repeats: no state is for ever
IDENTIFY_AGAIN_S = 60.0
Become = Callable[[Upstream, State, str], None]
Note = Callable[[dict[str, object]], None]


class Watcher:
    """Runs the looks. What is found is told by `become` and `note`."""

    def __init__(self, become: Become, note: Note) -> None:
        self._become = become
        self._note = note
        self._mistakes: set[str] = set()

    def touch(self, upstream: Upstream) -> None:
        """Look now: the prober is started, or its sleep is cut short. One that was taken off the list: never."""
        if upstream.closed or upstream.dormant:
            return
        upstream.look.set()
        if upstream.prober is None or upstream.prober.done():
            upstream.prober = asyncio.create_task(self._prober(upstream), name=f"probe {upstream.state.name}")
            upstream.prober.add_done_callback(heard)

    def until_ready(self, upstream: Upstream) -> None:
        """Look until it is ready."""
        if upstream.state.state is State.COLD and not upstream.dormant:
            self._become(upstream, State.WARMING, "asked")
        self.touch(upstream)

    async def probed(self, upstream: Upstream) -> None:
        """Wait for a look that began after now and found the upstream ready."""
        while upstream.look.is_set() or upstream.state.state is not State.READY:
            upstream.changed.clear()
            await upstream.changed.wait()

    async def looked(self, upstream: Upstream) -> None:
        """Wait for a look that began after now, whatever it found."""
        while upstream.look.is_set() or upstream.looking:
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
            held_s = upstream.breaker.out_until - time.monotonic() if upstream.fault is None else 0.0
            pause_s = LOOK_AGAIN_S if found else held_s or _pause_s(upstream.pool.rule, attempt)
            await asyncio.sleep(LOOKS_APART_S)
            try:
                async with asyncio.timeout(max(0.0, pause_s - LOOKS_APART_S)):
                    await upstream.look.wait()
            except TimeoutError:
                continue

    async def _look(self, upstream: Upstream) -> bool:
        upstream.look.clear()
        upstream.looking = True
        try:
            await self._asked(upstream)
        except UpstreamFault as fault:
            upstream.fault = fault
            starting = upstream.pool.rule.managed and fault.cause in CONNECT_CAUSES  # it runs, or we would not look
            state = State.WARMING if fault.cause is Cause.COLD or starting else State.FAILING
            self._become(upstream, state, why(fault))
        else:
            upstream.fault = None
            self._let_back(upstream)
        finally:
            upstream.looking = False
            upstream.looked_at = time.time()
            upstream.changed.set()
        return upstream.state.state is State.READY

    def _let_back(self, upstream: Upstream) -> None:
        if not upstream.breaker.may_return(time.monotonic()):
            return  # its probes are better than its answers: not yet
        if upstream.state.state is not State.READY:
            upstream.breaker.returned()
        self._become(upstream, State.READY, upstream.praise("on trial" if upstream.breaker.on_trial else "probed"))

    async def _asked(self, upstream: Upstream) -> None:
        """UpstreamFault, whatever went wrong: one that is not looked at any more would stay as it is for ever."""
        try:
            await self._ask(upstream)
        except UpstreamFault:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is said, and the looking goes on
            if (place := described(error)) not in self._mistakes:  # each is said once
                self._mistakes.add(place)
                told = {"message": "a mistake in looking at an upstream", "exception": error}
                asyncio.get_running_loop().call_exception_handler(told)
            raise UpstreamFault(Cause.MISTAKE, "looking at it failed by a mistake of ours: see the log") from None

    async def _ask(self, upstream: Upstream) -> None:
        """Can it serve, and what is it? One that only refuses the first question is asked the second all the same."""
        try:
            serving = upstream.state.state is State.READY
            await probe(upstream.pool, upstream.credential, None if serving else LOOK_S)
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
            upstream.identity = found
            if (news := upstream.news()) is not None:
                self._note(news)
        upstream.check()


def why(fault: UpstreamFault) -> str:
    """Why an upstream is not ready, for people."""
    if fault.cause is Cause.IDENTITY:
        return fault.detail
    silent = fault.cause is Cause.DNS and fault.detail != Reason.HOST_UNRESOLVED  # it is the resolver's failure
    told = fault.detail if silent else _ADVICE.get(fault.cause, fault.detail)
    return f"{fault.cause}: {told}" if told else str(fault.cause)


_ADVICE = {
    Cause.DNS: "its name has no address",
    Cause.REFUSED: "nobody listens at its address and port",
    Cause.CONNECT_TIMEOUT: "its address does not answer",
    Cause.TLS: "no TLS connection: see its certificate, ca_file and tls_pin",
    Cause.CREDENTIAL: "it refuses our credential: see its key_file",
}


def _pause_s(rule: UpstreamRule, attempt: int) -> float:
    return ENGINE_AGAIN_S if rule.engine is not None else PROBE_AGAIN_S[min(attempt, len(PROBE_AGAIN_S)) - 1]
