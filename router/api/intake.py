"""What one worker takes in at once: bytes of bodies, and connections of one address."""

from __future__ import annotations

from collections import Counter

from router.descriptors import Descriptors
from router.settings.snapshot import Limits

BODIES = 8  # of the largest size, held at once
LEAST = 256 * 1024 * 1024  # bytes, however small the largest body is
MOST_CONNECTIONS = Limits().connections  # of one address, until the settings in force say another number
_LOCAL = ("127.", "::1")  # not counted: a proxy in front has one address for all its clients


class Intake:
    """Shared by all connections of a worker."""

    def __init__(self, descriptors: Descriptors = Descriptors()) -> None:  # noqa: B008 - frozen
        self.descriptors = descriptors
        self._held = 0
        self._connections: Counter[str] = Counter()
        self.most_connections = MOST_CONNECTIONS

    def take(self, size: int, largest_body: int) -> bool:
        """Hold so many more bytes of a body; False (and nothing is held) when that is too much in all."""
        if self._held + size > max(LEAST, BODIES * largest_body):
            return False
        self._held += size
        return True

    def give(self, size: int) -> None:
        self._held -= size

    def enter(self, address: str) -> bool:
        """One more connection; False when its address has too many. `leave` follows either way."""
        self._connections[address] += 1
        return self._connections[address] <= self.most_connections or not address or address.startswith(_LOCAL)

    @property
    def connections(self) -> int:
        """Of all addresses, those that were refused and have not left yet among them."""
        return self._connections.total()

    def leave(self, address: str) -> None:
        self._connections[address] -= 1
        if not self._connections[address]:
            del self._connections[address]
