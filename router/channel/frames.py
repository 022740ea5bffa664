"""Frames: `length u32 | exchange u32 | kind u8`, little-endian, then `length` payload bytes.

Many exchanges share one channel; exchange 0 is the channel itself. A side may send DATA or BODY bytes of an
exchange only within the credit that the other side has granted, so neither side can be made to hold more than
WINDOW bytes for one exchange. Anything else on the wire is a broken peer: the channel is closed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

HEADER = struct.Struct("<IIB")
SIZE = HEADER.size
LARGEST = 1 << 24  # bytes of one payload: the states of 100,000 upstreams; bodies and answers are cut smaller
PIECE = 64 * 1024
WINDOW = 256 * 1024  # bytes of one exchange that may be on the way in one direction; a body of no more is one frame
ROOM = 2 * WINDOW  # bytes: as much as a socket brings at once, behind as much of a frame as may wait for its end
CREDIT_EACH = WINDOW // 4  # bytes read before they are credited: a credit for every small event would double the frames
COUNT = struct.Struct("<Q")
ANSWER = struct.Struct("<qH")  # the ledger index of the decision, -1 where RECORD told it; bytes of the Head message


class Kind(IntEnum):
    """What a frame says. The first block goes to the gate, the second comes from it, CREDIT goes both ways."""

    OPEN = 1  # an Open message: exchange with this upstream
    BODY = 2  # request bytes, until Open.body_bytes have come; in pieces where they are more than WINDOW
    CANCEL = 3  # a Cause: the client left ("cancelled"), or the worker does not want this answer
    DENY = 4  # a Denial message: record it
    WARM = 5  # a Warm message: make upstreams ready, tell how it went

    RECEIPT = 7  # an Ask message: prove to its caller that a record is in the ledger
    REPORT = 8  # a Look message: tell the operator about upstreams
    METRICS = 9  # what the gate has counted

    RECORD = 16  # COUNT: the ledger index of the decision or denial, durable
    HEAD = 17  # a Head message: the upstream's status and what of its headers may travel on
    DATA = 18  # answer bytes; of a stream, whole events only
    END = 19  # the answer is complete
    FAIL = 20  # a Failure message: this exchange is over, and why
    ROWS = 21  # a warm-up's answer or a report (JSON), a receipt (c2sp.org/tlog-proof), or metrics (text)
    STATES = 22  # exchange 0: JSON, the states of all upstreams
    LEDGER = 23  # exchange 0: why the ledger refuses new records, as text; empty: it takes them
    LOADS = 24  # exchange 0: JSON, the loads of all upstreams
    QUEUED = 25  # a Queued message: the exchange has waited for its place
    ANSWER = 26  # all of a small answer that is no stream, in place of RECORD, HEAD, DATA and END: see `pack_answer`

    CREDIT = 32  # COUNT: this many more bytes of the exchange may come


_ANSWER = int(Kind.ANSWER)
_KINDS = {int(kind): kind for kind in Kind}
Payload = bytes | memoryview  # one that was read is a view, and lasts until whoever is given it returns


class ChannelError(Exception):
    """The other side broke the protocol; its channel is closed."""


def pack(exchange: int, kind: Kind, payload: Payload = b"") -> bytes:
    return HEADER.pack(len(payload), exchange, kind) + payload


def counted(payload: Payload) -> int:
    """The number of a RECORD or CREDIT frame."""
    if len(payload) != COUNT.size:
        raise ChannelError(f"a number of {len(payload)} bytes")
    number: int = COUNT.unpack(payload)[0]
    return number


def pack_answer(exchange: int, record: int, head: bytes, body: bytes) -> bytes:
    """ANSWER's fixed part, a Head message, the body."""
    fixed = ANSWER.pack(record, len(head))
    return b"".join((HEADER.pack(len(fixed) + len(head) + len(body), exchange, _ANSWER), fixed, head, body))


def answered(payload: Payload) -> tuple[int, bytes, bytes]:
    """Record, Head message and body of an ANSWER frame."""
    begin = ANSWER.size
    record, size = ANSWER.unpack_from(payload) if len(payload) >= begin else (-1, 0)
    stop = begin + size
    if len(payload) < stop:
        raise ChannelError(f"an answer of {len(payload)} bytes")
    return record, bytes(payload[begin:stop]), bytes(payload[stop:])


class Splitter:
    """Cuts a byte stream into frames, in the buffer that it is read into. Holds at most one unfinished frame."""

    __slots__ = ("_held", "_view", "room")

    def __init__(self) -> None:
        self.room = self._view = memoryview(bytearray(ROOM))  # `room`: where the next bytes are to be put, never empty
        self._held = 0  # bytes of an unfinished frame, where the view begins

    def frames(self, size: int) -> Iterator[tuple[int, Kind, memoryview]]:
        """So many bytes were put there: yield (exchange, kind, payload) for every frame complete by now; ChannelError
        on nonsense. A payload lasts until the next one is asked for.
        """
        view, at, end = self._view, 0, self._held + size
        whole = SIZE
        while at <= end - SIZE:
            length, exchange, number = HEADER.unpack_from(view, at)
            if length > LARGEST:
                raise ChannelError(f"a frame of {length} bytes")
            whole = SIZE + length
            stop = at + whole
            if stop > end:
                break
            kind = _KINDS.get(number)
            if kind is None:
                raise ChannelError(f"a frame of unknown kind {number}")
            begin, at = at + SIZE, stop
            whole = SIZE
            yield exchange, kind, view[begin:stop]
        if at < end or self._held or len(view) > ROOM:
            self._keep(at, end, whole)

    def _keep(self, begin: int, end: int, whole: int) -> None:
        """What is unfinished goes to the front, of a buffer that holds all of that frame."""
        view, self._held = self._view, end - begin
        if whole > len(view) or len(view) > ROOM >= whole:
            self._view = memoryview(bytearray(max(whole, ROOM)))
        if begin or self._view is not view:
            self._view[: self._held] = view[begin:end]
        self.room = self._view[self._held :]

    def feed(self, data: bytes) -> Iterator[tuple[int, Kind, bytes]]:
        """The same of bytes that were read elsewhere; payloads are the reader's to keep."""
        at = 0
        while at < len(data):
            room = self.room
            size = min(len(room), len(data) - at)
            room[:size] = data[at : at + size]
            at += size
            for exchange, kind, payload in self.frames(size):
                yield exchange, kind, bytes(payload)
