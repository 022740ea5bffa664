"""From token bytes to text that is safe to send: whole characters, and nothing that may belong to a stop string."""

from __future__ import annotations

import codecs


class Assembler:
    """Feed it the bytes of each token; it releases text as soon as it is certain.

    `stopped` is set once a stop string has appeared; the text before it has been released, the stop string never is.
    """

    def __init__(self, stops: tuple[str, ...] = ()) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stops = stops
        self._held = ""
        self.stopped = False

    def feed(self, piece: bytes) -> str:
        self._held += self._decoder.decode(piece)
        found = self._earliest_stop()
        if found >= 0:
            self.stopped = True
            released, self._held = self._held[:found], ""
            return released
        certain = len(self._held) - self._doubtful()
        released, self._held = self._held[:certain], self._held[certain:]
        return released

    def flush(self) -> str:
        """What was held back, when the generation ends otherwise. Half a character at the end is dropped."""
        released, self._held = self._held, ""
        return released

    def _earliest_stop(self) -> int:
        found = [position for stop in self._stops if (position := self._held.find(stop)) >= 0]
        return min(found, default=-1)

    def _doubtful(self) -> int:
        """Length of the longest tail that is the beginning of a stop string."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0
