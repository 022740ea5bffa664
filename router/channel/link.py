"""One end of a channel: an asyncio protocol that splits frames in and sends frames out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, cast

from router.channel.frames import HEADER, ROOM, ChannelError, Kind, Payload, Splitter, pack

OnFrame = Callable[["Link", int, Kind, Payload], None]  # the payload lasts until it returns
OnClosed = Callable[["Link"], None]
OnRead = Callable[[], None]
OnMistake = Callable[["Link", int], None]  # taking a frame of this exchange failed: it alone is to end
GATHERED = 16  # pieces
LARGE = 16 * 1024  # bytes of a payload: it is not copied to stand behind its header
FULL = 128 * 1024  # bytes of such payloads
_DATA: Final = int(Kind.DATA)  # to look a kind up, and to pack it as one, takes longer than all else of a small frame


class Link(asyncio.BufferedProtocol):
    """The frames that are sent during one pass of the loop leave in one write as it ends: uvloop writes each by itself.

    From GATHERED or FULL on they leave at once, so that the other side can begin. Memory is bounded by credit, exchange
    by exchange (see `frames`), so writing never waits. What comes is read into one buffer, and looked at there.

    `most_unread` bytes of all else, answers to questions and refusals, may wait for the other side to read them: then
    it is not read either, until it does. On one end only: two that wait for each other would wait for ever.

    A broken peer (ChannelError) ends the channel; a mistake of ours in taking a frame ends what that frame was for.
    Both are told to the loop's exception handler.
    """

    def __init__(
        self,
        on_frame: OnFrame,
        on_closed: OnClosed,
        on_read: OnRead | None = None,
        on_mistake: OnMistake | None = None,
        most_unread: int = 0,
    ) -> None:
        self._on_frame = on_frame
        self._on_closed = on_closed
        self._on_read = on_read  # told when all frames that came at once are taken
        self._on_mistake = on_mistake
        self._most_unread = most_unread
        self._splitter = Splitter()
        self._out: list[Payload] = []  # what leaves as this pass ends
        self._large = 0  # bytes of large payloads in it
        self._due = False  # that is seen to
        self.loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None

    @property
    def open(self) -> bool:
        return self._transport is not None

    def send(self, exchange: int, kind: Kind, payload: Payload = b"", before: bytes = b"") -> None:
        """Send one frame; dropped when the channel is closed (the closing is told by on_closed). `before`: frames that
        are packed already, and go first.
        """
        if len(payload) < LARGE:
            self.write(before + pack(exchange, kind, payload))
        elif self._transport is not None:
            self.write(before + HEADER.pack(len(payload), exchange, kind))
            self._out.append(payload)
            self._large += len(payload)
            if self._large >= FULL:
                self._flush()

    def send_data(self, exchange: int, payload: bytes) -> None:
        """As `send` of a DATA frame: each event of a stream is one."""
        if len(payload) >= LARGE:
            self.send(exchange, Kind.DATA, payload)
            return
        self._out.append(HEADER.pack(len(payload), exchange, _DATA) + payload)
        if not self._due or len(self._out) >= GATHERED:
            self._see_to_it()

    def write(self, frames: bytes) -> None:
        """As `send`, for frames that are packed already."""
        self._out.append(frames)
        if not self._due or len(self._out) >= GATHERED:
            self._see_to_it()

    def _see_to_it(self) -> None:
        if self._due or self._transport is None:
            self._flush()
        else:
            self._due = True
            self.loop.call_soon(self._pass_ends)

    def _pass_ends(self) -> None:
        self._due = False
        self._flush()

    def _flush(self) -> None:
        if self._out and self._transport is not None:
            if self._large:
                self._transport.writelines(self._out)
            else:
                self._transport.write(self._out[0] if len(self._out) == 1 else b"".join(self._out))
        self._out.clear()
        self._large = 0

    def close(self) -> None:
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def drop(self) -> None:
        """Close without what still waits in it: whoever was to read that is gone, or never will."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance
        if self._most_unread:
            self._transport.set_write_buffer_limits(high=self._most_unread)

    def pause_writing(self) -> None:
        if self._most_unread and self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._most_unread and self._transport is not None:
            self._transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._splitter.room

    def buffer_updated(self, nbytes: int) -> None:
        try:
            for exchange, kind, payload in self._splitter.frames(nbytes):
                try:
                    self._on_frame(self, exchange, kind, payload)
                except ChannelError:
                    raise
                except Exception as mistake:  # noqa: BLE001 - of ours; other exchanges are not to blame
                    self._contain(exchange, mistake)
        except ChannelError as broken:
            self._tell("a broken channel", broken)
            self.drop()
        if self._on_read is not None:
            self._on_read()

    def _contain(self, exchange: int, mistake: Exception) -> None:
        self._tell("a mistake in taking a frame", mistake)
        if self._on_mistake is not None:
            self._on_mistake(self, exchange)

    def _tell(self, what: str, error: Exception) -> None:
        self.loop.call_exception_handler({"message": what, "exception": error})

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._out.clear()
        self._on_closed(self)


def pair() -> tuple[socket.socket, socket.socket]:
    """The gate's end of a channel and the worker's. Bodies are what fills one: the kernel takes ROOM of them from the
    worker, or what it allows (net.core.wmem_max), so that gate and worker take turns less often.
    """
    for_gate, for_worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for_worker.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
    return for_gate, for_worker


async def attach(sock: socket.socket, made: Callable[[], Link]) -> Link:
    """Run a Link over an already connected socket; no connect() is called."""
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    _, link = await loop.create_unix_connection(made, sock=sock)
    return link
