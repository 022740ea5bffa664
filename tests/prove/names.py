"""A name server that misbehaves, and the gate's dialler before it: `python -m tests.prove.names DIRECTORY`, isolated.

Prints, as JSON, how each name ended: cause, detail, seconds.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from pathlib import Path

import uvloop

from policies import Destination, Reach, UpstreamRule
from router.gate.connection import UpstreamFault
from router.gate.dial import Dialler
from router.prove.internet import question_of
from router.prove.stage import set_up

LONGEST_S = 0.5  # below the resolver's own 1 s (resolv.conf), or it is luck which of the two gives up first
FLOOD = 4000  # as many A records as one message of 64 KiB holds
NAMES = ("empty", "missing", "failing", "silent", "lying", "metadata", "flood", "alias", "nonsense", "good")


def a(address: str) -> bytes:
    return struct.pack("!HHHIH", 0xC00C, 1, 1, 1, 4) + socket.inet_aton(address)


def cname(target: str) -> bytes:
    name = b"".join(bytes([len(label)]) + label.encode() for label in target.split(".")) + b"\0"
    return struct.pack("!HHHIH", 0xC00C, 5, 1, 1, len(name)) + name


def owned(owner: str, address: str) -> bytes:
    name = b"".join(bytes([len(label)]) + label.encode() for label in owner.split(".")) + b"\0"
    return name + struct.pack("!HHIH", 1, 1, 1, 4) + socket.inet_aton(address)


RECORDS = {
    "lying": [a("10.1.2.3"), a("203.0.113.9")],
    "metadata": [a("169.254.169.254")],
    "flood": [a(f"10.2.{n // 250}.{n % 250}") for n in range(FLOOD)],
    "alias": [cname("acme.openai.azure.com"), owned("acme.openai.azure.com", "10.1.2.3")],
    "good": [a("10.1.2.3")],
}
CODES = {"missing": 3, "failing": 2}


def answer(data: bytes, *, by_tcp: bool) -> bytes | None:
    name, end = question_of(data)
    kind = name.partition(".")[0]
    if kind == "silent":
        return None
    if kind == "nonsense":
        return data[:2] + b"\xff" * 40
    (wanted,) = struct.unpack_from("!H", data, end)
    records = RECORDS.get(kind, []) if wanted == 1 else []
    cut = len(records) > 20 and not by_tcp
    flags = 0x8180 | CODES.get(kind, 0) | (0x0200 if cut else 0)
    rows = [] if cut else records
    return data[:2] + struct.pack("!HHHHH", flags, 1, len(rows), 0, 0) + data[12 : end + 4] + b"".join(rows)


def by_udp(sock: socket.socket) -> None:
    while True:
        data, address = sock.recvfrom(4096)
        if (said := answer(data, by_tcp=False)) is not None:
            sock.sendto(said, address)


def by_tcp(server: socket.socket) -> None:
    while True:
        with server.accept()[0] as sock, sock.makefile("rb") as asked:
            while size := int.from_bytes(asked.read(2), "big"):
                said = answer(asked.read(size), by_tcp=True)
                if said is not None:
                    sock.sendall(len(said).to_bytes(2, "big") + said)


async def dial_all(directory: Path, port: int) -> dict[str, list[object]]:
    dialler = Dialler(directory)
    ends: dict[str, list[object]] = {}
    for name in NAMES:
        destination = Destination("http", f"{name}.lan.example", port, "")
        began = time.monotonic()
        try:
            (await dialler.dial(UpstreamRule(name, Reach.NETWORK, destination=destination), LONGEST_S)).abort()
            end = ("connected", "")
        except UpstreamFault as fault:
            end = (str(fault.cause), fault.detail)
        ends[name] = [*end, time.monotonic() - began]
    return ends


def main() -> None:
    directory = Path(sys.argv[1])
    set_up(directory)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", 53))
    tcp, web = socket.create_server(("0.0.0.0", 53)), socket.create_server(("0.0.0.0", 0))
    threading.Thread(target=by_udp, args=(udp,), daemon=True).start()
    threading.Thread(target=by_tcp, args=(tcp,), daemon=True).start()
    print(json.dumps(uvloop.run(dial_all(directory, web.getsockname()[1]))))


if __name__ == "__main__":
    main()
