"""Packets as the witness reads them: who began the flow, where to, how many bytes. Pure; no payload is kept."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

IPV4, IPV6 = 0x0800, 0x86DD  # ethertypes
TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
_SYN, _ACK = 0x02, 0x10
_ERRORS: Final = {ICMP: (3, 11, 12), ICMP6: (1, 2, 3, 4)}  # sent by the kernel about a packet that it did not take
_NAMES: Final = {TCP: "tcp", UDP: "udp", ICMP: "icmp", ICMP6: "icmp6"}


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Where something was sent; port 0 where the protocol has none."""

    address: str
    protocol: str
    port: int


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet: `begins` is a TCP SYN without ACK."""

    source: tuple[str, int]
    target: Target
    payload: int
    begins: bool = False
    error: bool = False


def parse(ethertype: int, head: bytes, length: int) -> Packet | None:
    """The packet that begins with `head` and is `length` bytes long; None for what is no IP."""
    try:
        if ethertype == IPV4:
            size = (head[0] & 15) * 4
            source, target = str(IPv4Address(head[12:16])), str(IPv4Address(head[16:20]))
            return _transport(head[9], head[size:], length - size, source, target)
        if ethertype == IPV6:
            source, target = str(IPv6Address(head[8:24])), str(IPv6Address(head[24:40]))
            return _transport(head[6], head[40:], length - 40, source, target)
    except (struct.error, IndexError, ValueError):
        return Packet(("", 0), Target("unreadable", str(ethertype), 0), length)  # seen all the same
    return None


def _transport(protocol: int, rest: bytes, length: int, source: str, target: str) -> Packet:
    name = _NAMES.get(protocol, str(protocol))
    if protocol not in (TCP, UDP):
        error = rest[0] in _ERRORS.get(protocol, ())
        return Packet((source, 0), Target(target, name, 0), length, error=error)
    from_port, to_port = struct.unpack_from("!HH", rest)
    if protocol == UDP:
        return Packet((source, from_port), Target(target, name, to_port), length - 8)
    flags = rest[13]
    begins = bool(flags & _SYN) and not flags & _ACK
    return Packet((source, from_port), Target(target, name, to_port), length - (rest[12] >> 4) * 4, begins)


class Tally:
    """Bytes by target, of flows in the direction of who began them. A flow seen from its middle counts both ways."""

    def __init__(self) -> None:
        self.bytes: dict[Target, int] = {}
        self._begun: set[tuple[tuple[str, int], Target]] = set()

    def take(self, packet: Packet) -> None:
        key = (packet.source, packet.target)
        address, port = packet.source
        back = ((packet.target.address, packet.target.port), Target(address, packet.target.protocol, port))
        if packet.error or (back in self._begun and not packet.begins):
            return
        self._begun.add(key)
        self.bytes[packet.target] = self.bytes.get(packet.target, 0) + max(packet.payload, 0)
