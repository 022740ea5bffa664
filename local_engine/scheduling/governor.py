"""How many threads a decode may use while other programs want the same cores.

The threads of a decode meet at a barrier some hundreds of times per token, and wait there by spinning. When one of
them is off its core, all others burn theirs: measured on two cores beside one busy program, two threads make 2 to 70
tokens a second and one thread makes 84; alone on the machine, two make 118. So the engine gives up threads as soon as
cores are missing, and takes them back, one at a time, when a trial shows that they no longer are.
"""

from __future__ import annotations

TOO_FEW = 0.4
"""Missing cores. A program that wants a whole core takes 0.5 to 0.9 of one from two threads; the server's own work
and a client on the same machine take less, and then a second thread still pays.
"""

NONE_SPARE = 0.2
"""With this much missing from the threads that run there is no core for another one."""

FIRST_PATIENCE = 0.5
LONGEST_PATIENCE = 16.0
TRIAL = 3
"""Verdicts. A thread that is given up again within so many had failed its trial, and the next one comes later."""


class ThreadGovernor:
    """The one owner of the thread count. All times in seconds of one monotonic clock."""

    def __init__(self, most: int) -> None:
        self.threads = self._most = most
        self._patience = FIRST_PATIENCE
        self._next_trial = 0.0
        self._verdicts = TRIAL

    def observe(self, now: float, missing: float) -> int:
        """`missing`: cores that our threads wanted since the last call and did not get. Returns the number of
        threads for the next steps.
        """
        self._verdicts += 1
        if missing > TOO_FEW and self.threads > 1:
            failed = self._verdicts <= TRIAL
            self._patience = min(LONGEST_PATIENCE, self._patience * 2) if failed else FIRST_PATIENCE
            self._next_trial = now + self._patience
            self.threads = max(1, self.threads - max(1, round(missing)))
        elif self.threads < self._most and missing < NONE_SPARE and now >= self._next_trial:
            self.threads += 1
            self._verdicts = 0
            self._next_trial = now + FIRST_PATIENCE
        return self.threads
