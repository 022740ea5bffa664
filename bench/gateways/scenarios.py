"""What is asked of every gateway. The figures of a scenario count per request, or per event of a stream."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.gateways.wire import Answers, Load

PACE_US = 50_000  # 20 events a second, as a model writes


AT_ONCE = Answers()


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What stands before and behind the gateway: gateways are started once for each."""

    name: str
    upstreams: int = 1
    keys: int = 1
    tls: bool = False
    front: bool = False  # TLS to clients
    all_cores: bool = False


PLAIN = Arrangement("plain")
KEYS = Arrangement("100 keys", keys=100)
MANY = Arrangement("64 upstreams", upstreams=64)
TLS = Arrangement("TLS behind", tls=True)
FRONT = Arrangement("TLS in front", front=True)
BOTH = Arrangement("all cores", all_cores=True)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load on one arrangement."""

    name: str
    load: Load
    answers: Answers = AT_ONCE
    arrangement: Arrangement = PLAIN
    everyone: bool = True  # False: only those of the field that are nearest to us, to keep the run short

    @property
    def unit(self) -> str:
        return "event" if self.load.stream else "request"

    def mock_answers(self, lasting_s: float) -> Answers:
        """Paced streams last longer than the load: what an event costs is measured, and no stream's begin or end."""
        if not self.answers.interval_us:
            return self.answers
        return replace(self.answers, events=int((lasting_s + 2.0) * 1e6 / self.answers.interval_us))


def paced(streams: int) -> Scenario:
    """So many streams, 20 events a second each."""
    load = Load(connections=streams, stream=True, interval_us=PACE_US)
    return Scenario(f"streams-{streams}", load, Answers(interval_us=PACE_US))


SCENARIOS = (
    Scenario("chat-1k", Load()),
    Scenario("chat-16k", Load(prompt=16 * 1024)),
    Scenario("chat-128k", Load(prompt=128 * 1024, connections=16), everyone=False),
    Scenario("rate-50", Load(rate=50), everyone=False),
    Scenario("rate-1000", Load(rate=1000)),
    paced(50),
    paced(500),
    Scenario("streams-flat", Load(connections=8, stream=True), Answers(events=2000)),
    Scenario("keys-100", Load(connections=100), arrangement=KEYS, everyone=False),
    Scenario("upstreams-64", Load(), arrangement=MANY, everyone=False),
    Scenario("tls-behind", Load(), arrangement=TLS, everyone=False),
    Scenario("tls-front", Load(), arrangement=FRONT),  # of those whose settings here know it
    Scenario("all-cores", Load(), arrangement=BOTH, everyone=False),
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
