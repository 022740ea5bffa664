"""When an upstream is taken out because of its answers, and when it may come back: pure, the clock is given.

A failed connection ejects at once; three failures in a row do; so does a rate of failures, for an upstream that answers
every second request well and would never fail three times in a row. It stays out for a hold that doubles with each
relapse, up to LONGEST_HOLD_S; then one good probe lets it back on trial, where the first failure ejects it again.
"""

from __future__ import annotations

from collections import deque

from msgspec import Struct, field

IN_A_ROW = 3
WINDOW_S = 30.0
MOST_REMEMBERED = 50
FEWEST_FOR_A_RATE = 10
RATE = 0.5
HOLD_S = 0.25
LONGEST_HOLD_S = 4.0


class Breaker(Struct):
    """The last results of one upstream."""

    in_a_row: int = 0
    relapses: int = 0
    on_trial: bool = False
    out_until: float = 0.0  # on the given clock
    results: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=MOST_REMEMBERED))

    def succeeded(self, now: float) -> None:
        self.results.append((now, True))
        self.in_a_row = self.relapses = 0
        self.on_trial = False

    def failed(self, now: float, *, connecting: bool) -> str:
        """Why it is to be ejected now; "" if it may go on."""
        self.results.append((now, False))
        self.in_a_row += 1
        reason = self._reason(now, connecting=connecting)
        if reason and not connecting:  # one that cannot be connected to is back as soon as it can
            self.out_until = now + min(HOLD_S * 2 ** min(self.relapses, 10), LONGEST_HOLD_S)
            self.relapses += 1
        if reason:
            self.on_trial = False
            self.results.clear()
        return reason

    def may_return(self, now: float) -> bool:
        """Whether a good probe may let it back."""
        return now >= self.out_until

    def returned(self) -> None:
        """A probe was good and let it back: if answers had ejected it, it is on trial."""
        self.in_a_row = 0
        self.on_trial = self.relapses > 0

    def _reason(self, now: float, *, connecting: bool) -> str:
        if connecting:
            return "no connection"
        if self.on_trial:
            return "failed on trial"
        if self.in_a_row >= IN_A_ROW:
            return f"{self.in_a_row} failures in a row"
        recent = [good for at, good in self.results if now - at <= WINDOW_S]
        bad = recent.count(False)
        if len(recent) >= FEWEST_FOR_A_RATE and bad >= RATE * len(recent):
            return f"{bad} of {len(recent)} failed"
        return ""
