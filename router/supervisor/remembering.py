"""What the supervisor remembers of the ledger that its gates write: another gate goes on in that one, or in none."""

from __future__ import annotations

from pathlib import Path

from router.continuity import Known, keep, kept, parse, stated
from router.logs import Log


class Remembering:
    """From one start of a gate to the next, and beside the ledger from one start of the service to the next."""

    def __init__(self, ledger: Path, log: Log) -> None:
        self._ledger = ledger
        self._log = log
        self._known = kept(ledger)

    def options(self) -> list[str]:
        """For the gate's command line."""
        return [] if self._known is None else ["--continues", f"{self._known.origin}\n{self._known.signed}"]

    def learn(self) -> None:
        """A gate has opened it, or closed it: how far it goes. What lies in its place does not count."""
        self._know(stated(self._ledger))
        self.keep()

    def hear(self, told: str) -> None:
        """How far it goes, as the gate that writes it says every second; on the disk with the next `keep`."""
        self._know(parse(told))

    def _know(self, found: Known | None) -> None:
        known = self._known
        if found is not None and (known is None or (found.origin == known.origin and found.signed > known.signed)):
            self._known = found

    def keep(self) -> None:
        """The service goes on without."""
        if self._known is None:
            return
        try:
            keep(self._ledger, self._known)
        except OSError as error:
            self._log("ledger_not_remembered", reason=error.strerror)
