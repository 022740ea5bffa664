"""Where a question leads, by its names alone: looked up once, and remembered for as long as the world is in force."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from policies import Decision, Reach, RequestFacts
from router.audit import Prepared
from router.channel.messages import Open
from router.gate.admission import Admission
from router.gate.pool import Pool
from router.gate.records import decisions
from router.gate.request import heads
from router.gate.upstreams import Upstreams
from router.settings.snapshot import Snapshot, Timeouts
from router.verdicts import Verdicts

MOST = 4096  # remembered; then all are forgotten, so that no client can fill the memory


class Route(Struct, frozen=True):
    """What is the same for every exchange of these names, which is allowed."""

    served_model: str
    timeouts: Timeouts
    waits_for_all: bool  # unless it is a stream: a whole answer takes as long as the generation
    admission: Admission
    pool: Pool
    heads: tuple[bytes, bytes]  # of the request, for a whole answer and for a stream, up to what differs
    records: tuple[Prepared, Prepared]  # the decision's, but for what each has of its own; of one that is continued
    captured: bool


class Routes:
    """Of one world. `policies` decides, by `Verdicts`; of what it refuses nothing is kept here."""

    def __init__(
        self, snapshot: Snapshot, upstreams: Upstreams, admissions: Mapping[str, Admission], verdicts: Verdicts
    ) -> None:
        self._snapshot = snapshot
        self._upstreams = upstreams
        self._admissions = admissions
        self._verdicts = verdicts
        self._known: dict[tuple[object, ...], Route] = {}

    def find(self, message: Open) -> Route | Decision:
        """The route, or why there is none."""
        key = (message.endpoint, message.model, message.reach, message.caller, message.tier, message.upstream)
        route = self._known.get(key)
        if route is None:
            reach = Reach(message.reach) if message.reach is not None else None
            facts = RequestFacts(message.endpoint, message.model, reach=reach)
            verdict = self._verdicts.exchange(facts, message.caller, message.tier, message.upstream)
            if not verdict.allowed:
                return verdict
            if len(self._known) >= MOST:
                self._known.clear()
            route = self._known[key] = self._made(message)
        return route

    def _made(self, message: Open) -> Route:
        snapshot, upstreams = self._snapshot, self._upstreams
        policy, pool = snapshot.policy, upstreams.pool(message.upstream)
        return Route(
            served_model=policy.models[message.model].served.get(message.tier, message.model),
            timeouts=snapshot.tiers[message.tier].timeouts,
            waits_for_all=message.endpoint.writes,
            admission=self._admissions[message.tier],
            pool=pool,
            heads=heads(pool.rule, upstreams.credential(message.upstream), message.endpoint, message.caller),
            records=(decisions(message, policy, "allowed"), decisions(message, policy, "continued")),
            captured=snapshot.capture.wants(message.caller, message.model),
        )
