"""Through the door of a program that listens on loopback in a network of its own: its keeper hands a connection out."""

from __future__ import annotations

import asyncio
import os
import socket

from router.channel.messages import Cause
from router.gate.connection import UpstreamFault

CONNECTED = b"\0"  # and a socket with it; anything else is the number of an error (errno(3))


async def through_door(path: str) -> socket.socket:
    """A connected socket to the program, non-blocking; UpstreamFault(REFUSED) when there is none to be had."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as knocking:
        try:
            await loop.sock_connect(knocking, path)
            await _readable(knocking)
            data, descriptors, _, _ = socket.recv_fds(knocking, 1, 1)
        except OSError as error:
            raise UpstreamFault(Cause.REFUSED, f"its program: {error.strerror}") from None
    if data == CONNECTED and descriptors:
        return _a_socket(descriptors[0])
    for descriptor in descriptors:
        os.close(descriptor)
    raise UpstreamFault(Cause.REFUSED, f"its program: {os.strerror(data[0]) if data else 'its keeper is gone'}")


def _a_socket(descriptor: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        raise UpstreamFault(Cause.REFUSED, "its keeper handed out something else than a socket") from None
    sock.setblocking(False)
    return sock


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(sock, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(sock)
