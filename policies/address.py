"""What an IP address is, by our own table of ranges.

`ipaddress.is_global` and `is_private` are no filter: they call several disguises of 127.0.0.1 global and say neither
of 100.64.0.0/10. Sources: the IANA special-purpose address registries (RFC 6890 and its updates), and the clouds'
own documents for their metadata services.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

from policies.facts import Reach
from policies.policy import Address


class AddressKind(StrEnum):
    """The only five answers."""

    LOOPBACK = "loopback"
    PRIVATE = "private"
    PUBLIC = "public"
    METADATA = "metadata"  # a cloud's metadata or control service: it hands out credentials
    FORBIDDEN = "forbidden"  # never one machine's honest address


_METADATA_ADDRESSES: Final = frozenset(
    {
        IPv4Address("169.254.169.254"),  # AWS, Azure, Google, OpenStack, Oracle, DigitalOcean, Hetzner
        IPv4Address("169.254.170.2"),  # AWS ECS task credentials
        IPv4Address("169.254.170.23"),  # AWS EKS pod identity
        IPv4Address("169.254.42.42"),  # Scaleway
        IPv4Address("169.254.0.23"),  # Tencent
        IPv4Address("168.63.129.16"),  # Azure's wire server, a public address
        IPv4Address("100.100.100.200"),  # Alibaba, inside the shared range
        IPv4Address("192.0.0.192"),  # Oracle Classic
        IPv6Address("fd00:ec2::254"),  # AWS
        IPv6Address("fd00:ec2::23"),  # AWS EKS pod identity
        IPv6Address("fd20:ce::254"),  # Google
        IPv6Address("fd00:42::42"),  # Scaleway
    }
)

_V4: Final = (
    ("127.0.0.0/8", AddressKind.LOOPBACK),
    ("10.0.0.0/8", AddressKind.PRIVATE),
    ("172.16.0.0/12", AddressKind.PRIVATE),
    ("192.168.0.0/16", AddressKind.PRIVATE),
    ("100.64.0.0/10", AddressKind.PRIVATE),  # shared space (RFC 6598): carrier NAT, overlay networks
    ("0.0.0.0/8", AddressKind.FORBIDDEN),  # "this network": Linux dials itself
    ("169.254.0.0/16", AddressKind.FORBIDDEN),  # link-local
    ("192.0.0.0/24", AddressKind.FORBIDDEN),  # IETF protocol assignments
    ("192.0.2.0/24", AddressKind.FORBIDDEN),  # documentation
    ("192.31.196.0/24", AddressKind.FORBIDDEN),  # AS112
    ("192.52.193.0/24", AddressKind.FORBIDDEN),  # multicast tunnelling
    ("192.88.99.0/24", AddressKind.FORBIDDEN),  # 6to4 relays
    ("192.175.48.0/24", AddressKind.FORBIDDEN),  # AS112
    ("198.18.0.0/15", AddressKind.FORBIDDEN),  # benchmarks
    ("198.51.100.0/24", AddressKind.FORBIDDEN),  # documentation
    ("203.0.113.0/24", AddressKind.FORBIDDEN),  # documentation
    ("224.0.0.0/4", AddressKind.FORBIDDEN),  # multicast
    ("240.0.0.0/4", AddressKind.FORBIDDEN),  # reserved, broadcast
    ("0.0.0.0/0", AddressKind.PUBLIC),
)
_V6: Final = (
    ("::1/128", AddressKind.LOOPBACK),
    ("fc00::/7", AddressKind.PRIVATE),
    ("2001::/23", AddressKind.FORBIDDEN),  # IETF assignments: Teredo, ORCHID, benchmarks
    ("2001:db8::/32", AddressKind.FORBIDDEN),  # documentation
    ("2002::/16", AddressKind.FORBIDDEN),  # 6to4: carries an IPv4 address
    ("2620:4f:8000::/48", AddressKind.FORBIDDEN),  # AS112
    ("3fff::/20", AddressKind.FORBIDDEN),  # documentation
    ("2000::/3", AddressKind.PUBLIC),  # the only global unicast that has been given out
    # Mapped, compatible, translated, NAT64, discard, segment routing, link-local, site-local, multicast, the rest:
    ("::/0", AddressKind.FORBIDDEN),
)
Block = IPv4Network | IPv6Network
Span = tuple[int, int, AddressKind]


def _spans(table: tuple[tuple[str, AddressKind], ...]) -> tuple[Span, ...]:
    blocks = [(ip_network(text), kind) for text, kind in table]
    return tuple((int(block.network_address), int(block.broadcast_address), kind) for block, kind in blocks)


_SPANS: Final = {4: _spans(_V4), 6: _spans(_V6)}
REACH_OF_KIND: Final[Mapping[AddressKind | None, Reach]] = {
    AddressKind.LOOPBACK: Reach.HOST,
    AddressKind.PRIVATE: Reach.NETWORK,
    AddressKind.PUBLIC: Reach.RENTED,
}


def kind_of(address: Address) -> AddressKind:
    """What this address is. The first range of the table that holds it decides."""
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return AddressKind.FORBIDDEN
    if address in _METADATA_ADDRESSES:
        return AddressKind.METADATA
    number = int(address)
    return next(kind for low, high, kind in _SPANS[address.version] if low <= number <= high)


def reach_of(address: Address) -> Reach | None:
    """How far a prompt travels to this address; None: it is never dialled."""
    return REACH_OF_KIND.get(kind_of(address))


def blocks_of(kind: AddressKind) -> tuple[str, ...]:
    """The ranges of this kind as CIDR blocks; exceptions inside them (metadata, documentation) are not cut out."""
    return tuple(text for text, found in (*_V4, *_V6) if found is kind)


def kind_of_block(block: Block) -> AddressKind | None:
    """What all addresses of a block are; None when they differ.

    Metadata addresses inside do not count: they are refused one by one.
    """
    low, high = int(block.network_address), int(block.broadcast_address)
    spans = _SPANS[block.version]
    first, last, kind = next(span for span in spans if low <= span[1] and span[0] <= high)
    return kind if first <= low and high <= last else None


def in_block(address: Address, block: str) -> bool:
    """Does the canonical CIDR block hold the address? (Without building a network object: pins are asked per dial.)"""
    start, _, length = block.partition("/")
    base: Address = IPv6Address(start) if ":" in start else IPv4Address(start)
    shift = base.max_prefixlen - int(length)
    return base.version == address.version and int(base) >> shift == int(address) >> shift
