"""What one upstream has to do, and how it does it: exchanges under way, the speed of its successes, its failures."""

from __future__ import annotations

from msgspec import Struct

from router.channel.states import UpstreamLoad

WEIGHT = 0.2  # of the newest value in a moving average


class Meter(Struct):
    """Moving averages. Only successes count into the speed: whoever fails fastest must not look the fastest."""

    in_flight: int = 0
    first_byte_ms: float = 0.0  # 0: not known yet
    failing: float = 0.0  # share of failures, 0 to 1
    rest_until: float = 0.0  # time.monotonic: it said 429 and when to come back

    def succeeded(self, first_byte_s: float) -> None:
        milliseconds = first_byte_s * 1000
        known = self.first_byte_ms or milliseconds
        self.first_byte_ms = known + WEIGHT * (milliseconds - known)
        self.failing -= WEIGHT * self.failing

    def failed(self) -> None:
        self.failing += WEIGHT * (1 - self.failing)

    def load(self, name: str, places: int) -> UpstreamLoad:
        """As it is told, rounded. `places`: how many exchanges it may have at once, 0 without a limit."""
        return UpstreamLoad(
            name,
            self.in_flight,
            round(self.first_byte_ms, 1),
            round(self.failing, 2),
            self.rest_until,
            full=0 < places <= self.in_flight,
        )
