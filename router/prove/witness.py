"""Two witnesses in the namespace: a packet socket that reads every packet on `lo`, and the kernel's own counters."""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import threading
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

from router.prove.packets import Tally, Target, parse

_ALL, _OUTGOING = 3, 4  # ETH_P_ALL, PACKET_OUTGOING
_SOL_PACKET, _STATISTICS = 263, 6
_RCVBUFFORCE = 33
_HEAD = 128
BUFFER: Final = 64 << 20
_RULES: Final = """
table inet witness {
  set tried4 { type ipv4_addr . inet_proto . inet_service; flags dynamic; size 65535; }
  set tried6 { type ipv6_addr . inet_proto . inet_service; flags dynamic; size 65535; }
  chain output {
    type filter hook output priority mangle; policy accept;
    ct direction original meta l4proto { tcp, udp } update @tried4 { ip daddr . meta l4proto . th dport counter }
    ct direction original meta l4proto { tcp, udp } update @tried6 { ip6 daddr . meta l4proto . th dport counter }
  }
}
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What both saw. `kernel` is None where nftables could not be used; `lost`: packets that the socket missed."""

    bytes: dict[Target, int]
    kernel: frozenset[Target] | None
    lost: int


class Witness:
    """Started before anything that is watched, ended after it."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL))
        try:
            self._sock.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, BUFFER)
        except PermissionError:  # in a user namespace: as much as the machine allows, and what is lost is counted
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._sock.bind(("lo", _ALL))
        self._sock.settimeout(0.2)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._counting = subprocess.run(["nft", "-f", "-"], input=_RULES.encode(), capture_output=True, check=False)
        self._thread.start()

    def tried(self) -> frozenset[Target]:
        """Where something was sent so far, as the packet socket has read it."""
        return frozenset(dict(self._tally.bytes))

    def seen(self) -> Seen:
        """End, and tell."""
        self._ending.set()
        self._thread.join()
        _, lost = struct.unpack("II", self._sock.getsockopt(_SOL_PACKET, _STATISTICS, 8))
        self._sock.close()
        counted = None if self._counting.returncode else _counted("tried4") | _counted("tried6")
        return Seen(dict(self._tally.bytes), counted, lost)

    def _watch(self) -> None:
        """Until it is over and no packet waits any more."""
        while True:
            try:
                head, (_, ethertype, kind, *_rest) = self._sock.recvfrom(_HEAD)
            except TimeoutError:
                if self._ending.is_set():
                    return
                continue
            packet = parse(ethertype, head, _length(ethertype, head)) if kind == _OUTGOING else None
            if packet is not None:
                self._tally.take(packet)


def _length(ethertype: int, head: bytes) -> int:
    """The packet's own word for it: the socket gives the beginning alone."""
    at, extra = (2, 0) if ethertype == 0x0800 else (4, 40)
    return int.from_bytes(head[at : at + 2], "big") + extra


def _counted(name: str) -> frozenset[Target]:
    done = subprocess.run(["nft", "-j", "list", "set", "inet", "witness", name], capture_output=True, check=True)
    rows: list[Any] = json.loads(done.stdout)["nftables"][1]["set"].get("elem", [])
    return frozenset(_target(row["elem"]["val"]["concat"]) for row in rows)


def _target(concat: list[Any]) -> Target:
    address, protocol, port = concat
    return Target(str(address), str(protocol), int(port))


def without(seen: Seen, targets: AbstractSet[Target]) -> Seen:
    """The same but for these: what we did ourselves."""
    kept = {target: count for target, count in seen.bytes.items() if target not in targets}
    return Seen(kept, None if seen.kernel is None else seen.kernel - targets, seen.lost)
