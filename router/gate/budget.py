"""How many bytes of request bodies the gate holds at once, whatever its workers do."""

from __future__ import annotations

BODIES = 8  # of the largest size
LEAST = 256 * 1024 * 1024  # bytes, however small the largest body is


class Budget:
    """Shared by all exchanges. A body is reserved whole, as announced, and given back when the upstream has it."""

    def __init__(self) -> None:
        self._held = 0

    def take(self, size: int, largest_body: int) -> bool:
        """Reserve; False (and nothing is reserved) when that is too much in all."""
        if self._held + size > max(LEAST, BODIES * largest_body):
            return False
        self._held += size
        return True

    def give(self, size: int) -> None:
        self._held -= size
