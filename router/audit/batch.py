"""What the inbox hands to whoever writes: lines in their order, and what goes with them."""

from __future__ import annotations

from msgspec import Struct, field

from router.audit.format.notes import Checkpoint


class Turn(Struct, frozen=True):
    """A new key, with which a segment may begin."""

    position: int  # of its line in the batch
    index: int  # of its record
    note: Checkpoint | None  # the newest checkpoint before it, if the batch has one


class Batch(Struct):
    """Lines on their way to the disk, each with its line feed."""

    lines: list[bytes] = field(default_factory=list)
    last: int = -1  # the index of the newest
    turns: list[Turn] = field(default_factory=list)
    note: Checkpoint | None = None  # the newest checkpoint among them
    tiles: list[tuple[int, int, bytes]] = field(default_factory=list)  # that they filled: level, number, hashes
    since_us: int = 0  # by the monotonic clock, when its first line came
